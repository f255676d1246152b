"""The requirements of a tree, whichever file they stand in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from clowdy.hooks.check import Judgement, Settings
from clowdy.schema.locks import Wanted
from tests.hooks.conftest import LINK, JudgeFiles

LOCKS = Path(__file__).parents[1] / "schema" / "locks"
HELLO = {"functions/hello.py": "def handler(event): ..."}


def tree(requirements: str, **files: str | bytes) -> dict[str, str | bytes]:
    named = {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}
    return {"clowdy.yaml": f"functions: {{hello: {{}}}}\nrequirements: {requirements}\n", **HELLO, **named}


def said(judgement: Judgement) -> list[str]:
    return [f"{problem.file}:{problem.line}:{problem.column} {problem.message}" for problem in judgement.problems]


async def test_nothing_is_wanted_without_requirements(judge_files: JudgeFiles) -> None:
    for requirements in ("[]", "requirements.txt"):
        judgement = await judge_files(tree(requirements, requirements_txt="# nothing\n\n"))
        assert (said(judgement), judgement.wanted) == ([], None)


async def test_a_list_is_taken_as_it_stands(judge_files: JudgeFiles) -> None:
    judgement = await judge_files(tree("[httpx>=0.27, 'numpy; python_version > \"3\"']"))
    assert judgement.wanted == Wanted(("httpx>=0.27", 'numpy; python_version > "3"'))


async def test_a_file_of_lines_is_read_without_its_comments(judge_files: JudgeFiles) -> None:
    text = "\ufeff# ours\nhttpx>=0.27  # the client\r\n\n  numpy\t\n"
    judgement = await judge_files(tree("requirements.txt", requirements_txt=text))
    assert judgement.wanted == Wanted(("httpx>=0.27", "numpy"))


async def test_problems_of_lines_have_their_place(judge_files: JudgeFiles) -> None:
    text = "httpx\n  -r other.txt\nx @ https://evil.example/x.whl\nnumpy\n./local\n"
    judgement = await judge_files(tree("requirements.txt", requirements_txt=text))
    assert said(judgement) == [
        'requirements.txt:2:3 options are not allowed: "-r"',
        'requirements.txt:3:1 URLs are not allowed: "x @ https://evil.example/x.whl"',
        'requirements.txt:5:1 paths are not allowed: "./local"',
    ]
    assert judgement.wanted is None


async def test_what_uv_would_refuse_without_a_place_has_its_own(judge_files: JudgeFiles) -> None:
    """packaging lets pass what uv does not; uv names a file of ours and no line."""
    lines = await judge_files(tree("requirements.txt", requirements_txt="aa\nbb_\naa==99999999999999999999999999\n"))
    assert said(lines) == [
        'requirements.txt:2:1 "bb_" is not a requirement: "bb_" must end with a letter or digit',
        'requirements.txt:3:1 "aa==99999999999999999999999999" is not a requirement: '
        "a number of its version is too large",
    ]
    listed = await judge_files(tree("[AA, Aa_]"))
    assert said(listed) == ['clowdy.yaml:2:20 "Aa_" is not a requirement: "Aa_" must end with a letter or digit']


WRONG = {
    "clowdy.yaml:2:15 gone.txt does not exist": ("gone.txt", "x.txt", ""),
    "clowdy.yaml:2:15 a.txt is a folder, it must be a file": ("a.txt", "a.txt/b", ""),
    "r.txt:2:1 byte 0xff is not UTF-8": ("r.txt", "r.txt", b"a\n\xff"),
    "r.txt:1:1 r.txt has 130,000 requirements, it may have 2,000": ("r.txt", "r.txt", "a\n" * 130_000),
    "r.txt:1:1 it has 262,145 bytes, it may have 262,144 (256 KB)": ("r.txt", "r.txt", " " * 262_145),
    "pyproject.toml:1:9 not valid TOML: Expected ']' at the end of a table declaration": (
        "pyproject.toml",
        "pyproject.toml",
        "[project\n",
    ),
    "pyproject.toml:1:1 pyproject.toml has no [project] table": ("pyproject.toml", "pyproject.toml", "[tool.x]\n"),
    "pyproject.toml:2:1 dependencies is not a list of texts": (
        "pyproject.toml",
        "pyproject.toml",
        "[project]\ndependencies = 3\n",
    ),
    "pyproject.toml:3:1 the dependencies are dynamic: only a build knows them": (
        "pyproject.toml",
        "pyproject.toml",
        "[project]\n\ndynamic = ['dependencies']\n",
    ),
    "a/uv.lock:1:1 this uv.lock has format 7, this server reads 1": ("a/uv.lock", "a/uv.lock", "version = 7"),
    "pylock.dev.toml:1:1 this lock has no lock-version, this server reads 1.0": (
        "pylock.dev.toml",
        "pylock.dev.toml",
        "packages = 1",
    ),
}


@pytest.mark.parametrize("problem", WRONG)
async def test_what_is_wrong_with_a_file(judge_files: JudgeFiles, problem: str) -> None:
    requirements, path, content = WRONG[problem]
    assert said(await judge_files({**tree(requirements), path: content})) == [problem]


async def test_a_symlink_is_no_file_of_requirements(judge_files: JudgeFiles) -> None:
    judgement = await judge_files({**tree("link.txt"), "link.txt": LINK})
    assert said(judgement)[0] == "clowdy.yaml:2:15 link.txt is a symlink, it must be a file"


async def test_files_of_other_tools_are_refused_by_their_name(judge_files: JudgeFiles) -> None:
    for name in ("poetry.lock", "Pipfile", "setup.py"):
        judgement = await judge_files({**tree(name), name: ""})
        assert f'not "{name}"' in said(judgement)[0]


PYPROJECT = """
[project]
name = "shop"
requires-python = ">=3.11"
dependencies = [
    "httpx[http2]>=0.27",
    'numpy',
]
"""


async def test_a_pyproject_alone_is_its_dependencies(judge_files: JudgeFiles) -> None:
    judgement = await judge_files(tree("pyproject.toml", pyproject_toml=PYPROJECT))
    assert judgement.wanted == Wanted(("httpx[http2]>=0.27", "numpy"))


async def test_a_dependency_is_refused_where_it_stands(judge_files: JudgeFiles) -> None:
    text = PYPROJECT.replace("'numpy'", "'numpy @ git+https://x/y'")
    judgement = await judge_files(tree("pyproject.toml", pyproject_toml=text))
    assert said(judgement) == ['pyproject.toml:7:5 URLs are not allowed: "numpy @ git+https://x/y"']


async def test_a_lock_beside_a_pyproject_is_taken(judge_files: JudgeFiles) -> None:
    judgement = await judge_files(
        {
            **tree("api/pyproject.toml"),
            "api/pyproject.toml": (LOCKS / "forks.pyproject.toml").read_bytes(),
            "api/uv.lock": (LOCKS / "forks.uv.lock").read_bytes(),
        }
    )
    assert said(judgement) == []
    assert judgement.wanted is not None
    assert judgement.wanted.lines == ()
    assert "\nhttpx==0.28.1 \\\n    --hash=sha256:" in (judgement.wanted.lock or "")


async def test_the_same_lock_by_its_own_name_is_the_same_wish(judge_files: JudgeFiles) -> None:
    lock = (LOCKS / "forks.uv.lock").read_bytes()
    pyproject = (LOCKS / "forks.pyproject.toml").read_bytes()
    by_project = await judge_files(tree("pyproject.toml", pyproject_toml=pyproject, uv_lock=lock))
    by_lock = await judge_files(tree("uv.lock", uv_lock=lock))
    assert by_project.wanted == by_lock.wanted


async def test_a_lock_that_is_out_of_date_is_refused(judge_files: JudgeFiles) -> None:
    pyproject = (LOCKS / "forks.pyproject.toml").read_text()
    newer = pyproject.replace("httpx[http2]>=0.27", "httpx[http2]>=0.29").replace(
        "dependencies = [", 'dependencies = ["flask",'
    )
    judgement = await judge_files(
        tree("pyproject.toml", pyproject_toml=newer, uv_lock=(LOCKS / "forks.uv.lock").read_text())
    )
    assert [line.partition(" ")[2] for line in said(judgement)] == [
        'uv.lock does not know "flask"',
        'uv.lock has httpx 0.28.1, wanted is "httpx[http2]>=0.29"',
    ]
    assert {problem.file for problem in judgement.problems} == {"pyproject.toml"}


async def test_a_lock_is_compared_by_what_its_conditions_mean(judge_files: JudgeFiles) -> None:
    """uv writes markers, versions, names and extras in its own form, and what never holds as `python_version < '0'`."""
    files = {
        "pyproject_toml": (LOCKS / "forms.pyproject.toml").read_bytes(),
        "uv_lock": (LOCKS / "forms.uv.lock").read_bytes(),
    }
    assert said(await judge_files(tree("pyproject.toml", **files))) == []


LEFT_BEHIND = {
    'pyproject.toml:7:5 uv.lock was made for "httpx[http2]>=0.27", wanted is "httpx[brotli,http2]>=0.27"': (
        "httpx[http2]>=0.27",
        "httpx[brotli,http2]>=0.27",
    ),
    'pyproject.toml:8:5 uv.lock was made for "colorama; sys_platform == \'win32\'", wanted is "colorama"': (
        "colorama; sys_platform == 'win32'",
        "colorama",
    ),
    'pyproject.toml:6:1 uv.lock still has "httpx[http2]>=0.27", which is not a dependency any more': (
        '    "httpx[http2]>=0.27",\n',
        "",
    ),
    'pyproject.toml:7:5 uv.lock was made for "httpx[http2]>=0.27", wanted is "httpx[http2]>=0.28"': (
        "httpx[http2]>=0.27",
        "httpx[http2]>=0.28",
    ),
    "pyproject.toml:14:1 uv.lock has httpx from an index, here it comes from a git repository: https://git.example/x": (
        "[project.optional-dependencies]",
        '[tool.uv.sources]\nHTTPX = { git = "https://git.example/x" }\n[project.optional-dependencies]',
    ),
    "pyproject.toml:13:1 uv.lock has httpx from an index, here it comes from the workspace": (
        "[project.optional-dependencies]",
        "[tool.uv.sources.httpx]\nworkspace = true\n[project.optional-dependencies]",
    ),
    "pyproject.toml:7:5 uv.lock has httpx from another index, here it comes from https://two.example/simple": (
        "[project.optional-dependencies]",
        '[tool.uv.sources]\nhttpx = { index = "two" }\n'
        '[[tool.uv.index]]\nname = "two"\nurl = "https://a:b@two.example/simple/"\n[project.optional-dependencies]',
    ),
    "pyproject.toml:14:1 uv.lock was made with other constraint-dependencies": (
        "[project.optional-dependencies]",
        '[tool.uv]\nconstraint-dependencies = ["anyio<4"]\n[project.optional-dependencies]',
    ),
    "pyproject.toml:14:1 uv.lock was made with other exclude-dependencies": (
        "[project.optional-dependencies]",
        '[tool.uv]\nexclude-dependencies = ["anyio"]\n[project.optional-dependencies]',
    ),
}


@pytest.mark.parametrize("problem", LEFT_BEHIND)
async def test_a_lock_that_its_pyproject_has_left_behind_is_refused(judge_files: JudgeFiles, problem: str) -> None:
    pyproject = "\n" + (LOCKS / "forks.pyproject.toml").read_text()
    old, new = LEFT_BEHIND[problem]
    assert old in pyproject
    judgement = await judge_files(
        tree(
            "pyproject.toml",
            pyproject_toml=pyproject.replace(old, new),
            uv_lock=(LOCKS / "forks.uv.lock").read_text(),
        )
    )
    assert said(judgement) == [problem]
    assert {(each.code, each.hint) for each in judgement.problems} == {("lock", "make the lock again: uv lock")}


async def test_what_is_for_an_extra_a_group_or_another_system_changes_nothing(judge_files: JudgeFiles) -> None:
    pyproject = (LOCKS / "forks.pyproject.toml").read_text() + (
        '[tool.uv.sources]\norjson = { git = "https://git.example/x" }\n'
        'httpx = [{ path = "x", extra = "fast" }, { path = "y", group = "dev" }]\n'
        'numpy = { path = "z", marker = "sys_platform == \'win32\'" }\n'
    )
    alone = await judge_files(tree("pyproject.toml", pyproject_toml=pyproject))
    locked = await judge_files(
        tree("pyproject.toml", pyproject_toml=pyproject, uv_lock=(LOCKS / "forks.uv.lock").read_text())
    )
    assert (said(alone), said(locked)) == ([], [])


ONLY_WITH_A_LOCK = {
    "pyproject.toml:11:1 httpx comes from a git repository: https://git.example/x": (
        '[tool.uv.sources]\nhttpx = { git = "https://git.example/x", tag = "1" }'
    ),
    "pyproject.toml:11:1 numpy comes from a URL: https://files.example/numpy.whl": (
        '[tool.uv.sources]\nNumPy = { url = "https://files.example/numpy.whl" }'
    ),
    "pyproject.toml:11:1 numpy comes from a file or folder: ../numpy": (
        '[tool.uv.sources]\nnumpy = { path = "../numpy", editable = true }'
    ),
    "pyproject.toml:11:1 httpx comes from the workspace": "[tool.uv.sources]\nhttpx = { workspace = true }",
    "pyproject.toml:11:1 httpx comes from the index: ours": '[tool.uv.sources]\nhttpx = [{ index = "ours" }]',
    "pyproject.toml:11:1 constraint-dependencies cannot be kept without a lock": (
        '[tool.uv]\nconstraint-dependencies = ["idna<3"]'
    ),
    "pyproject.toml:11:1 override-dependencies cannot be kept without a lock": (
        '[tool.uv]\noverride-dependencies = ["idna<3"]'
    ),
    "pyproject.toml:11:1 exclude-newer cannot be kept without a lock": '[tool.uv]\nexclude-newer = "2025-01-01"',
}


@pytest.mark.parametrize("problem", ONLY_WITH_A_LOCK)
async def test_what_uv_is_told_besides_needs_a_lock(judge_files: JudgeFiles, problem: str) -> None:
    pyproject = f"{PYPROJECT}\n{ONLY_WITH_A_LOCK[problem]}\n"
    assert said(await judge_files(tree("pyproject.toml", pyproject_toml=pyproject))) == [problem]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("workspace = true", "take it out of the dependencies, and put its code where functions import from"),
        ('path = "packages/httpx"', "take it out of the dependencies, and put its code where functions import from"),
        ('path = "wheels/httpx-1-py3-none-any.whl"', "install it from the index"),
        ('git = "https://git.example/x"', "install it from the index"),
    ],
)
async def test_a_folder_of_code_is_not_to_be_installed(judge_files: JudgeFiles, source: str, hint: str) -> None:
    pyproject = f"{PYPROJECT}\n[tool.uv.sources]\nhttpx = {{ {source} }}\n"
    (problem,) = (await judge_files(tree("pyproject.toml", pyproject_toml=pyproject))).problems
    assert problem.hint.startswith(hint)


async def test_a_project_of_poetry_is_told_the_ways_of_poetry(judge_files: JudgeFiles) -> None:
    pyproject = '[build-system]\nrequires = []\n[tool.poetry]\nname = "shop"\n'
    judgement = await judge_files(tree("pyproject.toml", pyproject_toml=pyproject))
    assert said(judgement) == ["pyproject.toml:3:1 pyproject.toml has no [project] table"]
    assert "poetry export --without-hashes -o requirements.txt" in judgement.problems[0].hint
    below = await judge_files(tree("pyproject.toml", pyproject_toml='[tool.poetry.dependencies]\nhttpx = "*"\n'))
    assert [(each.line, each.hint) for each in below.problems] == [(1, judgement.problems[0].hint)]


async def test_the_project_itself_is_not_asked_of_the_index(judge_files: JudgeFiles) -> None:
    pyproject = PYPROJECT.replace("'numpy'", '"Shop[web]"')
    judgement = await judge_files(tree("pyproject.toml", pyproject_toml=pyproject))
    assert said(judgement) == [
        'pyproject.toml:7:5 "Shop[web]" is the project itself, which cannot be installed from the index'
    ]
    assert judgement.problems[0].hint == "make a lock: uv lock"


async def test_a_package_may_be_called_as_lists_of_files_are(judge_files: JudgeFiles) -> None:
    pyproject = '[project]\ndependencies = ["wheels"]\n[tool.uv.sources]\nwheels = { git = "https://git.example/x" }\n'
    assert said(await judge_files(tree("pyproject.toml", pyproject_toml=pyproject))) == [
        "pyproject.toml:4:1 wheels comes from a git repository: https://git.example/x"
    ]


async def test_conditions_made_to_be_slow_are_compared_soon(judge_files: JudgeFiles) -> None:
    condition = " or ".join(f"python_full_version != '3.{number}.1'" for number in range(10, 35))
    lines = ",".join(f"\"a{number}; os_name != '{number}' or {condition}\"" for number in range(45))
    listed = "".join(
        f'{{ name = "b{number}", marker = "os_name != \'{number}\' or {condition}" }},' for number in range(20)
    )
    pyproject = f'[project]\nname = "shop"\ndependencies = [{lines}]\n'
    lock = (
        'version = 1\n[[package]]\nname = "shop"\nsource = { virtual = "." }\n[package.metadata]\nrequires-dist = ['
        f"{listed}]\n"
    )
    began = time.monotonic()
    judgement = await judge_files(tree("pyproject.toml", pyproject_toml=pyproject, uv_lock=lock))
    assert time.monotonic() - began < 5
    assert len(judgement.problems) == 51


async def test_a_python_that_does_not_fit_is_said_where_it_is_asked_for(judge_files: JudgeFiles) -> None:
    files = tree("pyproject.toml", pyproject_toml=PYPROJECT)
    assert said(await judge_files(files, settings=Settings(python="3.12.1"))) == []
    assert said(await judge_files(files, settings=Settings(python="3.10.9"))) == [
        "pyproject.toml:4:1 requires-python is >=3.11, functions of this server run with 3.10.9"
    ]


async def test_a_line_of_nothing_but_blanks_takes_no_time(judge_files: JudgeFiles) -> None:
    began = time.monotonic()
    judgement = await judge_files(tree("requirements.txt", requirements_txt="a" + " \t" * 100_000 + "b"))
    assert time.monotonic() - began < 2
    assert len(judgement.problems) == 1


async def test_what_cannot_be_known_without_a_server_is_named(judge_files: JudgeFiles) -> None:
    judgement = await judge_files(tree("[httpx]"), settings=Settings(memory_budget_bytes=1 << 40))
    assert judgement.unchecked == ("that requirements can be had for the server's Python",)
