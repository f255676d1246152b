"""Brings the tables of a database to those of this version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clowdy.server.errors import StartError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, folder: Path = _FOLDER) -> None:
    """Runs the migrations in `folder` that `connection`'s database has not seen, in its transaction."""
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _configuration(connection, folder)
    scripts = ScriptDirectory.from_config(config)
    found = revision(connection)
    if found == scripts.get_current_head():
        return
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StartError(
            f"the database was written by a newer version of clowdy (revision {found}): "
            "install that version again, or restore a backup"
        )
    command.upgrade(config, "head")


def revision(connection: Connection) -> str | None:
    """The migration that `connection`'s database is at; None for an empty one."""
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str | None:
    """The migration that this version of clowdy is at."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_configuration(None)).get_current_head()


def _configuration(connection: Connection | None, folder: Path = _FOLDER) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # A percent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
