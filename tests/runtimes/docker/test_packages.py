"""What only builds in containers promise: nothing but packages in an image, and trouble of the engine."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.container import NO_NETWORK, SERVER
from clowdy.runtimes.docker.driver import DockerDriver, server_name
from clowdy.runtimes.docker.engine import Engine, EngineDown
from clowdy.runtimes.docker.execution import execute
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.docker.packages import ImagePackages
from clowdy.runtimes.docker.workshop import Workshop, build_config
from clowdy.runtimes.layers.api import BuildFailed
from clowdy.runtimes.layers.index import Index
from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.runtimes.layers.pip_settings import find_index
from clowdy.runtimes.layers.recipe import Step
from clowdy.schema.locks import Lock, Wanted
from clowdy.schema.units import MEBIBYTE
from tests.engine import PrivateEngine, make_base_image
from tests.runtimes.layers.wheels import make_wheel
from tests.runtimes.layers.workplaces import ImageWorkplace, ignore, installed, lock_of, wheels_of

pytestmark = pytest.mark.slow

SECRET = "hunter2secret"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may pass, unlike pytest's own: builds have users of their own."""
    folder = Path(tempfile.mkdtemp(prefix="clowdy-images-"))
    folder.chmod(0o755)
    (folder / "wheels").mkdir(mode=0o755)
    make_wheel(folder / "wheels", "one")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def workplace(functions_engine: PrivateEngine, place: Path) -> AsyncIterator[ImageWorkplace]:
    made = ImageWorkplace(place, functions_engine.url)
    yield made
    left = await made.left()
    await made.close()
    assert left == []


async def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def with_secrets(place: Path) -> Index:
    """An index whose credentials, all of them SECRET, a build is told in every way that there is."""
    client = place / "client.pem"
    client.write_text(f"-----BEGIN CERTIFICATE-----\n{SECRET}\n-----END CERTIFICATE-----\n")
    return Index(
        no_index=True,
        find_links=(str(place / "wheels"),),
        proxies={"HTTPS_PROXY": f"http://reader:{SECRET}@proxy.invalid:3128"},
        credentials={"UV_INDEX_OWN_PASSWORD": SECRET},
        client_certificate=str(client),
    )


SPY = """
import glob, json, os
def read(path):
    with open(path) as file:
        return file.read()
def writable(path):
    try:
        open(path + "/x", "w").close()
    except OSError:
        return False
    return True
print("error: spied " + json.dumps({
    "user": os.getuid(),
    "environment": dict(os.environ),
    "status": dict(line.split(":", 1) for line in read("/proc/self/status").splitlines()),
    "links": os.listdir("/sys/class/net"),
    "seen": sorted(os.listdir(PLACE)),
    "writable": [each for each in ("/", "/usr", "/etc", "/app", PLACE + "/wheels", "/packages") if writable(each)],
    "processes": len(glob.glob("/proc/[0-9]*")),
}))
raise SystemExit(1)
"""


async def test_a_build_sees_nothing_of_the_server(workplace: ImageWorkplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOWDY_SECRET_KEY", "c2VjcmV0")
    spy = workplace.folder / "wheels" / "spy.py"
    spy.write_text(f"PLACE = {str(workplace.folder)!r}\n{SPY}")
    maker = await workplace.open()
    workplace.replace_uv(monkeypatch, f"exec {workplace.images.base.python.executable} {spy}")
    # All of it, where users are shown one line that is not too long.
    monkeypatch.setattr("clowdy.runtimes.layers.words._LONGEST_REASON", 100_000)
    with pytest.raises(BuildFailed, match="spied") as caught:
        await installed(maker, "one")
    said: dict[str, Any] = json.loads(caught.value.text.partition("spied ")[2])
    assert said["user"] == workplace.owner
    assert "CLOWDY_SECRET_KEY" not in said["environment"]
    assert said["links"] == ["lo"]
    # The folder with the packages has to be seen, and nothing beside it.
    assert said["seen"] == ["wheels"]
    assert said["writable"] == ["/packages"]
    status = {key: value.strip() for key, value in said["status"].items()}
    assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {"0" * 16}
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    # init, what waits, the shell that became this.
    assert said["processes"] <= 4


HOARDER = """
import os, time
for number in range(5):
    with open(f"/build/cache/{number}", "wb") as file:
        for _ in range(60):
            file.write(os.urandom(1 << 20))
time.sleep(60)
"""


async def test_a_build_that_writes_without_end_is_ended_on_the_way(
    workplace: ImageWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = await workplace.open(limits=BuildLimits(layer_bytes=80 * MEBIBYTE, seconds=50))
    script = workplace.folder / "wheels" / "hoarder.py"
    script.write_text(HOARDER)
    workplace.replace_uv(monkeypatch, f"exec {workplace.images.base.python.executable} {script}")
    with pytest.raises(BuildFailed, match="more than 80 MB"):
        await installed(maker, "one")


async def test_credentials_of_the_index_are_in_no_container_and_no_image(
    workplace: ImageWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    engine = workplace.engine

    async def watching(*arguments: Any, **named: Any) -> int:
        seen.append(await engine.ask(lambda client: client.inspect_container(arguments[1])))
        seen.append(arguments[2].argv)
        return await execute(*arguments, **named)

    monkeypatch.setattr("clowdy.runtimes.docker.workshop.execute", watching)
    maker = await workplace.open(with_secrets(workplace.folder))
    lock = await installed(maker, "one")
    assert len(seen) >= 8
    assert SECRET not in repr(seen)
    image = workplace.images.packages[lock.digest].id
    functions = await workplace.images.of(lock.digest)
    for each in (image, functions):
        assert SECRET not in repr(await engine.ask(lambda client, each=each: client.inspect_image(each)))
    saved = await engine.in_thread(lambda client: b"".join(client.get_image(functions)))
    assert b"VERSION = '1.0'" in saved
    assert SECRET.encode() not in saved


async def test_an_image_has_packages_and_nothing_else_besides_its_base(workplace: ImageWorkplace) -> None:
    maker = await workplace.open()
    lock = await installed(maker, "one")
    image = workplace.images.packages[lock.digest]

    def names(client: Any) -> dict[str, set[str]]:
        found = {}
        for each in (workplace.images.base.root, image.id):
            container = client.create_container(each, ["true"])["Id"]
            data = b"".join(client.export(container))
            client.remove_container(container, force=True)
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                found[each] = {entry.name for entry in tar if not entry.isdir()}
        return found

    found = await workplace.engine.in_thread(names)
    more = found[image.id] - found[workplace.images.base.root]
    assert {path for path in more if not path.startswith("packages/")} <= {"tmp/uv", "usr/sbin/docker-init"}
    assert "packages/one.py" in more
    assert 0 < image.bytes < MEBIBYTE


async def started(workplace: ImageWorkplace, name: str) -> Workshop:
    base = workplace.images.base
    limits = BuildLimits()
    uv = workplace.folder / "uv"
    uv.touch()
    config = build_config(
        base.root,
        base.python.executable,
        limits,
        uv=uv,
        folders=(),
        network=NO_NETWORK,
        resolvers=(),
        labels={SERVER: server_name(workplace.folder / "data")},
    )
    await workplace.engine.ask(lambda client: client.create_container_from_config(config, name=name))
    index = wheels_of(workplace.folder)
    workshop = Workshop(workplace.engine, name, base.python.executable, workplace.owner, index, limits, None)
    await workshop.start(wanted="", lock="")
    return workshop


async def test_what_was_written_beside_the_packages_is_refused(workplace: ImageWorkplace) -> None:
    await workplace.open()
    workshop = await started(workplace, "clowdy-test-beside")
    try:
        # As one could who found a way to be root.
        step = Step(("/bin/sh", "-c", "echo evil > /etc/evil"), {})
        engine, name = workplace.engine, workshop.container
        assert await execute(engine, name, step, user="0:0", folder="/", on_data=lambda data: None) == 0
        with pytest.raises(BuildFailed, match="it wrote outside of its folder: /etc/evil"):
            await workshop.seal()
    finally:
        await workplace.engine.ask(lambda client: client.remove_container("clowdy-test-beside", force=True))


async def test_containers_of_builds_that_a_killed_server_left_are_gone_after_the_next_start(
    workplace: ImageWorkplace, functions_engine: PrivateEngine
) -> None:
    await workplace.open()
    await started(workplace, "clowdy-test-left")
    assert await workplace.left() != []
    data = workplace.folder / "data"
    engine = Engine(functions_engine.url)
    driver = DockerDriver(data, engine, Images(engine, server_name(data), data / "docker"))
    await driver.open()
    try:
        assert ["/clowdy-test-left"] not in [each["Names"] for each in await all_containers(workplace.engine)]
    finally:
        await driver.close()


async def all_containers(engine: Engine) -> list[Any]:
    found: list[Any] = await engine.ask(lambda client: client.containers(all=True))
    return found


async def lose(workplace: ImageWorkplace, lock: Lock) -> None:
    """As `docker rmi -f` of everything that was made for a lock does."""
    gone = [await workplace.images.of(lock.digest), workplace.images.packages[lock.digest].id]
    for image in gone:
        await workplace.engine.ask(lambda client, image=image: client.remove_image(image, force=True))
    await workplace.images.lost(lock.digest)


async def test_an_image_that_was_removed_is_built_again_when_it_is_needed(workplace: ImageWorkplace) -> None:
    maker = await workplace.open()
    lock = await installed(maker, "one")
    await lose(workplace, lock)
    assert not maker.has(lock.digest)
    for _ in range(3):
        with pytest.raises(DriverUnavailable, match="is not there: it is being built again") as caught:
            await workplace.images.of(lock.digest)
        assert caught.value.passing
    await until(lambda: maker.has(lock.digest))
    assert await workplace.images.of(lock.digest)
    assert (await workplace.layer(lock) / "one.py").exists()


async def test_one_that_cannot_be_built_again_says_why_and_is_not_tried_each_time(workplace: ImageWorkplace) -> None:
    maker = await workplace.open()
    lock = await installed(maker, "one")
    (wheel,) = (workplace.folder / "wheels").iterdir()
    wheel.rename(workplace.folder / "aside")
    await lose(workplace, lock)

    async def why() -> str:
        with pytest.raises(DriverUnavailable) as caught:
            await workplace.images.of(lock.digest)
        return str(caught.value)

    deadline = time.monotonic() + 20
    while "it cannot be built again: " not in (said := await why()) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert "one was not found" in said
    (workplace.folder / "aside").rename(wheel)
    # A person who pushes is not kept waiting.
    await maker.build(lock, ignore)
    assert await workplace.images.of(lock.digest)


async def test_an_image_of_another_server_is_used_and_stays_while_one_of_them_needs_it(
    workplace: ImageWorkplace, functions_engine: PrivateEngine, place: Path
) -> None:
    other = ImageWorkplace(place / "other", functions_engine.url)
    (place / "other" / "wheels").mkdir(parents=True)
    first, second = await other.open(), await workplace.open()
    lock = await other_lock(first, place)
    await workplace.images.look()
    assert second.has(lock.digest)
    assert lock.digest not in second.sizes()
    said: list[str] = []
    await second.build(lock, said.append)
    assert said == []
    assert lock.digest in second.sizes()
    await other.close()
    await workplace.images.look()
    assert second.has(lock.digest)
    await second.remove([lock.digest])
    await workplace.images.look()
    assert not second.has(lock.digest)


async def other_lock(maker: ImagePackages, place: Path) -> Lock:
    """A lock that no other test has, installed."""
    wheel = make_wheel(place / "other" / "wheels", "shared")
    lock = lock_of(maker, wheel)
    await maker.build(lock, ignore)
    return lock


async def test_one_whose_lock_is_not_kept_has_to_be_pushed_again(workplace: ImageWorkplace) -> None:
    maker = await workplace.open()
    lock = await installed(maker, "one")
    await maker.remove([lock.digest])
    with pytest.raises(DriverUnavailable, match="push again to build it"):
        await workplace.images.of(lock.digest)


async def test_before_the_engine_has_answered_nothing_is_known_and_afterwards_the_base_is(
    workplace: ImageWorkplace,
) -> None:
    data = workplace.folder / "data"

    def unopened() -> ImagePackages:
        engine = Engine("unix:///nowhere.sock")
        images = Images(engine, server_name(data), data / "docker")
        return ImagePackages(data, engine, images, workplace.connections, wheels_of(workplace.folder))

    workplace.connections = None  # type: ignore[assignment]
    maker = unopened()
    assert (maker.python, maker.platform, dict(maker.sizes()), maker.has("a" * 64)) == ("", "", {}, False)
    with pytest.raises(DriverUnavailable, match="has not answered"):
        await maker.resolve(Wanted(("one",)), say=ignore)
    opened = await workplace.open()
    later = unopened()
    assert (later.python, later.platform) == (opened.python, opened.platform)
    with pytest.raises(EngineDown):
        await later.build(lock_of(opened, *(workplace.folder / "wheels").iterdir()), ignore)


async def test_a_disk_that_is_full_is_named_and_nothing_stays_on_it(
    start_engine: Callable[..., PrivateEngine], place: Path
) -> None:
    private = await asyncio.to_thread(start_engine, data_size="200m")
    await asyncio.to_thread(make_base_image, private)
    workplace = ImageWorkplace(place, private.url)
    maker = await workplace.open(limits=BuildLimits(free_bytes=0))
    wheel = make_wheel(place / "wheels", "large", files={"large/noise": os.urandom(80 * MEBIBYTE)})
    lock = lock_of(maker, wheel)
    before = await workplace.engine.ask(lambda client: client.images(all=True))
    with pytest.raises((DriverUnavailable, BuildFailed), match="the disk of the Docker Engine is full"):
        await maker.build(lock, ignore)
    assert await workplace.left() == []
    assert len(await workplace.engine.ask(lambda client: client.images(all=True))) == len(before)
    assert not maker.has(lock.digest)
    await installed(maker, "one")
    await workplace.close()


async def test_an_engine_whose_containers_have_no_way_out_gives_builds_its_own(
    start_engine: Callable[..., PrivateEngine], place: Path
) -> None:
    # Not what lies in folders here, which needs no network.
    index = replace(find_index(os.environ), extra=(), find_links=())
    arguments = ("--iptables=false", "--ip-masq=false", "--ip-forward=false")
    private = await asyncio.to_thread(start_engine, *arguments)
    if not (private.connected and index.needs_network):
        pytest.skip("no package index is reached over the network here")
    await asyncio.to_thread(make_base_image, private)
    workplace = ImageWorkplace(place, private.url)
    maker = await workplace.open(index)
    said: list[str] = []
    lock = await maker.resolve(Wanted(("idna",)), say=said.append)
    await maker.build(lock, said.append)
    assert maker.has(lock.digest)
    assert any("with the engine's own network" in line for line in said)
    assert await workplace.left() == []
    await workplace.close()


async def test_an_engine_that_is_killed_ends_builds_and_the_next_clears_up(
    start_engine: Callable[..., PrivateEngine], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = await asyncio.to_thread(start_engine)
    await asyncio.to_thread(make_base_image, private)
    workplace = ImageWorkplace(place, private.url)
    maker = await workplace.open()
    with monkeypatch.context() as patched:
        workplace.replace_uv(patched, "sleep 60")
        building = asyncio.create_task(installed(maker, "one"))
        await until(lambda: bool(sleeping(private)))
        await asyncio.to_thread(private.kill)
        with pytest.raises(EngineDown):
            await building
    await asyncio.to_thread(private.restart)
    await until(lambda: workplace.engine.down is None)
    await installed(maker, "one")
    assert await workplace.left() == []
    await workplace.close()
    # Between two questions to a dying engine the SDK may leave a socket open, which another test would be blamed for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def sleeping(engine: PrivateEngine) -> list[str]:
    """The programs `sleep` in the containers of an engine."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text() == "sleep\n" and engine.folder.name in (path / "cgroup").read_text():
                found.append(path.name)
        except OSError:
            continue
    return found
