"""Run by alembic for each upgrade of the journal: on the connection that the archive hands over."""

from __future__ import annotations

from alembic import context

from clowdy.server.serve.archive_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
