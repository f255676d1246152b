from __future__ import annotations

import subprocess
import sys

import pytest

from clowdy.runtimes.sandbox.reach import RESOLVER_4, RESOLVER_6, Policy, nft_rules, reach

_POLICY = Policy(allowed=("10.1.2.3", "10.1.2.4/31", "10.1.2.9", "fd00:1::/64"))
# More than one message holds, some that touch each other or what is refused in any case, and both ends of the range.
_HOST = (
    *(f"203.0.{number // 250}.{number % 250}" for number in range(0, 1500, 2)),
    *("9.0.0.0/8", "11.0.0.0/24", "255.255.255.255", "0.0.0.0", "2001:db8::7", "ffff:ffff::/32"),
)

_SET = """
import sys
from clowdy.runtimes.docker.netfilter import rules_message
from clowdy.runtimes.docker.netfilter_worker import open_netfilter, set_rules
from clowdy.runtimes.sandbox.reach import Policy, reach

message = rules_message(reach(Policy(allowed=tuple(sys.argv[1].split())), sys.argv[2].split()), sys.argv[3].split())
if len(sys.argv) > 4:
    message = message.replace(*(word.encode() for word in sys.argv[4:6]))
with open_netfilter() as kernel:
    for _ in range(2):
        set_rules(kernel, message)
"""


def _in_namespace(*commands: tuple[str, ...], stdin: str = "") -> str:
    """What they print, run one after the other in a network namespace of their own."""
    script = 'for each in "$@"; do eval "$each" || exit; done'
    words = [" ".join(map(_quoted, command)) for command in commands]
    started = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh", *words],
        input=stdin,
        capture_output=True,
        text=True,
    )
    if "unshare failed" in started.stderr or "not found" in started.stderr:
        pytest.skip(f"no rules can be set here: {started.stderr.strip()}")
    assert started.returncode == 0, started.stderr
    return started.stdout


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _set(*further: str) -> tuple[str, ...]:
    arguments = (" ".join(_POLICY.allowed), " ".join(_HOST), f"{RESOLVER_4} {RESOLVER_6}")
    return (sys.executable, "-c", _SET, *arguments, *further)


_LIST = ("nft", "list", "table", "inet", "clowdy")


def test_the_kernel_is_told_what_nft_tells_it() -> None:
    ours = _in_namespace(_set(), _LIST)
    theirs = _in_namespace(("nft", "-f", "-"), _LIST, stdin=nft_rules(reach(_POLICY, _HOST)))
    incoming = """\
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established,related accept
	}

"""
    assert incoming in ours
    neighbours_of_version_6 = "\t\ticmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept\n"
    assert neighbours_of_version_6 in theirs
    # How `nft` itself reads further elements.
    note = "\t\tauto-merge\n"
    assert ours.replace(incoming, "") == theirs.replace(neighbours_of_version_6, "").replace(note, "")


@pytest.mark.parametrize(("known", "unknown"), [("payload", "payloax"), ("reject", "rejecx")])
def test_rules_that_the_kernel_does_not_take_are_an_error_and_nothing_of_them_stands(known: str, unknown: str) -> None:
    fails = ("sh", "-c", 'if "$@"; then exit 1; fi', "sh", *_set(known, unknown))
    assert _in_namespace(fails, ("nft", "list", "ruleset")) == ""
