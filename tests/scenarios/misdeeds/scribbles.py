import os


def handler(event):
    for fd in range(3, 64):
        try:
            os.write(fd, b"garbage" * 10)
        except OSError:
            pass
    return "scribbled"
