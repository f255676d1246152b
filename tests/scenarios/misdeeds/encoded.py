def handler(event):
    return {"statusCode": 200, "body": "AP8=", "isBase64Encoded": True, "headers": {"content-type": "image/x"}}
