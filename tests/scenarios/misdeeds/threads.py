import threading
import time


def handler(event):
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "left a thread"
