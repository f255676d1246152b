"""What stands in the request that creates a container."""

from __future__ import annotations

from typing import Any

from clowdy.runtimes.api import Limits
from clowdy.runtimes.docker.container import NO_NETWORK, Mount, instance_config, maker_config
from clowdy.schema.units import MEBIBYTE


def instance(**more: Any) -> dict[str, Any]:
    return instance_config(
        "sha256:abc",
        ["python3", "/runner/enter.py"],
        **{
            "uid": 70001,
            "limits": Limits(),
            "mounts": (Mount("/data/one/app", "/app"),),
            "network": NO_NETWORK,
            "resolvers": (),
            "labels": {"clowdy.server": "one"},
            **more,
        },
    )


def test_an_instance_has_no_right_that_it_does_not_need() -> None:
    config = instance()
    host = config["HostConfig"]
    assert config["User"] == "70001:1000"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "none"
    assert host["IpcMode"] == "private"
    assert not {"Privileged", "CapAdd", "Devices", "PidMode", "UsernsMode", "Binds", "VolumesFrom"} & set(host)


def test_what_is_mounted_can_only_be_read() -> None:
    [mount] = instance()["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/data/one/app", "/app", True)


def test_limits_are_in_the_words_of_the_engine() -> None:
    host = instance(limits=Limits(memory_bytes=256 * MEBIBYTE, cpu=0.25, processes=10))["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 256 * MEBIBYTE
    assert (host["CpuPeriod"], host["CpuQuota"]) == (100_000, 25_000)
    # docker-init is the one more.
    assert host["PidsLimit"] == 11
    assert "NanoCpus" not in host
    assert {"Name": "nofile", "Soft": 1024, "Hard": 1024} in host["Ulimits"]
    assert f"size={64 * MEBIBYTE}" in host["Tmpfs"]["/tmp"]


def test_the_smallest_share_of_a_core_is_one_that_the_engine_takes() -> None:
    assert instance(limits=Limits(cpu=0.001))["HostConfig"]["CpuQuota"] == 1000


def test_nothing_of_the_image_runs_beside_the_function() -> None:
    config = instance()
    assert config["Entrypoint"] == []
    assert config["Cmd"] == ["/runner/init", "--", "python3", "/runner/enter.py"]
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    assert config["Labels"] == {"clowdy.server": "one"}


def test_what_is_said_at_a_start_cannot_fill_the_disk() -> None:
    assert instance()["HostConfig"]["LogConfig"]["Config"]["max-size"] == "1m"


def test_hosts_resolvers_are_not_named_without_a_network() -> None:
    assert instance()["HostConfig"]["Dns"] == ["127.0.0.1"]
    assert instance(network="clowdy", resolvers=("192.0.2.53",))["HostConfig"]["Dns"] == ["192.0.2.53"]


def test_a_maker_of_images_may_write_and_has_no_rights_either() -> None:
    host = maker_config("sha256:abc", ["true"], labels={})["HostConfig"]
    assert "ReadonlyRootfs" not in host
    assert (host["CapDrop"], host["NetworkMode"]) == (["ALL"], "none")
