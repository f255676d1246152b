def handler(event):
    return "plain text"
