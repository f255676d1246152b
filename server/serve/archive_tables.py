"""The tables of the journal's database."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

calls = Table(
    "calls",
    metadata,
    # Grows with time (see call_ids), so that every index is written at its end and read in the order of time.
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("project_id", Text, nullable=False, index=True),
    Column("function_id", Text, nullable=False, index=True),
    Column("function", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("release", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("http_status", Integer),
    Column("code", Text),
    Column("duration_ms", Float, nullable=False),
    Column("cold_start", Integer, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("method", Text),
    Column("path", Text),
    Column("truncated", Integer, nullable=False),
    # Last, because long ones lie on pages of their own, which is where a row's later columns would be too.
    Column("log", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("head", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""One row a call. `head` and `body` are what the event is made from when somebody looks."""

totals = Table(
    "totals",
    metadata,
    Column("function_id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("calls", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("duration_ms", Float, nullable=False),
)
"""All calls ever of a function, kept when the calls themselves are trimmed."""

state = Table(
    "state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("spool_file", Integer, nullable=False),
    Column("spool_offset", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
)
"""One row: up to where the spool was read, how many calls there are, how many were lost."""
