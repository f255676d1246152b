COUNT = 0


def handler(event):
    global COUNT
    COUNT += 1
    return COUNT
