"""History says how long a switch took and what it changed; found by release.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("history", sa.Column("duration_ms", sa.Float, nullable=False, server_default="0"))
    op.add_column("history", sa.Column("changes", sa.Text, nullable=False, server_default=""))
    op.create_index("ix_history_project_id_release", "history", ["project_id", "release"])
