"""The first tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("deploy_branch", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("deleted_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_index("uq_projects_name", "projects", ["name"], unique=True, sqlite_where=sa.text("deleted_at IS NULL"))
    op.create_table(
        "aliases",
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_aliases"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_aliases_project_id", ondelete="CASCADE"),
    )
    op.create_index("ix_aliases_name", "aliases", ["name"])
    op.create_table(
        "functions",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_functions"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_functions_project_id", ondelete="CASCADE"),
        sa.UniqueConstraint("project_id", "name", name="uq_functions_project_id_name"),
    )
    op.create_table(
        "versions",
        sa.Column("function_id", sa.String(12), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("commit", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("function_id", "number", name="pk_versions"),
        sa.ForeignKeyConstraint(["function_id"], ["functions.id"], name="fk_versions_function_id", ondelete="CASCADE"),
        sa.UniqueConstraint("function_id", "digest", name="uq_versions_function_id_digest"),
    )
    op.create_table(
        "releases",
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tag", sa.String(40)),
        sa.Column("commit", sa.String(40), nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_releases"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_releases_project_id", ondelete="CASCADE"),
    )
    op.create_index("ix_releases_project_id_commit", "releases", ["project_id", "commit"])
    op.create_table(
        "history",
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("before", sa.Integer),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("how", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "sequence", name="pk_history"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_history_project_id", ondelete="CASCADE"),
    )
    op.create_table(
        "pushes",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("refs", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("release", sa.Integer),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("output", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pushes"),
    )
    op.create_index("ix_pushes_project_id_started_at", "pushes", ["project_id", "started_at"])
    op.create_index("ix_pushes_state", "pushes", ["state"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("project_id", sa.String(12)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("last_used_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_table(
        "secrets",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_secrets"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("project_id", sa.String(64)),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
