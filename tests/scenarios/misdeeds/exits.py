import os


def handler(event):
    os._exit(3)
