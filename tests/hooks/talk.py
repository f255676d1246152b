"""A hook as git would run it, and a server that answers as the test says."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from clowdy.server.git.hook_files import write_hooks


class Pipes(NamedTuple):
    """The server's ends."""

    heard: int
    answer: int
    text: int

    def until(self, end: bytes) -> bytes:
        """What the hook says up to `end`."""
        said = b""
        while not said.endswith(end):
            piece = os.read(self.heard, 1)
            if not piece:
                return said
            said += piece
        return said


def run_hook(
    folder: Path,
    name: str,
    data: bytes,
    answer: Callable[[Pipes], None],
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """The hook's end; when `answer` returns, the server is gone."""
    write_hooks(folder / "hooks")
    heard, to_server = os.pipe()
    to_hook, answering = os.pipe()
    to_pusher, text = os.pipe()
    pipes = Pipes(heard, answering, text)

    def serve() -> None:
        try:
            answer(pipes)
        finally:
            for end in pipes:
                os.close(end)

    hook = subprocess.Popen(
        [str(folder / "hooks" / name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        pass_fds=(to_server, to_hook, to_pusher),
        env={
            "PATH": os.environ["PATH"],
            "CLOWDY_TO_SERVER": f"/proc/self/fd/{to_server}",
            "CLOWDY_TO_HOOK": f"/proc/self/fd/{to_hook}",
            "CLOWDY_TO_PUSHER": f"/proc/self/fd/{to_pusher}",
            **(environment or {}),
        },
    )
    for end in (to_server, to_hook, to_pusher):
        os.close(end)
    thread = threading.Thread(target=serve)
    thread.start()
    output, errors = hook.communicate(data, timeout=20)
    thread.join()
    return subprocess.CompletedProcess([], hook.returncode, output, errors)
