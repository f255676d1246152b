"""How both git hooks talk to the server; the server writes this text in front of theirs.

Only what is built into the interpreter is imported, since the pusher waits for it. The message is length-prefixed
fields, so nothing in a ref name, a path or a push option can be taken for another field.
"""

import _socket
import posix


def variable(name: bytes) -> bytes:
    """An environment variable, empty when it is not set."""
    return posix.environ.get(name, b"")


def write(descriptor: int, content: bytes) -> None:
    """Writes all of `content`."""
    while content:
        content = content[posix.write(descriptor, content) :]


def ask(kind: bytes, fields: list[bytes]) -> bytes:
    """The server's answer for git. Shows the pusher what comes before it; raises OSError when the server is lost."""
    message = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    server.connect(variable(b"CLOWDY_SOCKET"))
    server.sendall(kind + len(message).to_bytes(4, "big") + message)
    received = b""

    def take(length: int) -> bytes:
        nonlocal received
        while len(received) < length:
            piece = server.recv(65536)
            if not piece:
                raise OSError("the server went away")
            received += piece
        taken, received = received[:length], received[length:]
        return taken

    while True:
        letter = take(1)
        content = take(int.from_bytes(take(4), "big"))
        if letter == b"=":
            return content
        write(2, content)
