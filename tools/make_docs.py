"""Writes docs/clowdy-yaml.md from the JSON Schema and the tables of the code; `--check` only compares."""

# ruff: noqa: E501
# The prose below has a sentence a line, as it stands in the page.

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from clowdy.schema import environment, unavailable
from clowdy.schema.shape import load_schema

TARGET = Path(__file__).resolve().parent.parent / "docs" / "clowdy-yaml.md"

CODES = {
    "anchor": "an anchor (`&name`) or alias (`*name`)",
    "bad-name": "a function name with characters that it may not have",
    "bad-value": "a value of the right type that is out of range, or not one of those allowed",
    "check-failed": "a check that the new version does not pass",
    "check-request": "a check's `request` that is not METHOD PATH",
    "check-route": "a check's `request` that no route takes",
    "code-size": "a function's code above 50 MB or 10,000 files",
    "documents": "a second YAML document in the file",
    "duplicate-key": "a key that stands twice in one mapping",
    "empty": "nothing in the file",
    "encoding": "not UTF-8, or a control character",
    "env-name": "a name that no environment variable can have, or a reserved one",
    "env-size": "a value above 4 KB, or more than 64 KB in all",
    "env-value": "a value that no environment variable can have",
    "file-size": "a `clowdy.yaml` or file of requirements above 256 KB, a handler's file above 1 MB, or a lock above 5 MB",
    "handler": "a `handler` that is not FILE:ATTRIBUTE, cannot be imported by that path, or names what is not there",
    "ignore": "a `.clowdyignore` that cannot be taken",
    "lock": "a lock of the repository that cannot be taken: it is out of date, lacks hashes, or names what no index has",
    "manifest": "no `clowdy.yaml` at the top, or one that is not an ordinary file",
    "memory": "a `memory` above what all functions of the server may have together",
    "min-warm": "warm instances that do not fit into the server's memory",
    "network": "`network: true` on a server that cannot keep functions from what they must not reach",
    "missing-key": "a key that must be there",
    "name-mismatch": "a `name` that is another project's",
    "network-database": "`network: database` without `database`",
    "not-available": "something that this version cannot do",
    "not-parallel": "`parallel` above 1 for what takes one call at a time",
    "not-tried": "functions whose trial start the others left no time for",
    "push": "more than a push or a tree may have, or a tree that no machine could lay out",
    "requirements": "a requirement that is more than name, extras, versions and marker, one that only a lock can keep, or a file of them that is not there",
    "route-duplicate": "a route that matches the same requests as an earlier one",
    "route-function": "a route to a function that is not in the file",
    "route-method": "a method that a route cannot have",
    "route-path": "a path that a route cannot have",
    "schedule": "a cron expression that is wrong or never fires",
    "secret-missing": "a secret that is declared and has no value",
    "source": "a `source` that leads out of the repository, or is no folder of it",
    "start-failed": "a function that does not start",
    "submodule": "a submodule inside a `source`",
    "symlink": "a symlink inside a `source`",
    "syntax": "a handler's file that is not Python",
    "tag": "a YAML tag (`!name`)",
    "toml": "a pyproject.toml or lock that is not valid TOML",
    "too-deep": "nesting more than 64 deep",
    "too-large": "too many entries, or more than 20,000 keys and values in all",
    "unknown-key": "a key that is not known there",
    "wrong-type": "a value of the wrong type",
    "yaml": "not valid YAML",
}

INTRODUCTION = """\
# clowdy.yaml

<!-- Written by tools/make_docs.py from schema/clowdy.schema.json: change that, then run the tool. -->

The file `clowdy.yaml` at the top of a repository says what is deployed.
The smallest one is

```yaml
functions:
  hello: {}
```

which deploys `handler` of `functions/hello.py`. A whole one:
"""

EDITORS = """\
Editors that know the YAML language server complete and check the file when its first line is
`# yaml-language-server: $schema=http://127.0.0.1:8000/schema/clowdy.schema.json`, with your server's address; `clowdy init` writes it.
`clowdy validate` prints what a push would say.
"""

RULES = """\
## How the file is read

- UTF-8, at most 256 KB, nested at most 64 deep, at most 20,000 keys and values; a byte order mark is skipped.
- Every problem is reported at once, as `FILE:LINE:COLUMN: error[CODE] message`.
- Unknown keys, keys that stand twice, anchors, aliases, tags and a second document are refused.
- Only `true` and `false` are booleans: `yes`, `no`, `on` and `off` are text, as are dates and `1:30`.
- A key without a value is refused: leave it out, or write `{}` for a function with every default.

## Routes

A route is `METHOD PATH: FUNCTION`, or `METHOD PATH: {function: NAME, auth: none}`.

- Methods: GET, POST, PUT, PATCH, DELETE, and ANY for all. HEAD is served by GET, OPTIONS by the gateway.
- A path begins with `/`. A segment `:name` stands for any one segment, a last `*name` for all the rest, nothing included. Names have letters, digits and `_`, do not begin with a digit, and come once in a path.
- A path has no `//`, `.`, `..`, `?`, `#`, no control characters and no percent escapes: requests are compared after decoding.
- `GET /a` and `GET /a/` are one route, and so are `GET /users/:id` and `GET /users/:name`: the second of them is refused.
- A literal segment wins over `:name`, which wins over `*name`, whatever the order in the file; the method wins over ANY.

## Handlers

`handler: api/users.py:get` is the attribute `get` of the file `api/users.py`, looked for in the first `source` and imported as the module `api.users`.
Without `handler` it is `functions/NAME.py:handler`, NAME being the function's name as it is written: `get-user` is looked for in `functions/get-user.py`.
Since dots separate modules, no folder or file on the way may have one in its name.

## Environment

A function gets the project's `env` with its own over it, and nothing else but what Clowdy sets; `HOME`, `LANG` and `TZ` are Clowdy's only where `env` does not have them.
A name has letters, digits and `_`, and does not begin with a digit. A value has at most 4 KB; names and values of a function have at most 64 KB in all.
Bare numbers and booleans are taken as they are written: `VERSION: 1.10` is the text `1.10`.
`NAME: {secret: true}` declares a value that is set by `clowdy secret set NAME` and never stands in Git.

These names are reserved and refused, because Clowdy sets them or because they change how the function is started:
"""


def type_of(schema: Mapping[str, Any]) -> str:
    """`number or text`, `one of …`: what the schema takes, in words."""
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in schema["enum"])
    boolean = "`true`" if schema.get("not") == {"const": False} else "true or false"
    words = {"string": "text", "object": "mapping", "array": "list", "integer": "whole number", "boolean": boolean}
    types = schema.get("type", "any value")
    return " or ".join(words.get(name, name) for name in ([types] if isinstance(types, str) else types))


def flow(value: Any) -> str:
    """`value` as YAML on one line."""
    if isinstance(value, str):
        return yaml.safe_dump({"": value}, width=10_000, allow_unicode=True).partition(": ")[2].strip()
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def resolved(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with what it refers to below its own words."""
    reference = schema.get("$ref")
    if reference is None:
        return dict(schema)
    target = load_schema()["$defs"][reference.removeprefix("#/$defs/")]
    return {**target, **schema}


def table(schema: Mapping[str, Any]) -> Iterator[str]:
    """The keys of one mapping, a row each."""
    yield "| key | takes | default | what it is | examples |"
    yield "| --- | --- | --- | --- | --- |"
    for name, described in schema["properties"].items():
        key = resolved(described)
        if name in schema.get("required", ()):
            default = "required"
        else:
            default = "–" if key["default"] is None else f"`{flow(key['default'])}`"
        examples = "<br>".join(f"`{flow(example)}`" for example in key["examples"])
        row = f"| `{name}` | {type_of(key)} | {default} | {key['description']} | {examples} |"
        yield row.replace("||", "|")


def page() -> str:
    """The whole of docs/clowdy-yaml.md."""
    schema = load_schema()
    definitions = schema["$defs"]
    whole = yaml.safe_dump(schema["examples"][0], sort_keys=False, width=110, allow_unicode=True)
    lines = [INTRODUCTION, "```yaml", whole.rstrip(), "```", "", EDITORS]
    for title, part in (
        ("Top of the file", schema),
        ("A function: `functions.NAME`", definitions["function"]),
        ('A route that is a mapping: `routes."METHOD PATH"`', definitions["route"]),
        ("A value of `env` that is a mapping", definitions["env_value"]),
        ("`cors`", schema["properties"]["cors"]),
        ("A check: an item of `checks`", definitions["check"]),
    ):
        lines += [f"## {title}", "", *table(part), ""]
    lines += [RULES, "| name | why |", "| --- | --- |"]
    lines += [f"| `{prefix}*` | {why} |" for prefix, why in environment.RESERVED_PREFIXES.items()]
    lines += [f"| `{name}` | {why} |" for name, why in environment.RESERVED_NAMES.items()]
    lines += [
        "",
        "## Not available in this version",
        "",
        "These are refused with the words `not available in this version`, never ignored.",
        "",
        f"- Names kept for later at the top: {names(unavailable.KEPT_AT_THE_TOP)}.",
        f"- Names kept for later in a function: {names(unavailable.KEPT_IN_A_FUNCTION)}, and a list for `network`.",
        f"- Names kept for later in a route: {names(unavailable.KEPT_IN_A_ROUTE)}.",
        *(f"- {row.words}" for row in unavailable.NOT_BUILT),
        "",
        "## Codes",
        "",
        "| code | what was found |",
        "| --- | --- |",
        *(f"| `{code}` | {found} |" for code, found in sorted(CODES.items())),
    ]
    return "\n".join(lines) + "\n"


def names(values: tuple[str, ...]) -> str:
    """The names as code, with commas."""
    return ", ".join(f"`{value}`" for value in values)


def main() -> int:
    """Writes the page, or says that it is not what the tool would write."""
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(page(), encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == page():
        return 0
    print(f"{TARGET.name} is not what the schema says: run tools/make_docs.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
