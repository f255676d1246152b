def handler(event):
    print("before it fails")
    raise KeyError("plan")
