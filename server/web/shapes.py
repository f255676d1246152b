"""What the API shows of each noun: values in, plain objects out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clowdy.schema.manifest import FunctionSpec, Network, RouteSpec
from clowdy.server.config import Config
from clowdy.server.people.secrets import SecretInfo
from clowdy.server.store.functions import Function
from clowdy.server.store.history import Entry
from clowdy.server.store.projects import Project
from clowdy.server.store.pushes import Push
from clowdy.server.store.releases import Release, State
from clowdy.server.store.tokens import Token
from clowdy.server.web.answers import moment

if TYPE_CHECKING:
    from clowdy.server.releases.serving import Serving

HEADS = "refs/heads/"


def project(
    config: Config, found: Project, serving: Serving | None, entry: Entry | None, requirements: str
) -> dict[str, Any]:
    """A project; `name` is what people call it, `slug` what URLs do."""
    manifest = serving.manifest if serving else None
    updated_at = max(found.created_at, entry.at if entry else 0.0)
    return {
        "id": found.id,
        "name": found.display_name,
        "slug": found.name,
        "display_name": found.display_name,
        "description": found.description or (manifest.description if manifest else ""),
        "status": "deleted" if found.deleted_at else "active",
        "owner": found.owner,
        "aliases": list(found.aliases),
        "deploy_branch": (found.deploy_branch or "").removeprefix(HEADS) or None,
        "function_count": len(manifest.functions) if manifest else 0,
        "requirements_txt": requirements,
        "has_database": False,
        "live": live(serving, entry),
        "url": f"{config.project_url(found.name)}/",
        "git_url": f"{config.public_url}/git/{found.name}.git",
        "created_at": moment(found.created_at),
        "updated_at": moment(updated_at),
        "deleted_at": moment(found.deleted_at),
    }


def requirements(serving: Serving | None, text: str) -> dict[str, Any]:
    """What the live release has installed; the hash is its lock's digest."""
    lock = serving.record.lock if serving else None
    return {"requirements_txt": text, "requirements_hash": lock or "", "has_custom_image": lock is not None}


def live(serving: Serving | None, entry: Entry | None) -> dict[str, Any] | None:
    """What serves a project, or None."""
    if serving is None:
        return None
    record = serving.record
    return {
        "release": serving.number,
        "tag": record.tag,
        "commit": record.commit,
        "since": moment(entry.at if entry else float(record.when)),
        "who": entry.who if entry else record.who,
        "how": entry.how if entry else record.how,
    }


def function(config: Config, serving: Serving, spec: FunctionSpec, found: Function | None, code: str) -> dict[str, Any]:
    """A function of the live release."""
    version = serving.record.functions[spec.name]
    problem = serving.problems.get(spec.name, "")
    created_at = found.created_at if found else float(serving.record.when)
    return {
        "id": version.function_id,
        "name": spec.name,
        "description": spec.description,
        "code": code,
        "runtime": "python",
        "status": "unavailable" if problem else "active",
        "problem": problem,
        "network_enabled": spec.network is Network.ON,
        "created_at": moment(created_at),
        "updated_at": moment(float(serving.record.when)),
        "project_id": serving.project.id,
        "project": serving.project.name,
        "version": version.number,
        "pinned": version.pinned,
        "release": serving.number,
        "handler": f"{spec.path}:{spec.attribute}",
        "type": spec.type.value,
        "network": {Network.OFF: False, Network.ON: True}.get(spec.network, spec.network.value),
        "timeout": spec.timeout_seconds,
        "memory": spec.memory_bytes,
        "cpu": spec.cpu,
        "concurrency": spec.concurrency,
        "parallel": spec.parallel,
        "min_warm": spec.min_warm,
        "public": spec.public,
        "invoke_url": f"{config.public_url}/api/invoke/{version.function_id}",
        "routes": [str(item) for item in serving.manifest.routes if item.function == spec.name],
    }


def route(config: Config, serving: Serving, spec: RouteSpec) -> dict[str, Any]:
    """A route of the live release; its id stays as long as the route does."""
    version = serving.record.functions.get(spec.function)
    key = f"{serving.project.id}\0{spec.method}\0{spec.path}"
    return {
        "id": hashlib.sha256(key.encode()).hexdigest()[:12],
        "project_id": serving.project.id,
        "function_id": version.function_id if version else None,
        "function": spec.function,
        "method": spec.method,
        "path": spec.path,
        "description": "",
        "auth": spec.auth.value,
        "url": config.project_url(serving.project.name) + spec.path,
        "created_at": moment(float(serving.record.when)),
        "updated_at": moment(float(serving.record.when)),
    }


def release(found: Release, subject: str, serving: Serving | None) -> dict[str, Any]:
    """A release in a list."""
    record = found.record
    is_live = serving is not None and serving.number == found.number
    return {
        "release": found.number,
        "tag": record.tag,
        "commit": found.commit,
        "subject": subject,
        "state": "live" if is_live else "ready" if found.state is State.DONE else found.state.value,
        "who": record.who,
        "how": record.how,
        "created_at": moment(found.created_at),
        "duration_ms": round(found.duration_ms, 1),
        "functions": [
            {
                "id": version.function_id,
                "name": version.name,
                "version": version.number,
                "pinned": version.pinned,
            }
            for version in record.functions.values()
        ],
        "previous": record.previous,
    }


def plan(text: str) -> object:
    """The plan that a release keeps, as it was made."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def entry(found: Entry) -> dict[str, Any]:
    """One time that something went live."""
    return {
        "sequence": found.sequence,
        "release": found.release,
        "tag": f"deploy/{found.release}",
        "before": found.before,
        "who": found.who,
        "how": found.how,
        "why": found.why,
        "at": moment(found.at),
    }


def push(found: Push, *, output: bool = False) -> dict[str, Any]:
    """A push; its output only where one is asked for."""
    ended_at = found.ended_at
    shown = {
        "id": found.id,
        "project_id": found.project_id,
        "project": found.project,
        "who": found.who,
        "refs": [{"old": old, "new": new, "ref": name} for old, new, name in found.refs],
        "options": list(found.options),
        "state": found.state.value,
        "reason": found.reason,
        "release": found.release,
        "started_at": moment(found.started_at),
        "ended_at": moment(ended_at),
        "duration_ms": None if ended_at is None else round((ended_at - found.started_at) * 1000, 1),
    }
    return shown | {"output": found.output} if output else shown


def secrets(found: Sequence[SecretInfo], declared: frozenset[str]) -> list[dict[str, Any]]:
    """The secrets that are set or declared, by name."""
    kept: Mapping[str, SecretInfo] = {info.name: info for info in found}
    shown = []
    for name in sorted(kept.keys() | declared):
        info = kept.get(name)
        shown.append(
            {
                "name": name,
                "set": info is not None,
                "declared": name in declared,
                "updated_at": moment(info.updated_at) if info else None,
                "updated_by": info.updated_by if info else None,
            }
        )
    return shown


def token(found: Token, project_name: str | None) -> dict[str, Any]:
    """A token, without anything that could be used as one."""
    return {
        "id": found.id,
        "name": found.name,
        "scope": found.scope,
        "project": project_name,
        "project_id": found.project_id,
        "created_at": moment(found.created_at),
        "last_used_at": moment(found.last_used_at),
    }
