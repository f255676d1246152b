"""What a driver that prepares parents promises: instances without an import of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from textwrap import dedent
from typing import Any

import pytest

from clowdy.runtimes.api import (
    Application,
    FailureCode,
    Handler,
    Instance,
    Limits,
    Parent,
    Parents,
    Shape,
    StartFailed,
    StartReason,
)
from clowdy.runtimes.pool import Pool
from clowdy.schema.units import MEBIBYTE
from tests.contracts.world import FILE, World, application, ask, begin, call, direct, processes_with, told

COUNTS = """
    import time
    time.sleep(0.1)
    calls = 0
    def handler(event):
        global calls
        calls += 1
        return calls
    """


class Family:
    """Parents, prepared from texts; their instances."""

    def __init__(self, parents: Parents) -> None:
        self.parents = parents
        self._prepared: list[Parent] = []

    async def prepare(self, wanted: Application) -> Parent:
        parent = await self.parents.prepare(wanted, 10)
        self._prepared.append(parent)
        return parent

    async def end(self) -> None:
        for parent in self._prepared:
            await parent.kill()
            assert not parent.children


@pytest.fixture
async def family(world: World) -> AsyncIterator[Family]:
    driver = world.driver
    if not (isinstance(driver, Parents) and driver.can_prepare(application(COUNTS))):
        pytest.skip(f"{driver.name} prepares no parents here")
    family = Family(driver)
    yield family
    await family.end()


async def fork(parent: Parent) -> Instance:
    instance, _ = await parent.fork(10)
    return instance


async def first(family: Family, source: str, **options: Any) -> Instance:
    """An instance from a parent of its own."""
    return await fork(await family.prepare(application(source, **options)))


async def refused(family: Family, source: str) -> str:
    with pytest.raises(StartFailed) as failed:
        await family.prepare(application(source))
    assert failed.value.reason is StartReason.NOT_FORKABLE, failed.value.text
    return failed.value.text


async def test_an_instance_from_a_parent_is_ready_without_the_import(family: Family) -> None:
    parent = await family.prepare(application(COUNTS))
    instance, ready = await parent.fork(10)
    assert ready.shape is Shape.HANDLER
    assert ready.import_ms == 0
    assert [(await ask(instance)).json for _ in range(2)] == [1, 2]


async def test_instances_of_one_parent_have_state_of_their_own(family: Family) -> None:
    parent = await family.prepare(application(COUNTS))
    one, other = await fork(parent), await fork(parent)
    assert (await ask(one)).json == 1
    assert (await ask(one)).json == 2
    assert (await ask(other)).json == 1
    assert parent.children == 2


async def test_async_handlers_are_forked_too(family: Family) -> None:
    source = """
        import asyncio
        async def handler(event):
            await asyncio.sleep(0.01)
            return "waited"
        """
    assert (await ask(await first(family, source))).json == "waited"


APPLICATION = """
    import os
    from contextvars import ContextVar
    imported = os.getpid()
    started = []
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            started.append(os.getpid())
            if os.environ.get("BROKEN"):
                raise ValueError("no database")
            await send({"type": "lifespan.startup.complete"})
            await receive()
        body = repr([started == [os.getpid()], imported == os.getpid()]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    """
APP = Handler(FILE, "app")


async def test_the_lifespan_of_an_application_is_each_instances_own(family: Family) -> None:
    parent = await family.prepare(application(APPLICATION, handler=APP))
    for _ in range(2):
        instance, ready = await parent.fork(10)
        assert ready.shape is Shape.ASGI
        outcome = await call(instance, told())
        assert outcome.body == b"[True, False]"


async def test_nothing_of_an_application_is_called_before_the_fork(family: Family) -> None:
    source = """
        import asyncio, logging, time
        time.sleep(0.1)
        heard = []
        class Listening(logging.Handler):
            def emit(self, record):
                heard.append(record.getMessage())
        logging.basicConfig(level=logging.DEBUG, handlers=[Listening()])
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                heard.append("lifespan")
                raise ValueError
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": repr(heard).encode()})
        """
    instance, ready = await (await family.prepare(application(source, handler=APP))).fork(10)
    assert ready.log == ""
    outcome = await call(instance, told())
    assert outcome.body == b"['Using selector: EpollSelector', 'lifespan']"
    assert outcome.log == ""


async def test_an_application_with_loops_of_another_kind_is_forked_too(family: Family) -> None:
    source = """
        import asyncio, os, time
        time.sleep(0.1)
        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self):
                made.append(os.open("/proc/version", os.O_RDONLY))
                return super().new_event_loop()
        made = []
        asyncio.set_event_loop_policy(Policy())
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": repr(len(made)).encode()})
        """
    assert (await call(await first(family, source, handler=APP), told())).body == b"1"


async def test_an_application_that_does_not_start_says_so_in_the_instance(family: Family) -> None:
    parent = await family.prepare(application(APPLICATION, handler=APP, env={"BROKEN": "1"}))
    with pytest.raises(StartFailed, match="no database"):
        await parent.fork(10)
    assert parent.alive
    assert not parent.children


async def test_what_a_forked_instance_prints_is_in_the_log_of_its_call(family: Family) -> None:
    source = """
        import logging, os, subprocess, sys
        logging.basicConfig(level="INFO")
        def handler(event):
            print("printed", event)
            logging.info("logged")
            os.write(1, b"written\\n")
            subprocess.run(["/bin/echo", "echoed"])
            print("complained", file=sys.stderr)
        """
    parent = await family.prepare(application(source))
    one, other = await fork(parent), await fork(parent)
    first_sink, second_sink = begin(one, direct(), b"1"), begin(other, direct(), b"2")
    for number, sink in ((1, first_sink), (2, second_sink)):
        log = (await sink.ended).log
        for words in (f"printed {number}", "INFO:root:logged", "written", "echoed", "complained"):
            assert words in log
        assert f"printed {3 - number}" not in log


async def test_random_state_is_renewed(family: Family) -> None:
    source = """
        import random, tempfile, uuid
        from random import random as number
        random.seed(1)
        first = uuid.uuid1().node
        def handler(event):
            return [number(), random.getrandbits(64), uuid.uuid4().hex, uuid.uuid1().hex, tempfile.mktemp()]
        """
    parent = await family.prepare(application(source))
    answers = [(await ask(await fork(parent))).json for _ in range(3)]
    for values in zip(*answers, strict=True):
        assert len(set(values)) == 3


@pytest.mark.parametrize(
    "at_import",
    [
        "held = sqlite3.connect(':memory:'); held.execute('SELECT random()').fetchall()",
        "held = None; sqlite3.connect(':memory:').execute('SELECT random()').fetchall()",
        "held = None",
    ],
)
async def test_random_state_of_sqlite_is_renewed(family: Family, at_import: str) -> None:
    source = f"""
        import os, sqlite3, time
        {at_import}
        def handler(event):
            database = held or sqlite3.connect(":memory:")
            names = sorted(os.listdir(os.environ["TMPDIR"])) + [each for each in os.listdir("/proc/self/fd")]
            return [*database.execute("SELECT random(), hex(randomblob(8))").fetchone(), len(names)]
        """
    parent = await family.prepare(application(source))
    answers = [(await ask(await fork(parent))).json for _ in range(3)]
    numbers, blobs, left = zip(*answers, strict=True)
    assert len(set(numbers)) == len(set(blobs)) == 3
    assert len(set(left)) == 1


async def test_each_instance_has_a_folder_of_its_own_for_temporary_files(family: Family) -> None:
    source = """
        import os, tempfile
        at_import = tempfile.gettempdir()
        def handler(event):
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(b"kept")
            folder = os.environ["TMPDIR"]
            return [folder, tempfile.gettempdir(), os.path.dirname(file.name), oct(os.stat(folder).st_mode), at_import]
        """
    parent = await family.prepare(application(source))
    one = (await ask(await fork(parent))).json
    other = (await ask(await fork(parent))).json
    assert one[0] == one[1] == one[2] != other[0]
    assert one[3] == "0o40700"
    assert one[4] == "/tmp"
    assert os.path.dirname(one[0]) == "/tmp"


async def test_a_folder_for_temporary_files_that_the_function_chose_stays(family: Family) -> None:
    source = "import os, tempfile\ndef handler(event): return [os.environ['TMPDIR'], tempfile.gettempdir()]"
    instance = await first(family, source, env={"TMPDIR": "/tmp"})
    assert (await ask(instance)).json == ["/tmp", "/tmp"]


async def test_what_an_instance_left_in_its_folder_goes_with_it(family: Family) -> None:
    source = """
        import os
        def leave():
            os.chdir(os.environ["TMPDIR"])
            os.symlink("/tmp", "link")
            os.mkdir("closed"); open("closed/file", "w").close(); os.chmod("closed", 0)
            for depth in range(3000):
                os.mkdir("deep"); os.chdir("deep")
            open("file", "w").close()
            return os.environ["TMPDIR"].rpartition("/")[2]
        def handler(event):
            return leave() if event else sorted(os.listdir("/tmp"))
        """
    parent = await family.prepare(application(source))
    messy, watching = await fork(parent), await fork(parent)
    left = (await ask(messy, True)).json
    assert left in (await ask(watching)).json
    await messy.kill()
    async with asyncio.timeout(10):
        while any(name.startswith(left) for name in (await ask(watching)).json):
            await asyncio.sleep(0.02)
    assert parent.alive
    assert (await ask(await fork(parent))).json


async def test_a_killed_instance_takes_its_processes_with_it_and_no_other(family: Family) -> None:
    marker = f"9{os.getpid()}7"
    source = f"""
        import subprocess
        def handler(event):
            if event:
                subprocess.Popen(["/bin/sleep", "{marker}"], start_new_session=True)
            return "here"
        """
    parent = await family.prepare(application(source))
    one, other = await fork(parent), await fork(parent)
    assert (await ask(one, True)).json == "here"
    assert processes_with(marker)
    await one.kill()
    assert not processes_with(marker)
    assert (await ask(other)).json == "here"
    assert (await ask(await fork(parent))).json == "here"
    assert parent.children == 2


async def test_memory_that_runs_out_is_told_for_the_instance_alone(family: Family) -> None:
    source = """
        ballast = bytearray(40 << 20)
        def handler(event):
            held = [bytearray(1 << 20) for _ in range(event)]
            return len(held)
        """
    parent = await family.prepare(application(source, limits=Limits(memory_bytes=64 * MEBIBYTE)))
    one, other = await fork(parent), await fork(parent)
    assert (await ask(other, 40)).json == 40, "the parent's pages do not count again"
    outcome = await ask(one, 200)
    assert outcome.code is FailureCode.OUT_OF_MEMORY
    assert not one.alive
    assert (await ask(other, 10)).json == 10
    assert parent.alive


async def test_processes_are_limited_for_each_instance(family: Family) -> None:
    source = """
        import os, time
        def handler(event):
            count = 0
            try:
                for _ in range(event):
                    if os.fork() == 0:
                        time.sleep(60)
                        os._exit(0)
                    count += 1
            except OSError:
                pass
            return count
        """
    parent = await family.prepare(application(source, limits=Limits(memory_bytes=1024 * MEBIBYTE, cpu=2.0)))
    one, other = await fork(parent), await fork(parent)
    assert 200 < (await ask(one, 400, timeout=30)).json < 256
    assert (await ask(other, 100, timeout=30)).json == 100


async def test_a_timeout_and_a_crash_end_the_instance_alone(family: Family) -> None:
    source = """
        import os, signal, time
        def handler(event):
            if event == "sleep": time.sleep(60)
            if event == "die": os.kill(os.getpid(), signal.SIGSEGV)
            if event == "exit": os._exit(3)
            return "here"
        """
    parent = await family.prepare(application(source))
    late, dead, left, well = [await fork(parent) for _ in range(4)]
    assert (await ask(late, "sleep", timeout=0.3)).code is FailureCode.TIMEOUT
    crashed = await ask(dead, "die")
    assert (crashed.code, crashed.text) == (FailureCode.CRASHED, "The function's process was ended by SIGSEGV")
    exited = await ask(left, "exit")
    assert (exited.code, exited.text) == (FailureCode.CRASHED, "The function's process ended with exit status 3")
    assert (await ask(well)).json == "here"
    assert parent.children == 1


async def test_a_parent_that_dies_takes_its_instances_with_it(family: Family) -> None:
    source = """
        import os, signal, time
        parent = os.getpid()
        def handler(event):
            if event:
                os.kill(parent, signal.SIGKILL)
                time.sleep(60)
            return "here"
        """
    parent = await family.prepare(application(source))
    told: list[Parent] = []
    parent.on_exit = told.append
    one, other = await fork(parent), await fork(parent)
    assert (await ask(one, True)).code is FailureCode.CRASHED
    async with asyncio.timeout(10):
        while other.alive or one.alive or parent.alive or parent.children:
            await asyncio.sleep(0.01)
        while not told:
            await asyncio.sleep(0.01)
    assert told == [parent]


async def test_the_descriptors_of_an_instance_are_those_of_any_other(family: Family, world: World) -> None:
    source = """
        import os
        def handler(event):
            kinds = []
            for each in os.listdir("/proc/self/fd"):
                try: kinds.append(os.readlink(f"/proc/self/fd/{each}").partition(":[")[0])
                except OSError: pass
            return sorted(kinds)
        """
    parent = await family.prepare(application(source))
    await fork(parent)
    forked = (await ask(await fork(parent))).json
    assert forked == (await ask(await world.serve(source))).json


async def test_many_instances_are_forked_at_once(family: Family) -> None:
    parent = await family.prepare(application(COUNTS))
    instances = await asyncio.gather(*(fork(parent) for _ in range(20)))
    assert [(await ask(instance)).json for instance in instances] == [1] * 20


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("import socket\nheld = socket.socket()", "socket:"),
        ("import os\nheld = os.pipe()", "pipe:"),
        ("import asyncio\nloop = asyncio.new_event_loop()", "open"),
        ("held = open('/app/functions/hello.py')", "hello.py open"),
        ("import subprocess\nheld = subprocess.Popen(['/bin/sleep', '60'])", "process"),
        ("import mmap\nheld = mmap.mmap(-1, 4096)", "shared"),
        ("import multiprocessing\nheld = multiprocessing.Lock()", "shared"),
        ("import random\nheld = random.Random(1)", "random"),
        ("import gc, random\nheld = random.Random()\ngc.freeze()", "random"),
        ("import _random\nheld = _random.Random()", "random"),
        ("import _random\nheld = {'a': (_random.Random(),)}\nimport gc\ngc.collect()", "random"),
        ("import random\nnumber = random.Random().random", "random"),
        ("import signal\nsignal.alarm(60)", "timer"),
        ("import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)", "child"),
    ],
)
async def test_an_import_that_leaves_what_a_fork_would_share_makes_no_parent(
    family: Family, source: str, why: str
) -> None:
    assert why in await refused(family, f"{source}\ndef handler(event): return 1")


# What numpy.random 2 has, by its names and in its relations.
NUMERIC = """
    import sys, types
    class SeedSequence: pass
    class BitGenerator:
        def __init__(self): self._seed_seq = SeedSequence()
    class MT19937(BitGenerator): pass
    class PCG64(BitGenerator): pass
    class Generator: pass
    class RandomState:
        def __init__(self): self._bit_generator = MT19937()
    numeric = types.ModuleType("numpy.random")
    numeric.SeedSequence, numeric.BitGenerator, numeric.MT19937 = SeedSequence, BitGenerator, MT19937
    numeric.Generator, numeric.RandomState = Generator, RandomState
    numeric.mtrand = types.SimpleNamespace(_rand=RandomState())
    numeric.seed = lambda: None
    sys.modules["numpy.random"] = numeric
    def handler(event): return 1
    """


async def test_the_random_state_of_numpy_itself_is_in_nobodys_way(family: Family) -> None:
    assert (await ask(await first(family, NUMERIC))).json == 1


@pytest.mark.parametrize(
    "held",
    [
        "PCG64()",
        "MT19937()",
        "SeedSequence()",
        "Generator()",
        "vars(numeric.mtrand._rand).update(_bit_generator=PCG64())",
    ],
)
async def test_random_state_that_numpy_does_not_renew_makes_no_parent(family: Family, held: str) -> None:
    assert "random" in await refused(family, f"{dedent(NUMERIC)}\nheld = {held}")


async def test_threads_that_end_for_a_fork_are_in_nobodys_way(family: Family) -> None:
    source = """
        import os, threading
        over = threading.Event()
        worker = threading.Thread(target=over.wait, daemon=True)
        worker.start()
        def end():
            over.set()
            worker.join()
        os.register_at_fork(before=end)
        def handler(event): return threading.active_count()
        """
    assert (await ask(await first(family, source))).json == 1


async def test_random_numbers_from_the_system_can_be_shared(family: Family) -> None:
    source = "import random\nheld = random.SystemRandom()\ndef handler(event): return 1"
    assert (await ask(await first(family, source))).json == 1


async def test_an_import_that_fails_makes_no_parent(family: Family) -> None:
    with pytest.raises(StartFailed) as failed:
        await family.prepare(application("raise ValueError('no')"))
    assert failed.value.reason is StartReason.EXCEPTION


async def test_an_instance_that_cannot_be_forked_leaves_nothing(family: Family) -> None:
    source = """
        import os
        fork = os.fork
        def broken():
            raise OSError("no more processes")
        def handler(event): return 1
        os.fork = broken
        """
    parent = await family.prepare(application(source))
    with pytest.raises(StartFailed):
        await parent.fork(10)
    assert not parent.children


async def test_a_pool_pays_an_import_twice_and_forks_from_then_on(family: Family, world: World) -> None:
    source = """
        import os, time
        token = os.urandom(8).hex()
        time.sleep(0.1)
        def handler(event):
            return token
        """
    wanted = application(source)
    pool = Pool(world.driver, budget_bytes=1024 * MEBIBYTE)
    try:
        one = (await pool.acquire(wanted)).instance
        async with asyncio.timeout(10):
            while not pool.stats()["parents"]:
                await asyncio.sleep(0.01)
        others = [(await pool.acquire(wanted)).instance for _ in range(2)]
        tokens = [(await ask(instance)).json for instance in (one, *others)]
        assert tokens[0] != tokens[1] == tokens[2]
    finally:
        await pool.close()
