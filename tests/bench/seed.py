"""Projects by the thousand: copies of one that was pushed, written into a data directory while no server runs.

What differs between projects (their record, the ids of their functions, the chain of what was live) is written as
the server would; the database is then made from git by `clowdy reconcile`.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import replace
from pathlib import Path

from clowdy.schema.release import ReleaseRecord
from clowdy.server.git.repos import Repositories, Repository
from clowdy.server.git.settings import GitSettings, find_binaries
from clowdy.server.releases import projects
from clowdy.server.releases.activate import release_message
from clowdy.server.releases.commands import LIVE
from clowdy.server.releases.history import REF as HISTORY
from clowdy.server.releases.history import read_entry, write_entry
from clowdy.server.releases.settle import SERVES
from clowdy.server.store.projects import Project
from tests.harness import CLOWDY, MANIFEST

MAIN = "refs/heads/main"
TAG = "refs/tags/deploy/1"


def copies(data: Path, count: int) -> list[str]:
    """Adds so many copies of the only project that there is; the names of all."""
    git, setpriv = find_binaries()
    repositories = Repositories(data / "repos", GitSettings(git, setpriv, data / "hooks"))
    [first] = repositories.every()
    template = repositories.open(first)
    project = projects.read_record(template, MAIN)
    names = [project.name]
    for number in range(count):
        copy = replace(project, id=secrets.token_hex(6), name=f"{project.name}-{number}", display_name="")
        repository = repositories.create(copy.id)
        _share_objects(template.path, repository.path)
        _write_refs(repository, template, copy.id)
        _write_project(repository, template, copy)
        names.append(copy.name)
        repository.close()
    repositories.close()
    subprocess.run([str(CLOWDY), "reconcile", "--data-dir", str(data)], check=True, stdout=subprocess.DEVNULL)
    return names


def _share_objects(template: Path, copy: Path) -> None:
    for file in (template / "objects").glob("??/*"):
        place = copy / "objects" / file.parent.name / file.name
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            place.hardlink_to(file)


def _write_refs(repository: Repository, template: Repository, project_id: str) -> None:
    tag = template.tag(_ref(template, TAG))
    record = ReleaseRecord.from_json(tag.message.rstrip("\n").rsplit("\n", 1)[-1])
    functions = {name: replace(each, function_id=secrets.token_hex(6)) for name, each in record.functions.items()}
    own = replace(record, functions=functions)
    subject = template.commit(record.commit).subject
    oid = repository.write_tag(own.tag, own.commit, release_message(own, subject), own.who, float(own.when))
    entry, _ = read_entry(template, project_id, _ref(template, HISTORY))
    refs = {
        MAIN: own.commit,
        LIVE: own.commit,
        TAG: oid,
        SERVES: oid,
        HISTORY: write_entry(repository, entry, oid, None),
    }
    for name, value in refs.items():
        place = repository.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{value}\n")


def _write_project(repository: Repository, template: Repository, project: Project) -> None:
    place = repository.path / projects.RECORD
    place.parent.mkdir(parents=True, exist_ok=True)
    content = json.loads(template.read_blob(_ref(template, projects.RECORD)))
    content |= {"id": project.id, "name": project.name}
    place.write_text(f"{repository.write_blob(json.dumps(content).encode())}\n")


def _ref(repository: Repository, name: str) -> str:
    oid = repository.ref(name)
    if oid is None:
        raise RuntimeError(f"{repository.path} has no {name}")
    return oid


def manifest(routes: int) -> str:
    """A clowdy.yaml of one function behind so many routes."""
    more = "".join(f"  GET /things{number}/:id: hello\n" for number in range(1, routes))
    return MANIFEST + more
