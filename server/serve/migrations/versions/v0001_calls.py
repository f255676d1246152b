"""Calls, their totals, and how far the spool was read.

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
        "calls",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("function_id", sa.Text, nullable=False),
        sa.Column("function", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("http_status", sa.Integer),
        sa.Column("code", sa.Text),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("cold_start", sa.Integer, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("method", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("truncated", sa.Integer, nullable=False),
        sa.Column("log", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_calls_project_id", "calls", ["project_id"])
    op.create_index("ix_calls_function_id", "calls", ["function_id"])
    op.create_table(
        "totals",
        sa.Column("function_id", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("successes", sa.Integer, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
    )
    op.create_index("ix_totals_project_id", "totals", ["project_id"])
    op.create_table(
        "state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("spool_file", sa.Integer, nullable=False),
        sa.Column("spool_offset", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("lost", sa.Integer, nullable=False),
    )
