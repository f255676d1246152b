"""What containers are created with, in the words of the engine's API. Pure: no user text ever stands in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clowdy.runtimes.api import Limits
from clowdy.schema.units import GIBIBYTE, MEBIBYTE

SERVER = "clowdy.server"
"""The label of everything that a server makes; its value names the data directory."""

APP = "/app"
RUNNER = "/runner"
INIT = f"{RUNNER}/init"
ENGINES_INIT = "/sbin/docker-init"
"""Where the engine shows its own where it is asked to; INIT is a copy that can be run and not read."""
PACKAGES = "/packages"
GROUP = 1000
NO_NETWORK = "none"
PERIOD_MICROSECONDS = 100_000
_LEAST_QUOTA = 1000
_MOST_STACK = 8 * MEBIBYTE
_OWN_BYTES = 64 * MEBIBYTE
# init is one more.
_INIT_PROCESSES = 1


class Mount(NamedTuple):
    """`source` of the host appears read-only as `target`."""

    source: str
    target: str


def instance_config(
    image: str,
    program: Sequence[str],
    *,
    uid: int,
    limits: Limits,
    mounts: Sequence[Mount],
    network: str,
    resolvers: Sequence[str],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """A container for one instance; `network` is the engine's name of one, or NO_NETWORK."""
    config = _config(image, [INIT, "--", *program], user=f"{uid}:{GROUP}", labels=labels)
    config["Hostname"] = "function"
    config["WorkingDir"] = APP
    config["HostConfig"] |= {
        **resources(limits.memory_bytes, limits.cpu),
        "PidsLimit": limits.processes + _INIT_PROCESSES,
        "Init": False,
        "ReadonlyRootfs": True,
        "NetworkMode": network,
        # Nobody answers there: without it the host's resolvers would be named to functions that cannot reach them.
        "Dns": ["127.0.0.1"] if network == NO_NETWORK else list(resolvers),
        # None of the host's domains.
        "DnsSearch": ["."],
        "Tmpfs": {"/tmp": f"size={limits.tmp_bytes},mode=1777,nosuid,nodev,exec"},  # noqa: S108  (the container's own)
        "ShmSize": limits.tmp_bytes,
        "Ulimits": [
            *_limit("nofile", limits.open_files),
            *_limit("fsize", limits.tmp_bytes),
            *_limit("core", 0),
            *_limit("stack", _MOST_STACK),
            # Queues of messages would be places to write to besides /tmp.
            *_limit("msgqueue", 0),
        ],
        "Mounts": [
            {
                "Type": "bind",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate"},
            }
            for mount in mounts
        ],
    }
    return config


def maker_config(
    image: str,
    program: Sequence[str],
    *,
    user: str = "0:0",
    network: str = NO_NETWORK,
    memory_bytes: int = 2 * GIBIBYTE,
    cpu: float = 2.0,
    processes: int = 1024,
    open_files: int = 4096,
    file_bytes: int = 2 * GIBIBYTE,
    mounts: Sequence[Mount] = (),
    resolvers: Sequence[str] = (),
    own: Sequence[str] = (),
    capabilities: Sequence[str] = (),
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """A container whose files become an image, or which does something once.

    What is below the folders `own` goes with it.
    """
    config = _config(image, program, user=user, labels=labels)
    config["HostConfig"] |= {
        **resources(memory_bytes, cpu),
        "PidsLimit": processes + _INIT_PROCESSES,
        "NetworkMode": network,
        "CapAdd": list(capabilities),
        "Dns": list(resolvers),
        "Tmpfs": dict.fromkeys(own, f"size={_OWN_BYTES},mode=1777,nosuid,nodev"),
        "Ulimits": [*_limit("nofile", open_files), *_limit("fsize", file_bytes), *_limit("core", 0)],
        "Mounts": [
            {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": True} for mount in mounts
        ],
    }
    return config


def resources(memory_bytes: int, cpu: float) -> dict[str, Any]:
    """Memory without swap, and cores, as the engine takes them at the creation and later."""
    return {
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,
        # Not NanoCpus, after which no quota can be set any more.
        "CpuPeriod": PERIOD_MICROSECONDS,
        "CpuQuota": quota(cpu),
    }


def quota(cpu: float) -> int:
    """Cores as microseconds of each period."""
    return max(_LEAST_QUOTA, int(cpu * PERIOD_MICROSECONDS))


def _config(image: str, program: Sequence[str], *, user: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": list(program),
        "User": user,
        "WorkingDir": "/",
        # A check of the image's author would run beside the function.
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",
        "Labels": dict(labels),
        "HostConfig": {
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "IpcMode": "private",
            "RestartPolicy": {"Name": "no"},
            # What a runner that died at its start has said is read; the default driver would grow without end.
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
        },
    }


def _limit(name: str, value: int) -> list[dict[str, Any]]:
    return [{"Name": name, "Soft": value, "Hard": value}]
