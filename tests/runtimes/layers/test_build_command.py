"""The bubblewrap command of a build."""

from __future__ import annotations

from clowdy.runtimes.layers.command import Bind, build_command
from clowdy.runtimes.sandbox.command import System

SYSTEM = System(links=(("usr/bin", "/bin"),), folders=("/usr",))


def command(*, share_network: bool = False) -> tuple[str, ...]:
    return build_command(
        "bwrap",
        SYSTEM,
        binds=[Bind("/data/x", "/build", writable=True), Bind("/uv", "/uv")],
        folder="/build",
        tmp_bytes=1,
        share_network=share_network,
        program=["/uv", "--version"],
    )


def test_only_what_is_said_is_seen_and_only_what_is_said_is_writable() -> None:
    words = command()
    places = [words[at + 2] for at, word in enumerate(words) if word == "--bind"]
    assert places == ["/build"]
    seen = [words[at + 2] for at, word in enumerate(words) if word == "--ro-bind"]
    assert seen == ["/usr", "/uv"]
    assert words[-3:] == ("--", "/uv", "--version")
    assert words.index("--remount-ro", words.index("/build")) < words.index("--seccomp")


def test_all_namespaces_are_new_and_the_network_is_kept_only_when_it_is_asked_for() -> None:
    assert "--unshare-all" in command()
    assert "--disable-userns" in command()
    assert "--share-net" not in command()
    assert "--share-net" in command(share_network=True)
