def handler(event):
    return {"statusCode": 99}
