"""What a driver promises to keep apart, tried from inside."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clowdy.runtimes.api import Driver, FailureCode, Limits, Promise, StartFailed, StartReason
from clowdy.schema.units import MEBIBYTE
from tests.contracts.world import PLAIN, World, application, ask, begin, direct, processes_with

Needs = Callable[..., None]
SMALL = Limits(memory_bytes=64 * MEBIBYTE)
ROOMY = Limits(memory_bytes=512 * MEBIBYTE, cpu=2.0)


@pytest.mark.parametrize(
    "body",
    [
        "held = [bytearray(1 << 20) for _ in range(100000)]",
        "import mmap; m = mmap.mmap(-1, 1 << 30)\n    for i in range(0, 1 << 30, 4096): m[i] = 1",
        "try: held = [bytearray(1 << 20) for _ in range(100000)]\n    except BaseException: return 'caught'",
        "import threading\n    t = threading.Thread(target=lambda: [bytearray(1 << 20) for _ in range(9999)]); "
        "t.start(); t.join()",
    ],
)
async def test_memory_that_runs_out_is_told_as_such(world: World, needs: Needs, body: str) -> None:
    needs(Promise.MEMORY, Promise.MEMORY_WATCHED)
    instance = await world.serve(f"def handler(event):\n    print('began')\n    {body}", limits=SMALL)
    outcome = await ask(instance)
    assert outcome.code is FailureCode.OUT_OF_MEMORY
    assert "began" in outcome.log
    assert not instance.alive


async def test_memory_of_a_child_counts_although_the_handler_answers(world: World, needs: Needs) -> None:
    needs(Promise.MEMORY)
    source = """
        import subprocess, sys
        def handler(event):
            subprocess.run([sys.executable, "-c", "x = [bytearray(1 << 20) for _ in range(100000)]"])
            return "survived"
        """
    for _ in range(5):
        instance = await world.serve(source, limits=SMALL)
        outcome = await ask(instance)
        assert outcome.code is FailureCode.OUT_OF_MEMORY
        assert not instance.alive


async def test_memory_that_runs_out_in_a_start_is_told(world: World, needs: Needs) -> None:
    needs(Promise.MEMORY, Promise.MEMORY_WATCHED)
    instance = await world.driver.start(PLAIN)
    with pytest.raises(StartFailed) as failed:
        await instance.take(application("x = [bytearray(1 << 20) for _ in range(100000)]", limits=SMALL), 10)
    assert failed.value.reason is StartReason.OUT_OF_MEMORY


async def test_memory_within_the_limit_is_given(world: World) -> None:
    source = "def handler(event): return len(bytearray(80 << 20))"
    assert (await world.outcome(source)).json == 80 << 20


async def test_files_in_tmp_count_as_memory(world: World, needs: Needs) -> None:
    needs(Promise.MEMORY, Promise.MEMORY_WATCHED)
    source = """
        import time
        def handler(event):
            with open("/tmp/big", "wb") as file:
                for _ in range(60):
                    file.write(bytes(1 << 20))
            time.sleep(1)
            return "kept"
        """
    outcome = await world.outcome(source, limits=Limits(memory_bytes=40 * MEBIBYTE))
    assert outcome.code is FailureCode.OUT_OF_MEMORY


async def test_empty_files_in_tmp_count_as_memory(world: World, needs: Needs) -> None:
    needs(Promise.MEMORY, Promise.MEMORY_WATCHED)
    source = """
        import time
        def handler(event):
            for number in range(60_000):
                open(f"/tmp/{number}", "w").close()
            time.sleep(1)
            return "kept"
        """
    limits = Limits(memory_bytes=40 * MEBIBYTE, cpu=2.0)
    assert (await world.outcome(source, timeout=25.0, limits=limits)).code is FailureCode.OUT_OF_MEMORY


async def test_tmp_is_private_and_limited(world: World, needs: Needs) -> None:
    needs(Promise.PRIVATE_TMP)
    source = """
        import os
        def handler(event):
            before = os.listdir("/tmp")
            try:
                with open("/tmp/big", "wb") as file:
                    for number in range(200):
                        file.write(bytes(1 << 20))
            except OSError as error:
                size = os.path.getsize("/tmp/big")
                os.unlink("/tmp/big")
                return [before, error.strerror, size >> 20]
        """
    before, error, size = (await world.outcome(source, limits=ROOMY)).json
    assert before == []
    assert error in ("No space left on device", "File too large")
    assert 60 <= size <= 64


async def test_nothing_but_tmp_can_be_written(world: World, needs: Needs) -> None:
    needs(Promise.READ_ONLY)
    source = """
        import os
        def handler(event):
            written = []
            for folder, folders, files in os.walk("/"):
                if folder == "/":
                    folders[:] = [name for name in folders if name not in ("proc", "tmp")]
                elif folder == "/dev":
                    # Limited and counted as /tmp is: semaphores of `multiprocessing` lie there.
                    folders[:] = [name for name in folders if name != "shm"]
                if folder.count("/") > 3:
                    folders[:] = []
                try:
                    name = os.path.join(folder, "written")
                    os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
                    written.append(name)
                except OSError:
                    pass
            for name in ("/app/functions/hello.py", "/runner/main.py", "/usr/bin/env"):
                for change in (lambda: os.chmod(name, 0o777), lambda: os.unlink(name), lambda: open(name, "a").close()):
                    try:
                        change()
                        written.append(name)
                    except OSError:
                        pass
            for name in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/overcommit_memory"):
                try:
                    open(name, "w").write("0")
                    written.append(name)
                except OSError:
                    pass
            return written
        """
    assert (await world.outcome(source, limits=ROOMY)).json == []


async def test_the_host_is_out_of_sight(world: World, needs: Needs) -> None:
    needs(Promise.HIDDEN_HOST)
    source = """
        import getpass, os, socket
        def handler(event):
            return {
                "top": sorted(os.listdir("/")),
                "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
                "host": socket.gethostname(),
                "user": [os.getuid(), os.getgid(), os.getgroups()],
                "name": [getpass.getuser(), os.path.expanduser("~function")],
                "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:4],
                "environment": open("/proc/self/environ").read(),
                "settings": sorted(os.listdir("/etc")),
            }
        """
    seen = (await world.outcome(source)).json
    top = {"app", "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "runner", "sbin", "tmp", "usr"}
    if world.driver.name == "docker":
        # What the engine makes besides, and a mark that every container has.
        top |= {"sys", ".dockerenv"}
    assert set(seen["top"]) <= top
    assert seen["processes"] <= 3
    assert seen["host"] == "function"
    assert seen["user"][0] not in (0, os.getuid())
    assert seen["user"][1] == 1000
    assert seen["name"] == ["function", "/tmp"]
    assert seen["descriptors"][:3] == [0, 1, 2]
    assert seen["environment"] in ("", "PWD=/app\0")
    settings = {"group", "hosts", "nsswitch.conf", "passwd", "resolv.conf", "ssl"}
    assert set(seen["settings"]) - settings <= ({"hostname", "mtab"} if world.driver.name == "docker" else set())


async def test_no_network_is_there(world: World, needs: Needs) -> None:
    needs(Promise.NO_NETWORK)
    source = """
        import socket
        def handler(event):
            names = open("/proc/net/dev").read()
            with socket.socket() as one:
                one.settimeout(2)
                try:
                    one.connect(("192.0.2.1", 80))
                    return "connected"
                except OSError as error:
                    return [error.strerror, names.count(":")]
        """
    assert (await world.outcome(source)).json == ["Network is unreachable", 1]


EXPLANATION = "network is off for this function: set network: true in clowdy.yaml\n"


@pytest.mark.parametrize(
    "attempt",
    [
        'socket.create_connection(("192.0.2.1", 80), 2)',
        'socket.create_connection(("example.com", 443), 2)',
        'socket.create_connection(("127.0.0.1", 9), 2)',
        'socket.create_connection(("localhost", 9), 2)',
        'socket.create_connection(("::1", 9), 2)',
        'urllib.request.urlopen("http://example.com", timeout=2)',
        'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))',
        'asyncio.run(asyncio.open_connection("192.0.2.1", 80))',
        'socket.socket().connect_ex(("192.0.2.1", 80))',
        'socket.gethostbyaddr("192.0.2.1")',
        'socket.gethostbyaddr("example.com")',
        'socket.getnameinfo(("192.0.2.1", 80), 0)',
        'socket.getnameinfo(("2001:db8::1", 80), socket.NI_NAMEREQD)',
    ],
)
async def test_a_connection_that_fails_is_explained_once(world: World, needs: Needs, attempt: str) -> None:
    needs(Promise.NO_NETWORK)
    source = f"""
        import asyncio, socket, urllib.request
        def handler(event):
            for _ in range(2):
                try:
                    {attempt}
                except OSError:
                    print("failed")
            return True
        """
    log = (await world.outcome(source)).log
    assert log.count(EXPLANATION) == 1
    assert log.startswith(EXPLANATION)


async def test_a_connection_that_fails_in_the_import_and_in_a_call_is_explained_in_both(
    world: World, needs: Needs
) -> None:
    needs(Promise.NO_NETWORK)
    source = """
        import socket
        def connect(event):
            return socket.socket().connect_ex(("192.0.2.1", 80))
        connect({})
        handler = connect
        """
    instance, ready = await world.take(application(source))
    assert ready.log == EXPLANATION
    assert (await ask(instance)).log == EXPLANATION
    assert (await ask(instance)).log == ""


async def test_what_can_be_reached_is_not_explained(world: World) -> None:
    source = """
        import socket, sys, threading
        def handler(event):
            for host in ("127.0.0.1", "localhost"):
                with socket.create_server((host, 0)) as server:
                    socket.create_connection(server.getsockname()).close()
            there, here = socket.socketpair()
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
            for wrong in ((), (None,), ("x",), (1, 2, 3)):
                try:
                    here.connect(*wrong)
                except (TypeError, OSError):
                    pass
            try:
                socket.socket(socket.AF_UNIX).connect("/tmp/nothing")
            except OSError:
                pass
            for lookup in (socket.gethostbyaddr, lambda host: socket.getnameinfo((host, 9), 0)):
                lookup("127.0.0.1")
                try:
                    lookup(None)
                except TypeError:
                    pass
            return socket.gethostbyname("localhost")
        """
    outcome = await world.outcome(source)
    assert outcome.json == "127.0.0.1"
    assert outcome.log == ""


async def test_its_own_loopback_is_there(world: World) -> None:
    source = """
        import socket, threading
        def handler(event):
            server = socket.create_server(("localhost", 0))
            threading.Thread(target=lambda: server.accept()[0].sendall(b"hello")).start()
            return socket.create_connection(server.getsockname()).recv(5).decode()
        """
    assert (await world.outcome(source)).json == "hello"


async def test_dangerous_system_calls_are_refused(world: World, needs: Needs) -> None:
    needs(Promise.SYSTEM_CALLS)
    source = """
        import ctypes, errno, fcntl, os, platform, socket
        def handler(event):
            libc = ctypes.CDLL(None, use_errno=True)
            numbers = {"io_uring_setup": 425, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298, "keyctl": 250,
                       "ptrace": 101, "unshare": 272, "mount": 165, "setns": 308, "clone3": 435, "add_key": 248,
                       "process_vm_readv": 310, "open_by_handle_at": 304, "pivot_root": 155, "kexec_load": 246,
                       "statmount": 457, "listmount": 458, "open_tree_attr": 467}
            seen = {}
            for name, number in numbers.items():
                ctypes.set_errno(0)
                result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
                seen[name] = errno.errorcode.get(ctypes.get_errno()) if result < 0 else "done"
            for flags in (0x10000000, 0x00020000, 0x40000000, 0x20000000):
                result = libc.syscall(56, flags | 17, 0, 0, 0, 0)
                if result == 0:
                    os._exit(0)
                seen[f"clone {flags:#x}"] = errno.errorcode.get(ctypes.get_errno()) if result < 0 else "done"
            for family in (16, 17, 38, 40, 9, 29, 1 << 32 | 16):
                result = libc.syscall(41, ctypes.c_long(family), 3, 0)
                seen[f"socket {family}"] = errno.errorcode.get(ctypes.get_errno()) if result < 0 else "done"
            for request in (0x5412, 0x541C, 0x1_0000_5412):
                result = libc.syscall(16, 0, ctypes.c_ulong(request), b"x")
                seen[f"ioctl {request:#x}"] = errno.errorcode.get(ctypes.get_errno()) if result < 0 else "done"
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            seen["state"] = [status[key].strip() for key in ("Seccomp", "NoNewPrivs", "CapEff", "CapBnd")]
            return seen
        """
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    seen = (await world.outcome(source)).json
    state = seen.pop("state")
    assert state == ["2", "1", "0000000000000000", "0000000000000000"]
    assert seen.pop("clone3") == "ENOSYS"
    sockets = {name: seen.pop(name) for name in list(seen) if name.startswith("socket")}
    assert set(sockets.values()) == {"EAFNOSUPPORT"}
    assert set(seen.values()) == {"EPERM"}, seen


async def test_ordinary_programs_still_work(world: World) -> None:
    source = """
        import concurrent.futures, multiprocessing, os, socket, sqlite3, subprocess, sys, tempfile, threading
        def double(number): return number * 2
        def handler(event):
            left, right = socket.socketpair()
            left.sendall(b"x")
            with tempfile.TemporaryFile() as file:
                file.write(right.recv(1))
            lock = multiprocessing.Lock()
            queue = multiprocessing.Queue()
            child = multiprocessing.Process(target=queue.put, args=(3,))
            child.start()
            got = queue.get(timeout=5)
            child.join()
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                doubled = sum(pool.map(double, range(20)))
            database = sqlite3.connect("/tmp/contract-test.db")
            os.unlink("/tmp/contract-test.db")
            out = subprocess.run(["/bin/sh", "-c", "echo $((1 + 1))"], capture_output=True, text=True).stdout
            return [got, doubled, out.strip(), os.urandom(4) != os.urandom(4), open("/dev/null").read()]
        """
    assert (await world.outcome(source, limits=ROOMY)).json == [3, 380, "2", True, ""]


async def test_processes_are_limited(world: World, needs: Needs) -> None:
    needs(Promise.PROCESSES)
    source = """
        import os, time
        def handler(event):
            children = 0
            try:
                for _ in range(400):
                    if os.fork() == 0:
                        time.sleep(20)
                        os._exit(0)
                    children += 1
            except OSError as error:
                return [children, error.strerror]
            return [children, ""]
        """
    instance = await world.serve(source, limits=ROOMY)
    children, error = (await ask(instance)).json
    assert 200 <= children < 256
    assert error == "Resource temporarily unavailable"
    await instance.kill()


async def test_a_fork_bomb_ends_with_its_instance(world: World, needs: Needs) -> None:
    needs(Promise.PROCESSES)
    source = """
        import os
        def handler(event):
            while True:
                try: os.fork()
                except OSError: pass
        """
    instance = await world.serve(source)
    outcome = await ask(instance, timeout=0.5)
    assert outcome.code in (FailureCode.TIMEOUT, FailureCode.OUT_OF_MEMORY)
    async with asyncio.timeout(10):
        await instance.kill()
    assert (await world.outcome("def handler(event): return 1")).json == 1


async def test_open_files_are_limited(world: World) -> None:
    source = """
        def handler(event):
            held = []
            try:
                for _ in range(3000): held.append(open("/dev/null"))
            except OSError as error:
                return [len(held), error.strerror]
        """
    count, error = (await world.outcome(source)).json
    assert 1000 <= count <= 1024
    assert error == "Too many open files"


async def test_cpu_is_limited(world: World, needs: Needs) -> None:
    needs(Promise.CPU)
    source = """
        import time
        def handler(event):
            end = time.monotonic() + 1.0
            while time.monotonic() < end: pass
            return time.process_time()
        """
    instance = await world.serve(source, limits=Limits(cpu=0.2))
    assert not instance.throttled
    used = (await ask(instance)).json
    assert used < 0.6
    await asyncio.sleep(0.06)
    assert instance.throttled
    assert not instance.throttled


async def test_each_instance_has_a_host_user_of_its_own(world: World, needs: Needs) -> None:
    needs(Promise.OWN_USER)
    source = "import subprocess\ndef handler(event): subprocess.run(['/bin/sleep', str(event)])"
    users = set()
    for number in (98761, 98762):
        sink = begin(await world.serve(source), direct(), str(number).encode())
        async with asyncio.timeout(5):
            while not (found := processes_with(str(number))):
                await asyncio.sleep(0.01)
        users.add(Path(f"/proc/{found[0]}").stat().st_uid)
        assert not sink.ended.done()
    assert len(users) == 2
    assert os.getuid() not in users


@pytest.mark.parametrize("how", ["kill", "crash", "timeout", "close"])
async def test_nothing_outlives_an_instance(world: World, needs: Needs, how: str) -> None:
    needs(Promise.WHOLE_KILL)
    marker = f"98{['kill', 'crash', 'timeout', 'close'].index(how)}{os.getpid()}"
    source = """
        import os, signal, subprocess, time
        def handler(event):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for _ in range(5):
                subprocess.Popen(["/bin/sleep", event[0]], start_new_session=True)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execv("/bin/sleep", ["sleep", event[0]])
                os._exit(0)
            print("ready")
            if event[1] == "crash":
                time.sleep(0.3)
                os._exit(1)
            time.sleep(60)
        """
    instance = await world.serve(source)
    sink = begin(instance, direct(), f'["{marker}", "{how}"]'.encode(), timeout=1 if how == "timeout" else 20)
    async with asyncio.timeout(10):
        while len(processes_with(marker)) < 6:
            await asyncio.sleep(0.01)
        if how in ("crash", "timeout"):
            await sink.ended
        if how == "close":
            await world.driver.close()
        await instance.kill()
    assert processes_with(marker) == []


async def test_leftovers_of_a_killed_server_are_cleared(
    world: World, needs: Needs, folders: Path, driver_name: str, make_driver: Callable[[], Driver]
) -> None:
    needs(Promise.WHOLE_KILL)
    leftover = folders / driver_name / "runtime" / world.driver.name / "instances" / "0123456789ab"
    (leftover / "code").mkdir(parents=True)
    again = make_driver()
    await world.driver.close()
    await again.open()
    assert not leftover.exists()
    await again.close()


async def test_a_burst_of_starts_and_kills_leaves_nothing(world: World) -> None:
    instances = await asyncio.gather(*(world.serve("def handler(event): return event") for _ in range(12)))
    assert [(await ask(instance, 1)).json for instance in instances] == [1] * 12
    began = time.monotonic()
    await asyncio.gather(*(instance.kill() for instance in instances))
    assert time.monotonic() - began < 5
