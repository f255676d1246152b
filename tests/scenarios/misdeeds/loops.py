def handler(event):
    while True:
        pass
