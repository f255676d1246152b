def handler(event):
    return "x" * (7 * 1024 * 1024)
