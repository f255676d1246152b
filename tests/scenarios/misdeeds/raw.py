def handler(event):
    return b"\x00\xff"
