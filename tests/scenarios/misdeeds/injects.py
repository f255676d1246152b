def handler(event):
    return {"statusCode": 200, "headers": {"X-A": "b\r\nSet-Cookie: stolen=1"}, "body": ""}
