from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.sandbox import network
from clowdy.runtimes.sandbox.network import Outside, Policy, find_outside, outside_command

_OUTSIDE = Outside(
    bubblewrap="/usr/bin/bwrap",
    python="/usr/bin/python3",
    pasta="/usr/bin/pasta",
    ip="/usr/sbin/ip",
    nsenter="/usr/bin/nsenter",
    nft="/usr/sbin/nft",
    iptables=None,
    families=(4, 6),
    resolvers="/etc/resolv.conf",
    resolving=(4,),
    host=("203.0.113.7",),
)


@pytest.fixture
def tun(tmp_path: Path) -> Path:
    """Stands for a device that every user may open."""
    path = tmp_path / "tun"
    path.touch()
    path.chmod(0o666)
    return path


def _without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    monkeypatch.setattr(network.shutil, "which", lambda name, path: None if name in missing else f"/usr/bin/{name}")


def test_what_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tun: Path) -> None:
    _without(monkeypatch, "pasta", "nft", "iptables-restore")
    with pytest.raises(
        DriverUnavailable, match=r"passt and nftables are not installed. Cure: apt-get install passt nf"
    ):
        find_outside(tun=tun)


def test_a_device_that_is_missing_or_roots_alone_is_named(tun: Path) -> None:
    if shutil.which("pasta") is None:
        pytest.skip("pasta is not installed")
    with pytest.raises(DriverUnavailable, match=r"none is missing. Cure: modprobe tun, or mknod -m 666"):
        find_outside(tun=tun.with_name("none"))
    tun.chmod(0o600)
    if os.geteuid() == 0:
        with pytest.raises(DriverUnavailable, match="Cure: chmod 666"):
            find_outside(tun=tun)


def test_the_resolvers_of_the_machine_say_by_which_family_names_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 1.1.1.1\nsearch example.org\nnameserver ::1\nnameserver  127.0.0.53\n\nnameserver x\n"
    )
    assert network._resolving(path) == [6, 4]
    assert network._resolving(tmp_path / "none") == []


def test_the_rules_are_set_by_nft_or_where_it_is_missing_by_iptables() -> None:
    command = outside_command(_OUTSIDE, Policy(), ["/bin/true"])
    assert "/usr/sbin/nft\n-f\n-" in command
    assert command[-2:] == ("--", "/bin/true")
    older = Outside(
        bubblewrap="/usr/bin/bwrap",
        python="/usr/bin/python3",
        pasta="/usr/bin/pasta",
        ip="/usr/sbin/ip",
        nsenter="/usr/bin/nsenter",
        nft=None,
        iptables=("/sbin/iptables-restore", "/sbin/ip6tables-restore"),
        families=(4,),
        resolvers="/etc/resolv.conf",
        resolving=(4,),
        host=(),
    )
    command = outside_command(older, Policy(), ["/bin/true"])
    assert [each.split("\n")[0] for each in command if "tables-restore" in each] == [
        "/sbin/iptables-restore",
        "/sbin/ip6tables-restore",
    ]


def test_pasta_maps_nothing_of_the_host_and_forwards_no_port() -> None:
    pasta = next(each for each in outside_command(_OUTSIDE, Policy(), []) if each.startswith("/usr/bin/pasta"))
    words = pasta.split("\n")
    assert "--no-map-gw" in words
    for option in ("-t", "-u", "-T", "-U"):
        assert words[words.index(option) + 1] == "none"
    assert words[words.index("--dns-forward") + 1] == "192.0.0.3"


def test_a_program_runs_in_a_network_of_its_own_and_keeps_its_descriptors() -> None:
    try:
        outside = find_outside()
    except DriverUnavailable as error:
        pytest.skip(str(error))
    source, sink = os.pipe()
    try:
        os.write(sink, b"kept")
        script = (
            f"import os, socket; print(os.read({source}, 4).decode(), *(name for _, name in socket.if_nameindex()))"
        )
        done = subprocess.run(
            outside_command(outside, Policy(), [outside.python, "-I", "-c", script]),
            stdin=subprocess.DEVNULL,
            pass_fds=(source,),
            capture_output=True,
            text=True,
            timeout=30,
            **({"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}),
        )
    finally:
        os.close(source)
        os.close(sink)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "kept lo outside\n"
