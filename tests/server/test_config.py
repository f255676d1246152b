from __future__ import annotations

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest

from clowdy.runtimes.layers.limits import BuildLimits
from clowdy.schema.units import MEBIBYTE
from clowdy.server.config import Config, machine_memory_bytes, parse_duration, parse_size
from clowdy.server.errors import ConfigError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_setting_everything_has_a_default(empty_folder: Path) -> None:
    config = Config.load({}, {})

    assert config.data_dir == empty_folder / ".clowdy"
    assert config.public_url == "http://127.0.0.1:8000"
    assert config.runtime == "auto"
    assert config.memory_budget_bytes == machine_memory_bytes() * 6 // 10
    assert 1 <= config.standbys <= 16


def test_an_option_wins_over_the_environment_which_wins_over_the_file(empty_folder: Path) -> None:
    file = empty_folder / "settings.toml"
    file.write_text('port = 1\nhost = "127.0.0.3"\nbase-domain = "file.example"\n')

    config = Config.load({"port": 3, "host": None}, {"CLOWDY_PORT": "2", "CLOWDY_HOST": "127.0.0.2"}, file)

    assert (config.port, config.host, config.base_domain) == (3, "127.0.0.2", "file.example")


def test_the_data_directory_may_hold_a_file_of_settings(empty_folder: Path) -> None:
    (empty_folder / "clowdy.toml").write_text('memory_budget = "512MB"\ntrust-proxy = ["10.0.0.0/8", "::1"]\n')

    config = Config.load({"data_dir": str(empty_folder)}, {})

    assert config.memory_budget_bytes == 512 * MEBIBYTE
    assert config.standbys == 2
    assert config.trust_proxy == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_a_path_in_a_file_is_relative_to_the_file(empty_folder: Path) -> None:
    (empty_folder / "etc").mkdir()
    (empty_folder / "etc" / "clowdy.toml").write_text('data-dir = "data"\n')

    assert Config.load({}, {}, "etc/clowdy.toml").data_dir == empty_folder / "etc" / "data"


def test_limits_of_builds_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "clowdy.toml").write_text('build_seconds = "5m"\nbuild_layer_bytes = "2GB"\n')
    config = Config.load({"data_dir": str(tmp_path)}, {"CLOWDY_BUILD_AT_ONCE": "1", "CLOWDY_BUILD_SECONDS": "90"})
    assert config.build == BuildLimits(seconds=90.0, layer_bytes=2 * 1024**3, at_once=1)
    with pytest.raises(ConfigError, match="build-memory-bytes"):
        Config.load({"data_dir": str(tmp_path)}, {"CLOWDY_BUILD_MEMORY_BYTES": "1MB"})


def test_every_limit_of_a_push_can_be_set() -> None:
    push = Config.load({}, {"CLOWDY_PUSH_FILES": "10", "CLOWDY_PUSH_PACK_BYTES": "1MB"}).push

    assert (push.files, push.pack_bytes, push.depth) == (10, MEBIBYTE, 100)


@pytest.mark.parametrize(
    ("value", "allowed"), [("1", True), ("true", True), ("Yes", True), ("0", False), ("no", False)]
)
def test_private_networks_are_allowed_by_a_word(value: str, allowed: bool) -> None:
    assert Config.load({}, {"CLOWDY_ALLOW_PRIVATE_NETWORKS": value}).allow_private_networks is allowed


def test_private_networks_are_allowed_by_the_file_and_by_the_option_and_not_by_default(empty_folder: Path) -> None:
    file = empty_folder / "settings.toml"
    file.write_text("allow-private-networks = true\n")

    assert Config.load({}, {}, file).allow_private_networks
    assert Config.load({"allow_private_networks": True}, {}).allow_private_networks
    assert not Config.load({"allow_private_networks": None}, {}).allow_private_networks


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "http", "port: CLOWDY_PORT says 'http': write a whole number from 0 to 65535"),
        ("PORT", "65536", "port: CLOWDY_PORT says '65536': write a whole number from 0 to 65535"),
        ("RUNTIME", "lambda", "write auto, sandbox, docker or process"),
        ("MEMORY_BUDGET", "lots", "write a size of at least 64MB, as 512MB or 2GB"),
        ("MEMORY_BUDGET", "1MB", "write a size of at least 64MB"),
        ("GRACE", "soon", "write seconds, or a duration"),
        ("GRACE", "-1", "write seconds, or a duration"),
        ("TRUST_PROXY", "10.0.0.1/8", "10.0.0.1/8 has host bits set; write addresses or networks"),
        ("ALLOW_PRIVATE_NETWORKS", "some", "says 'some': write true or false"),
        ("TRUST_PROXY", "*", "write addresses or networks"),
        ("PUBLIC_URL", "clowdy.example", "write scheme, host and port alone"),
        ("PUBLIC_URL", "https://clowdy.example/path", "write scheme, host and port alone"),
        ("PUBLIC_URL", "https://user@clowdy.example", "write scheme, host and port alone"),
        ("PUBLIC_URL", "https://clowdy.example:port", "write scheme, host and port alone"),
        ("PUBLIC_URL", "https://", "write scheme, host and port alone"),
        ("BASE_DOMAIN", "*.example", "write a domain without scheme, port or *"),
        ("BASE_DOMAIN", "example:80", "write a domain without scheme, port or *"),
        ("BASE_DOMAIN", "127.0.0.1", "write a domain without scheme, port or *"),
        ("HOST", "a b", "write an address or a host name"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_its_cure(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load({}, {f"CLOWDY_{variable}": value})

    assert message in caught.value.message


@pytest.mark.parametrize(
    "token",
    ["short", " padded-with-blanks ", "a-line\nbreak-in-the-token", "a-tab\tin-the-token", "not-utf-8-\udce9-token"],
)
def test_a_bad_admin_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ConfigError, match="16 characters or more") as caught:
        Config.load({}, {"CLOWDY_ADMIN_TOKEN": token})

    assert token not in caught.value.message


@pytest.mark.parametrize(
    "token", ["my own tökén: with blanks", "日本語" * 6, "no-break\u00a0space-within", "new \U0001fadf" * 4]
)
def test_an_admin_token_may_have_any_form(token: str) -> None:
    assert Config.load({}, {"CLOWDY_ADMIN_TOKEN": token}).admin_token == token


def test_secrets_are_not_in_the_repr() -> None:
    key = base64.b64encode(b"k" * 32).decode()

    config = Config.load({}, {"CLOWDY_ADMIN_TOKEN": "any form will do here", "CLOWDY_SECRET_KEY": key})

    assert config.admin_token == "any form will do here"
    assert config.secret_key == b"k" * 32
    assert "any form" not in repr(config)
    assert "kkkk" not in repr(config)


def test_a_secret_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 random bytes in base64"):
        Config.load({}, {"CLOWDY_SECRET_KEY": base64.b64encode(b"short").decode()})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot = 1", "has an unknown key prot, did you mean port?"),
        ("port = ", "is not TOML"),
        ('admin-token = "0123456789abcdef"', "set CLOWDY_ADMIN_TOKEN"),
        ("port = true", "says 'True': write a whole number"),
    ],
)
def test_a_bad_file_is_named(empty_folder: Path, content: str, message: str) -> None:
    (empty_folder / "bad.toml").write_text(content)

    with pytest.raises(ConfigError) as caught:
        Config.load({}, {}, empty_folder / "bad.toml")

    assert message in caught.value.message
    assert "0123456789abcdef" not in caught.value.message


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        Config.load({}, {}, "nowhere.toml")


def test_the_file_in_a_data_directory_cannot_name_another_one(empty_folder: Path) -> None:
    (empty_folder / ".clowdy").mkdir()
    (empty_folder / ".clowdy" / "clowdy.toml").write_text('data-dir = "/elsewhere"')

    with pytest.raises(ConfigError, match="lies in a data directory itself"):
        Config.load({}, {})


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:9"), ("::", "http://[::1]:9"), ("::1", "http://[::1]:9"), ("box", "http://box:9")],
)
def test_the_default_url_can_be_called(host: str, url: str) -> None:
    assert Config.load({"host": host, "port": 9}, {}).public_url == url


def test_a_port_that_the_system_chose_is_in_the_default_url_only() -> None:
    assert Config.load({"port": 0}, {}).bound_to(4242).public_url == "http://127.0.0.1:4242"
    assert Config.load({"public_url": "https://c.example/"}, {}).bound_to(4242).public_url == "https://c.example"


def test_the_label_of_the_public_url_is_no_projects_name_below_the_base_domain() -> None:
    config = Config.load({"public_url": "https://Panel.apps.example", "base_domain": "apps.example"}, {})

    assert config.reserved_names == {"www", "api", "panel"}
    assert Config.load({}, {}).reserved_names == {"www", "api"}


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MB", 512 * MEBIBYTE), ("2g", 2048 * MEBIBYTE), ("1.5 GiB", 1536 * MEBIBYTE), ("7", 7), ("", None)],
)
def test_sizes_count_by_1024(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("500ms", 0.5), ("2m", 120), ("1 h", 3600), ("x", None)])
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


def test_the_memory_of_a_container_counts_as_the_machines(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       1000 kB\nMemFree: 1 kB\n")
    assert machine_memory_bytes(tmp_path) == 1000 * 1024

    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert machine_memory_bytes(tmp_path) == 1000 * 1024

    (tmp_path / "sys/fs/cgroup/memory.max").write_text("4096\n")
    assert machine_memory_bytes(tmp_path) == 4096


def test_what_is_wrong_with_a_proxy_is_told_as_it_was_written(empty_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--trust-proxy says '10\.0\.0\.0/8 x': 'x' does not appear"):
        Config.load({"trust_proxy": ("10.0.0.0/8", "x")}, {})
