import os


def handler(event):
    return dict(os.environ)
