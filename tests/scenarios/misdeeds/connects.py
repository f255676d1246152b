import socket


def handler(event):
    try:
        socket.create_connection(("127.0.0.1", int(event["params"]["port"])), 2)
    except OSError as error:
        return type(error).__name__
    return "connected"
