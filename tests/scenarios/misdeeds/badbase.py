def handler(event):
    return {"statusCode": 200, "body": "%%%", "isBase64Encoded": True}
