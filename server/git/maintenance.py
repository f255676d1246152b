"""Keeping repositories small and clean. Nothing here may run while a push of the same project does."""

from __future__ import annotations

import shutil
from pathlib import Path

from clowdy.server.git.environment import clean_environment
from clowdy.server.git.process import ProcessLimits, dying_with_us, run
from clowdy.server.git.repos import Repository

PRUNE = "14.days.ago"
# Past these a repository reads slowly, and the night is too far away.
MANY_LOOSE = 4000
MANY_PACKS = 30
_SAMPLED = "17"


def wants_maintenance(repository: Repository) -> bool:
    """Whether the project should be maintained as soon as no push of it runs. Looks at names only."""
    objects = repository.path / "objects"
    packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
    # Ids are evenly spread, so one of the 256 folders tells of all.
    sample = objects / _SAMPLED
    loose = sum(1 for _ in sample.iterdir()) * 256 if sample.is_dir() else 0
    return packs > MANY_PACKS or loose > MANY_LOOSE


async def maintain(repository: Repository) -> None:
    """Packs what is loose, and deletes what nothing has named for 14 days.

    The caller holds the project's turn: git cannot know of objects that a running push has brought and not yet named,
    nor of releases whose tag is written and not yet moved to.
    """
    settings = repository.settings
    environment = clean_environment(
        {
            "pack.threads": "1",
            "gc.pruneExpire": PRUNE,
            "gc.cruftPacks": "false",
            "gc.packRefs": "true",
            "repack.writeBitmaps": "true",
        },
        {"GIT_DIR": str(repository.path)},
    )
    limits = ProcessLimits(memory_bytes=settings.memory_bytes)
    command = [settings.git, "gc", "--quiet", f"--prune={PRUNE}"]
    await run(dying_with_us(settings.setpriv, command), environment, limits=limits)
    repository.close()


def sweep(path: Path) -> list[str]:
    """Deletes what processes that were killed left in a repository and says what. Only before anything runs there."""
    found: list[Path] = [
        *path.glob("objects/tmp_objdir-*"),
        *path.glob("objects/incoming-*"),
        *path.glob("objects/pack/tmp_*"),
        *path.glob("objects/pack/.tmp-*"),
        *path.glob("objects/??/tmp_obj_*"),
        *path.glob("*.lock"),
        *path.glob("objects/**/*.lock"),
        *path.glob("refs/**/*.lock"),
        *path.glob("gc.pid"),
    ]
    for entry in found:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    return sorted(entry.relative_to(path).as_posix() for entry in found)
