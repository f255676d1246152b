"""Run by alembic for each upgrade: on the connection that the store hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from clowdy.server.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
