"""Driver `sandbox`: bubblewrap with all namespaces, a system call filter, control groups, and a user for each."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import resource
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from clowdy.runtimes.api import Application, DriverUnavailable, Instance, Kind, Limits, Parent, Promise, kind_of
from clowdy.runtimes.code import CodeCache, remove
from clowdy.runtimes.instance import RunnerInstance
from clowdy.runtimes.launcher import Command, Launcher
from clowdy.runtimes.packages import find_layer
from clowdy.runtimes.runner import Python, find_python, install_runner, runner_arguments
from clowdy.runtimes.sandbox.cell import SandboxCell
from clowdy.runtimes.sandbox.cgroups import Groups, find_groups
from clowdy.runtimes.sandbox.command import PACKAGES, RUNNER, System, find_system, sandbox_command
from clowdy.runtimes.sandbox.identities import Identities, choose_identities
from clowdy.runtimes.sandbox.network import PUBLIC_ONLY, Policy
from clowdy.runtimes.sandbox.outlet import CONNECTION_FILES, CONNECTION_PROCESSES, Outlet
from clowdy.runtimes.sandbox.parent import SandboxParent
from clowdy.runtimes.sandbox.seccomp import build_filter, filter_file
from clowdy.runtimes.sandbox.view import View, open_view
from clowdy.runtimes.sandbox.watcher import Watcher
from clowdy.schema.manifest import Network
from clowdy.schema.units import MEBIBYTE

log = logging.getLogger(__name__)

_ALWAYS = frozenset(
    {
        Promise.READ_ONLY,
        Promise.PRIVATE_TMP,
        Promise.NO_NETWORK,
        Promise.SYSTEM_CALLS,
        Promise.HIDDEN_HOST,
        Promise.WHOLE_KILL,
        Promise.PROCESSES,
    }
)
DELEGATE = "systemd-run --user --scope -p Delegate=yes make run"
"""How an ordinary user starts a server that may write control groups."""

_RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


_PLAIN = Kind(None, Network.OFF)
_CONNECTED = Kind(None, Network.ON)
_REWRITE_SECONDS = 5.0
_HOLD_AFTER_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class _Held:
    """An instance whose process waits to become bubblewrap."""

    instance: RunnerInstance
    cell: SandboxCell
    channel: socket.socket
    opener: int

    async def begin(self) -> None:
        """Lets it run."""
        try:
            os.write(self.opener, b".")
        except BrokenPipeError:
            # It ended already, which the end of its channel tells.
            pass
        finally:
            os.close(self.opener)
        await self.instance.attach(self.channel)

    async def give_up(self) -> None:
        """Ends it."""
        os.close(self.opener)
        await self.instance.attach(self.channel)
        await self.instance.kill()


class SandboxDriver:
    """Runs functions under bubblewrap.

    `data_dir` holds code and runner; `run_dir`, in /run, is where instances find them when the data directory lies
    where their users cannot pass. `layers`, by default in the data directory, has a folder for each requirements
    layer, named by its digest. `policy` says what a function with a network reaches besides public addresses.
    `use_groups` False behaves as where no control group can be written.
    """

    name = "sandbox"
    base = ""
    trouble: str | None = None

    def __init__(
        self,
        data_dir: Path,
        run_dir: Path,
        python: str | None = None,
        *,
        layers: Path | None = None,
        policy: Policy = PUBLIC_ONLY,
        use_groups: bool = True,
    ) -> None:
        self._data_dir = data_dir
        self._layers = layers or data_dir / "layers"
        self._run_dir = run_dir
        self._wanted = python
        self._use_groups = use_groups
        self._groups: Groups | None = None
        self._identities: Identities | None = None
        self._watcher = Watcher()
        self._outlet = Outlet(policy, self._rewrite_rules, self._try_network)
        self._launcher: Launcher | None = None
        self._instances: dict[RunnerInstance, SandboxCell] = {}
        self._parents: set[SandboxParent] = set()
        self._held: _Held | None = None
        self._found: Python
        self._view: View | None = None
        self._layer_view: View | None = None
        self._system: System
        self._cache: CodeCache
        self._filter = b""
        self._bubblewrap = ""
        self._runner = ""

    @property
    def python(self) -> str:
        return self._found.version

    @property
    def promises(self) -> frozenset[Promise]:
        kept = _ALWAYS | self._group_promises
        if Promise.MEMORY not in kept:
            kept |= {Promise.MEMORY_WATCHED}
        if self._identities is not None:
            kept |= {Promise.OWN_USER}
        if self.no_network is None:
            kept |= {Promise.CLOSED_NETWORK}
        return kept

    @property
    def no_network(self) -> str | None:
        return self._outlet.refusal

    @property
    def notice(self) -> str | None:
        if Promise.MEMORY in self.promises and Promise.CPU in self.promises:
            return None
        watched = "memory is only watched every 100 ms and " if Promise.MEMORY not in self.promises else ""
        return f"no control group can be written here: {watched}cpu is not limited. Cure: {DELEGATE}"

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._set_up)
        self._launcher = Launcher(self._found.executable)
        await self._launcher.open()
        await self._outlet.open(self._found.executable)
        try:
            trial, _ = await asyncio.gather(self._start(_PLAIN), self._try_network())
        except DriverUnavailable as error:
            await self.close()
            raise DriverUnavailable(_explain(str(error))) from None
        await trial.kill()

    async def _try_network(self) -> None:
        """Whether instances with a network start: the kernel may forbid what all programs for it are there for."""
        self._outlet.failed = None
        if self._outlet.refusal is not None:
            return
        try:
            await (await self._start(_CONNECTED)).kill()
        except DriverUnavailable as error:
            self._outlet.failed = _explain_network(str(error))

    async def _rewrite_rules(self) -> None:
        """Keeps running instances from addresses that this machine did not have when they were started."""
        connected = [instance for instance in self._instances if instance.kind.network is not Network.OFF]
        await asyncio.gather(*(self._rewrite_rules_of(instance) for instance in connected))

    async def _rewrite_rules_of(self, instance: RunnerInstance) -> None:
        launcher, cell = self._launcher, self._instances.get(instance)
        if launcher is None or not launcher.alive or cell is None or cell.process.pid is None:
            return
        argv = self._outlet.rewrite_command(cell.process.pid)
        if argv is None:
            # Not there yet: whoever starts it looks again.
            return
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            # Its own user alone is root in there.
            process = launcher.start(secrets.token_hex(6), Command(argv, (), null, uid=cell.uid))
        finally:
            os.close(null)
        if await process.wait(_REWRITE_SECONDS) != 0 and instance.alive:
            log.warning("instance %s ends: the rules of its network could not be brought up to date", instance.id)
            await instance.kill()

    def _set_up(self) -> None:
        found = shutil.which("bwrap")
        if found is None:
            raise DriverUnavailable(
                "bubblewrap is not installed. Cure: apt-get install bubblewrap; "
                "or --runtime process (CLOWDY_RUNTIME=process), which isolates nothing and is for development"
            )
        self._bubblewrap = found
        self._filter = build_filter()
        self._identities = choose_identities(self._data_dir)
        self._found = find_python(self._wanted, for_any_user=self._identities is not None)
        self._system = find_system(self._found.prefix)
        name = "clowdy-" + hashlib.sha256(os.fsencode(self._data_dir.resolve())).hexdigest()[:12]
        self._groups = find_groups(name) if self._use_groups else None
        if self._groups is not None:
            self._groups.clear()
        self._view = open_view(self._data_dir / "runtime" / "sandbox", self._run_dir)
        self._layer_view = open_view(self._layers, self._run_dir, "layers")
        written = self._view.written
        remove(written / "instances")
        (written / "instances").mkdir(mode=0o711)
        self._cache = CodeCache(written / "blobs")
        self._cache.open()
        self._runner = install_runner(written, self._found).name

    async def start(self, kind: Kind) -> Instance:
        return await self._start(kind)

    def can_prepare(self, application: Application) -> bool:
        """See `api.Parents`: one sandbox for several instances needs a group for each, and keeps no network apart."""
        return application.network is Network.OFF and self._group_promises >= {Promise.MEMORY, Promise.PROCESSES}

    async def prepare(self, application: Application, timeout_seconds: float) -> Parent:
        """See `api.Parents`."""
        if self._groups is None or not self.can_prepare(application):
            raise DriverUnavailable("instances of this version cannot share a sandbox here")
        instance = await self._start(kind_of(application))
        parent = SandboxParent(application, instance, self._instances[instance], self._groups, self._parents.discard)
        self._parents.add(parent)
        await parent.open(timeout_seconds)
        return parent

    async def _start(self, kind: Kind) -> RunnerInstance:
        if kind.network is Network.DATABASE:
            raise DriverUnavailable("network: database is not available in this version")
        if self._launcher is None:
            raise DriverUnavailable("the driver is closed")
        launcher = self._launcher
        await launcher.reopen()
        held = await self._take_held() if kind == _PLAIN else None
        if held is None:
            held = self._prepare(launcher, kind)
        self._instances[held.instance] = held.cell
        rules = self._outlet.generation
        await held.begin()
        # Once this one has had its turn: one is held ready, never more.
        asyncio.get_running_loop().call_later(_HOLD_AFTER_SECONDS, self._hold)
        await held.instance.greeted()
        held.cell.note_init()
        if kind.network is not Network.OFF:
            await self._watch_connector(held)
            if rules != self._outlet.generation:
                # They changed while it was started with those of before.
                await self._rewrite_rules_of(held.instance)
        return held.instance

    async def _watch_connector(self, held: _Held) -> None:
        """An instance that is cut off ends: its calls would fail one by one, for a reason that none of them sees."""
        instance = held.instance

        def lost() -> None:
            # Memory that ran out may have taken pasta as well, and is told as what it is.
            if instance.alive and not held.cell.out_of_memory():
                log.warning("instance %s ends: pasta, which connected it to the network, has ended", instance.id)
                instance.fail("The instance lost its network")

        try:
            held.cell.watch_connector(lost)
        except ProcessLookupError:
            await instance.kill()
            raise DriverUnavailable("pasta ended as soon as it had connected the instance") from None

    async def _take_held(self) -> _Held | None:
        held, self._held = self._held, None
        if held is not None and held.cell.process.ended.done():
            await held.give_up()
            return None
        return held

    def _hold(self) -> None:
        """Prepares the next process up to the last step: to enter a group of the second version can take 10 ms."""
        if self._held is None and self._launcher is not None and self._launcher.alive:
            try:
                self._held = self._prepare(self._launcher, _PLAIN)
            except OSError:
                # The next start meets the same, and tells it to whoever asked.
                self._held = None

    def _prepare(self, launcher: Launcher, kind: Kind) -> _Held:
        assert self._view is not None
        packages = self._packages(kind.layer)
        connected = kind.network is not Network.OFF
        resolver = self._resolver() if connected else None
        name = secrets.token_hex(6)
        uid = self._identities.take() if self._identities is not None else None
        folder = self._view.written / "instances" / name
        folder.mkdir(mode=0o750)
        if uid is not None:
            # Its own user may read, through the group, and nobody may write.
            os.chown(folder, 0, uid)
        processes = Limits().processes + (CONNECTION_PROCESSES if connected else 0)
        group = self._groups.make(name, processes) if self._groups is not None else None
        shown = self._view.shown
        channel, theirs = socket.socketpair()
        output, output_end = os.pipe2(os.O_CLOEXEC)
        rules = filter_file(self._filter)
        gate, opener = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        channel.setblocking(False)
        argv = sandbox_command(
            self._bubblewrap,
            self._system,
            app=str(shown / "instances" / name),
            runner=str(shown / self._runner),
            packages=packages,
            resolver=resolver,
            tmp_bytes=Limits().tmp_bytes,
            program=runner_arguments(self._found, RUNNER, self._processes),
        )
        command = Command(
            argv=self._outlet.wrap(argv, Limits().open_files) if connected else argv,
            descriptors=(theirs.fileno(), output, rules),
            output=output_end,
            gate=gate,
            uid=uid,
            join=group.join if group is not None else (),
            limits=(
                (resource.RLIMIT_NOFILE, CONNECTION_FILES if connected else Limits().open_files),
                (resource.RLIMIT_FSIZE, Limits().tmp_bytes),
                (resource.RLIMIT_CORE, 0),
                (resource.RLIMIT_STACK, 8 * MEBIBYTE),
            ),
        )
        process = launcher.start(name, command)
        theirs.close()
        os.close(output_end)
        os.close(rules)
        os.close(gate)

        def give_back() -> None:
            if uid is not None and self._identities is not None:
                self._identities.give_back(uid)

        cell = SandboxCell(
            folder,
            PACKAGES if packages is not None else None,
            kind.network,
            process,
            self._cache,
            group,
            self._watcher,
            uid,
            give_back,
        )
        instance = RunnerInstance(name, kind, cell, output, self._forget)
        return _Held(instance, cell, channel, opener)

    def _forget(self, instance: RunnerInstance) -> None:
        self._instances.pop(instance, None)

    @property
    def _processes(self) -> int:
        """The most processes of one user in a sandbox: no limit where groups hold each instance to its own number."""
        return 0 if Promise.PROCESSES in self._group_promises else Limits().processes

    @property
    def _group_promises(self) -> frozenset[Promise]:
        return self._groups.promises if self._groups is not None else frozenset()

    def _packages(self, layer: str | None) -> str | None:
        """Where bubblewrap finds a layer; raises DriverUnavailable."""
        folder = find_layer(self._layers, layer)
        if folder is None:
            return None
        assert self._layer_view is not None
        if self._layer_view.written != self._layers:
            raise DriverUnavailable(
                f"{self._layers} lies where the users of functions cannot pass, and this process has no mounts of its "
                "own. Cure: --data-dir below a folder that all may pass"
            )
        return str(self._layer_view.shown / folder.name)

    def _resolver(self) -> str:
        """Where bubblewrap finds the file that names a resolver; raises DriverUnavailable."""
        assert self._view is not None
        content = self._outlet.outside.resolver_file
        name = f"resolv-{hashlib.sha256(content.encode()).hexdigest()[:12]}.conf"
        path = self._view.written / name
        if not path.exists():
            path.write_text(content)
            path.chmod(0o644)
        return str(self._view.shown / name)

    async def close(self) -> None:
        # First of all, so that nothing is started or held from now on.
        launcher, self._launcher = self._launcher, None
        held, self._held = self._held, None
        await self._outlet.close()
        if held is not None:
            await held.give_up()
        await asyncio.gather(*(parent.kill() for parent in list(self._parents)))
        await asyncio.gather(*(instance.kill() for instance in list(self._instances)))
        await self._watcher.close()
        if launcher is not None:
            await launcher.close()
        groups, self._groups = self._groups, None
        if groups is not None:
            groups.close()
        views = [view for view in (self._layer_view, self._view) if view is not None]
        self._view = self._layer_view = None
        for view in views:
            view.close(self._run_dir)


def _last_line(text: str) -> str:
    return next((each for each in reversed(text.splitlines()) if each.strip()), "it ended without a word")[:300]


def _explain_network(text: str) -> str:
    """What pasta or the setter of the rules said, with what helps."""
    lines = [each for each in text.splitlines() if each.strip() and not each.startswith("Failed to send")]
    if "nft" in text or "tables-restore" in text:
        cure = "modprobe nf_tables nft_reject_inet, or a kernel with netfilter in user namespaces"
    else:
        cure = (
            "apt-get install --reinstall passt, and let it make namespaces (AppArmor, sysctl user.max_net_namespaces)"
        )
    return f"it does not start: {'; '.join(lines[-2:])[:300] or 'it ended without a word'}. Cure: {cure}"


def _explain(text: str) -> str:
    """What bubblewrap said, with what helps."""
    line = _last_line(text)
    advice = "or --runtime process (CLOWDY_RUNTIME=process), which isolates nothing and is for development"
    if _RESTRICTED.exists() and _RESTRICTED.read_text().strip() == "1":
        cure = (
            "Ubuntu's AppArmor forbids user namespaces. Cure: sudo make setup, which installs a profile for bwrap; "
            f"{advice}"
        )
    elif any(word in line.lower() for word in ("permitted", "permission", "namespace", "uid map")):
        cure = (
            "This kernel or container forbids user namespaces (sysctl kernel.unprivileged_userns_clone, "
            f"user.max_user_namespaces, or Docker's seccomp profile). Cure: allow them; {advice}"
        )
    elif "unknown option" in line.lower():
        cure = f"bubblewrap 0.8 or later is needed. Cure: apt-get install bubblewrap; {advice}"
    else:
        cure = f"Cure: apt-get install --reinstall bubblewrap; {advice}"
    return f"the sandbox does not start: {line}. {cure}"
