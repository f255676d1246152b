def handler(event):
    return {"statusCode": 201, "headers": {"X-One": "1"}, "cookies": ["a=1; Path=/", "b=2"], "body": {"ok": True}}
