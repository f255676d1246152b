import os
import time


def handler(event):
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
    except OSError as error:
        return type(error).__name__
