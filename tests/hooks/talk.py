"""A hook as git would run it, and a server that answers as the test says."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from clowdy.server.git.hook_files import write_hooks


def run_hook(
    folder: Path,
    name: str,
    data: bytes,
    answer: Callable[[bytes, list[bytes], socket.socket], None] | None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """The hook's end; `answer` gets its kind and fields on the accepted connection, None means nobody listens."""
    write_hooks(folder / "hooks")
    path = folder / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(10)
    thread = None
    if answer is not None:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, answer))
        thread.start()
    try:
        return subprocess.run(
            [str(folder / "hooks" / name)],
            input=data,
            capture_output=True,
            cwd=folder,
            env={"CLOWDY_PUSH_ID": "abc", "CLOWDY_SOCKET": str(path), **(environment or {})},
            timeout=20,
            check=False,
        )
    finally:
        if thread is not None:
            thread.join()
        listener.close()


def _serve(listener: socket.socket, answer: Callable[[bytes, list[bytes], socket.socket], None]) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        kind = stream.read(1)
        message = stream.read(int.from_bytes(stream.read(4), "big"))
        fields = []
        while message:
            length = int.from_bytes(message[:4], "big")
            fields.append(message[4 : 4 + length])
            message = message[4 + length :]
        answer(kind, fields, connection)


def part(letter: bytes, content: bytes) -> bytes:
    return letter + len(content).to_bytes(4, "big") + content


def imports_of(script: Path) -> set[str]:
    """The modules that a script pulls in beyond what the bare interpreter has."""
    show = "import sys; print(*sorted(sys.modules))"
    bare = subprocess.run([sys.executable, "-IS", "-c", show], capture_output=True, check=True).stdout.split()
    text = script.read_text().replace('if __name__ == "__main__":', "if True:").replace("sys.exit(", "(")
    full = subprocess.run(
        [sys.executable, "-IS", "-c", f"{text}\n{show}"], input=b"", capture_output=True, check=True
    ).stdout.split()
    return {module.decode() for module in set(full) - set(bare)}
