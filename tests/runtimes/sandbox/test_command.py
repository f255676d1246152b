from __future__ import annotations

from pathlib import Path

from clowdy.runtimes.sandbox.command import System, find_system, sandbox_command

PROGRAM = ("/usr/bin/python3", "-I", "/runner/main.py")


def command(packages: str | None = None, resolver: str | None = None) -> list[str]:
    system = System(links=(("usr/lib", "/lib"),), folders=("/usr",))
    return list(
        sandbox_command(
            "/usr/bin/bwrap",
            system,
            app="/run/x/app",
            runner="/run/x/runner",
            packages=packages,
            resolver=resolver,
            tmp_bytes=64,
            program=PROGRAM,
        )
    )


def test_the_program_comes_last_and_nothing_of_it_is_an_option() -> None:
    words = command()
    assert words[0] == "/usr/bin/bwrap"
    assert tuple(words[words.index("--") + 1 :]) == PROGRAM


def test_every_namespace_is_its_own_and_no_capability_is_left() -> None:
    words = command()
    for option in ("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"):
        assert option in words
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert words[words.index("--uid") + 1] == "1000"
    assert words[words.index("--seccomp") + 1] == "5"
    assert "--share-net" not in words


def test_nothing_is_bound_for_writing_but_devices() -> None:
    words = command()
    assert "--bind" not in words
    bound = [words[place + 1] for place, word in enumerate(words) if word == "--dev-bind"]
    assert bound == ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]
    seen = {words[place + 2] for place, word in enumerate(words) if word == "--ro-bind"}
    assert seen == {"/usr", "/app", "/runner"}
    assert words.index("--remount-ro") < words.index("--tmpfs", words.index("/dev/shm"))


def test_packages_are_bound_read_only_at_their_place() -> None:
    words = command("/data/layers/abc")
    place = words.index("/packages")
    assert words[place - 2 : place + 1] == ["--ro-bind", "/data/layers/abc", "/packages"]
    assert place < words.index("--remount-ro", place)
    assert "/packages" not in command()


def test_with_a_network_that_of_its_start_is_kept_and_whom_to_trust_is_bound_read_only() -> None:
    words = command(resolver="/run/x/resolv.conf")
    assert "--share-net" in words
    place = words.index("/runner/etc/resolv.conf")
    assert words[place - 2 : place] == ["--ro-bind", "/run/x/resolv.conf"]
    place = words.index("/runner/etc/ssl/certs")
    assert words[place - 2 : place] == ["--ro-bind-try", "/etc/ssl/certs"]
    assert words[words.index("--cap-drop") + 1] == "ALL"


def test_the_size_is_that_of_tmp() -> None:
    words = command()
    place = words.index("--size")
    assert words[place : place + 4] == ["--size", "64", "--tmpfs", "/tmp"]


def test_links_and_folders_at_the_top_are_as_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "bin").mkdir()
    system = find_system("/usr/local", tmp_path)
    assert system == System(links=(("usr/lib", "/lib"),), folders=("/usr", "/bin"))


def test_a_python_that_lies_elsewhere_is_seen_too(tmp_path: Path) -> None:
    assert find_system("/opt/python", tmp_path).folders == ("/usr", "/opt/python")
