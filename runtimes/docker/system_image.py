"""A base image made from this machine's own Python, for engines that have no registry."""

from __future__ import annotations

import contextlib
import json
import tempfile
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import BinaryIO

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.base import LOCAL
from clowdy.runtimes.docker.engine import Engine, Missing, Refused, raise_errors
from clowdy.runtimes.docker.interpreter import Interpreter, compile_modules, find_interpreter
from clowdy.runtimes.docker.libraries import copy_libraries, find_libraries
from clowdy.runtimes.docker.root_filesystem import RootFilesystem
from clowdy.runtimes.layers.threads import away
from clowdy.runtimes.runner import Python

LABEL = "clowdy.system"
"""Its value is what `pack` said of the content."""

_NAME = LOCAL.split(":")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = (
    *("/bin/sh", "/bin/cat", "/bin/cp", "/bin/date", "/bin/echo", "/bin/grep", "/bin/ls", "/bin/mkdir", "/bin/mv"),
    *("/bin/rm", "/bin/sed", "/bin/sleep", "/bin/true", "/bin/uname"),
    *("/usr/bin/cut", "/usr/bin/env", "/usr/bin/head", "/usr/bin/sort", "/usr/bin/tail", "/usr/bin/tr", "/usr/bin/wc"),
)
_TOP_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_BUNDLES = (
    _CERTIFICATES,
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)
_ETC = {
    "passwd": "root:x:0:0:root:/:/bin/sh\nfunction:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n",
    "group": "root:x:0:\nfunction:x:1000:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_FOLDERS_LEFT_OUT = {
    # Packages of this machine are none of a function's.
    *("dist-packages", "site-packages", "__pycache__"),
    *("idlelib", "test", "tests", "tkinter", "turtledemo"),
    # The wheels of pip, 3 MB.
    "_bundled",
    # Of zones: the same with leap seconds, and once more without.
    *("posix", "right"),
}
_FILES_LEFT_OUT = {
    *("sitecustomize.py", "usercustomize.py", "turtle.py"),
    # The zone of this machine.
    *("localtime", "posixrules"),
}
# `_tkinter` alone brings half of X11.
_MODULES_LEFT_OUT = ("_ctypes_test.", "_test", "_tkinter.", "_xxtestfuzz.", "xxlimited")


def pack(python: Python, target: BinaryIO) -> str:
    """The SHA-256 of a tar of what `python` needs of this machine, which is written to `target`; blocks.

    The same files make the same tar, byte for byte. It holds the interpreter at its own path and as `python3` and
    `python` in /usr/local/bin, its standard library without tests and tkinter, compiled, its libraries and those on
    which wheels rely, certificates, time zones, and what a line of shell most often needs (`_PROGRAMS`). Of this
    machine's /etc it holds the certificates alone. Raises DriverUnavailable.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="clowdy-base-") as scratch:
            return _gather(find_interpreter(python), Path(scratch)).write(target)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror or error)
        raise DriverUnavailable(f"no base image can be made from this machine: {reason}") from None


async def make(engine: Engine, python: Python) -> str:
    """The id of an image of `python`, which is called LOCAL from now on. Raises DriverUnavailable.

    One with the same content is used again. Others that were made so and have no name and no use any more are removed.
    """
    with tempfile.NamedTemporaryFile(prefix="clowdy-base-") as tar:
        digest = await away(partial(_pack_to, Path(tar.name), python))
        image = await _find(engine, digest) or await _import(engine, Path(tar.name), digest)
    await engine.ask(lambda client: client.tag(image, *_NAME, force=True))
    await _remove_old(engine, digest)
    return image


async def _find(engine: Engine, digest: str) -> str | None:
    labelled = {"label": f"{LABEL}={digest}"}
    for image in await engine.ask(lambda client: client.images(all=True, filters=labelled)):
        if await _is_imported(engine, image["Id"]):
            return str(image["Id"])
    return None


async def _is_imported(engine: Engine, image: str) -> bool:
    """Whether it came by an import: what is built on such an image has its label as well, and a longer history."""
    try:
        return len(await engine.ask(methodcaller("history", image))) == 1
    except Missing:
        # Others add and remove images at the same time.
        return False


async def _import(engine: Engine, tar: Path, digest: str) -> str:
    changes = [f"LABEL {LABEL}={digest}", f"ENV PATH={_PATH}", 'CMD ["python3"]']
    said = await engine.in_thread(lambda client: client.import_image_from_file(str(tar), *_NAME, changes=changes))
    return str(raise_errors(map(json.loads, said.splitlines()))["status"])


async def _remove_old(engine: Engine, kept: str) -> None:
    for image in await engine.ask(lambda client: client.images(filters={"label": LABEL, "dangling": True})):
        # Another server may have made the same at the same time, and be about to name it.
        if image["Labels"][LABEL] != kept and await _is_imported(engine, image["Id"]):
            await _remove(engine, image["Id"])


async def _remove(engine: Engine, image: str) -> None:
    # What is built on it, or a container, keeps it.
    with contextlib.suppress(Refused, Missing):
        await engine.ask(lambda client: client.remove_image(image, noprune=True))


def _pack_to(file: Path, python: Python) -> str:
    with file.open("wb") as target:
        return pack(python, target)


def _gather(interpreter: Interpreter, scratch: Path) -> RootFilesystem:
    root = RootFilesystem()
    programs = [interpreter.executable, *(path for name in _PROGRAMS if (path := Path(name)).exists())]
    for program in programs:
        root.copy(program)
    for name in ("python3", "python"):
        root.link(Path("/usr/local/bin") / name, interpreter.executable)
    for part in interpreter.library:
        if part.is_dir():
            root.copy_folder(part, _left_out)
        else:
            root.copy(part)
    # Extension modules are all that is left of the shared objects so far.
    modules = root.files()
    for module, file in compile_modules(
        interpreter, [path for path in modules if path.suffix == ".py"], scratch
    ).items():
        root.copy(module, file)
    copy_libraries(root, find_libraries([*programs, *(path for path in modules if path.suffix == ".so")]))
    for folder in interpreter.zones:
        root.copy_folder(folder, _left_out)
    _add_certificates(root, interpreter)
    _add_system(root)
    return root


def _left_out(path: Path) -> bool:
    name = path.name
    return (
        name in _FOLDERS_LEFT_OUT
        or name in _FILES_LEFT_OUT
        # What is for building Python anew, up to 60 MB of it.
        or name.startswith("config-")
        or (path.suffix == ".so" and name.startswith(_MODULES_LEFT_OUT))
    )


def _add_certificates(root: RootFilesystem, interpreter: Interpreter) -> None:
    own = interpreter.certificates
    bundle = next((file for file in (*_BUNDLES, own) if file is not None and file.is_file()), None)
    if bundle is not None:
        root.copy(_CERTIFICATES, bundle.resolve())
        if own is not None:
            root.link(own, _CERTIFICATES)


def _add_system(root: RootFilesystem) -> None:
    for name in _TOP_FOLDERS:
        root.top_folder(name)
    for name, content in _ETC.items():
        root.text(Path("/etc", name), content)
    for name in ("app", "dev", "proc", "sys"):
        root.folder(Path("/", name))
    root.folder(Path("/tmp"), 0o1777)  # noqa: S108  (the image's own)
