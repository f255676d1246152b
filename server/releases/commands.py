"""What each ref of a push asks for, judged by its name alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from clowdy.server.git.refnames import NULL

LIVE = "refs/heads/live"
# A client turns `v2:live` into refs/tags/live as long as no branch `live` exists there.
LIVE_ALIASES = (LIVE, "refs/tags/live")
HEADS = "refs/heads/"
TAGS = "refs/tags/"
RELEASE_TAGS = "refs/tags/deploy/"

KNOWN_OPTIONS = ("plan", "redeploy", "upgrade", "format=json")

_RESERVED = {
    RELEASE_TAGS: "deploy/* tags are made by the server",
    "refs/notes/": "notes are written by the server",
    "refs/clowdy/": "refs/clowdy/* belongs to the server",
    "refs/replace/": "replacement refs are not accepted: they would hide what is served",
    f"{LIVE}/": "live/* would stand where live has to",
    "refs/tags/live/": "live/* would stand where live has to",
    # `git push clowdy HEAD:refs/heads/main` would then mean two refs.
    f"{HEADS}refs/": "a branch cannot be called refs/…",
    f"{TAGS}refs/": "a tag cannot be called refs/…",
}


class Wish(Enum):
    """What a command asks for."""

    DEPLOY = "deploy"
    LIVE = "live"
    STORE = "store"
    DELETE = "delete"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Command:
    """One ref of a push. `old` and `new` are hex ids, NULL for none; `reason` says why it is refused."""

    ref: str
    old: str
    new: str
    wish: Wish
    reason: str = ""

    @property
    def deletes(self) -> bool:
        """Whether the ref is to go."""
        return self.new == NULL


def short(ref: str) -> str:
    """A ref as people write it: `main`, `v1.2`."""
    for prefix in (HEADS, TAGS):
        if ref.startswith(prefix):
            return ref.removeprefix(prefix)
    return ref


def deploy_branches_of(refs: Sequence[tuple[str, str, str]]) -> list[str]:
    """The branches of a first push, `main` before the others: the first that is accepted is the deploy branch."""
    commands = (_classify(old, new, ref, None) for old, new, ref in refs if ref.startswith(HEADS))
    branches = [command.ref for command in commands if command.wish is Wish.STORE]
    return sorted(branches, key=lambda ref: ref != f"{HEADS}main")


def classify(
    refs: Sequence[tuple[str, str, str]], deploy_branch: str | None, same_commit: Callable[[str, str], bool]
) -> list[Command]:
    """One command for each ref, in their order.

    `deploy_branch` is a full ref name; `same_commit` says whether two objects lead to one commit.
    """
    commands = [_classify(old, new, ref, deploy_branch) for old, new, ref in refs]
    deploy = next((command for command in commands if command.wish is Wish.DEPLOY), None)
    lives = [command for command in commands if command.wish is Wish.LIVE]
    if len(lives) > 1:
        return [
            _refused(command, "live is named twice in this push") if command.wish is Wish.LIVE else command
            for command in commands
        ]
    if deploy is None or not lives or same_commit(deploy.new, lives[0].new):
        return commands
    return _apart(commands, deploy, lives[0])


def _apart(commands: list[Command], deploy: Command, live: Command) -> list[Command]:
    reason = f"{short(deploy.ref)} and live name different commits: push one of them"
    return [_refused(command, reason) if command in (deploy, live) else command for command in commands]


def _classify(old: str, new: str, ref: str, deploy_branch: str | None) -> Command:
    command = Command(ref, old, new, Wish.STORE)
    if ref in LIVE_ALIASES:
        if new == NULL:
            return _refused(command, "live cannot be deleted: it is what serves")
        return Command(ref, old, new, Wish.LIVE)
    if ref == deploy_branch:
        if new == NULL:
            return _refused(command, f"{short(ref)} cannot be deleted: it is the deploy branch")
        return Command(ref, old, new, Wish.DEPLOY)
    for prefix, reason in _RESERVED.items():
        if f"{ref}/".startswith(prefix):
            return _refused(command, reason)
    if deploy_branch is not None and ref.startswith(f"{deploy_branch}/"):
        return _refused(command, f"{short(ref)} would stand where {short(deploy_branch)} has to")
    if not ref.startswith((HEADS, TAGS)):
        return _refused(command, "only branches and tags can be pushed")
    return Command(ref, old, new, Wish.DELETE if new == NULL else Wish.STORE)


def _refused(command: Command, reason: str) -> Command:
    return Command(command.ref, command.old, command.new, Wish.REFUSED, reason)


@dataclass(frozen=True, slots=True)
class Options:
    """The push options that this server knows."""

    plan: bool = False
    redeploy: bool = False
    upgrade: bool = False
    json: bool = False


def parse_options(options: Sequence[str]) -> Options | str:
    """The options, or the reason why they are refused."""
    unknown = [option for option in options if option not in KNOWN_OPTIONS]
    if unknown:
        return f"unknown push option {unknown[0]!r}: known are {', '.join(KNOWN_OPTIONS)}"
    return Options(
        plan="plan" in options,
        redeploy="redeploy" in options,
        upgrade="upgrade" in options,
        json="format=json" in options,
    )
