def handler(event):
    return {"statusCode": 200, "headers": {"a b": "c"}}
