"""Where items are kept: SQLite, in the instance's own /tmp. README.md says for how long."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from .models import Item, NewItem

PATH = os.environ.get("SHOP_DATABASE", "/tmp/shop.db")
LARGEST_ID = 2**63 - 1
"""SQLite's own limit."""


@contextmanager
def connection() -> Iterator[sqlite3.Connection]:
    """A connection whose changes are kept if nothing goes wrong; each request opens its own."""
    with closing(sqlite3.connect(PATH, timeout=5)) as opened, opened:
        opened.row_factory = sqlite3.Row
        yield opened


def prepare() -> None:
    """Makes the table, once when the application starts."""
    with connection() as database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " name TEXT NOT NULL, price_cents INTEGER NOT NULL, tags TEXT NOT NULL)"
        )


def every(limit: int, after: int) -> list[Item]:
    """At most `limit` items with an id above `after`, in the order of their ids."""
    with connection() as database:
        rows = database.execute("SELECT * FROM items WHERE id > ? ORDER BY id LIMIT ?", (after, limit)).fetchall()
    return [_item(row) for row in rows]


def find(item_id: int) -> Item | None:
    """One item."""
    with connection() as database:
        row = database.execute("SELECT * FROM items WHERE id = ?", (item_id,)).fetchone()
    return _item(row) if row else None


def add(item: NewItem) -> Item:
    """Keeps a new item."""
    with connection() as database:
        values = (item.name, item.price_cents, json.dumps(item.tags))
        made = database.execute("INSERT INTO items (name, price_cents, tags) VALUES (?, ?, ?)", values)
    return Item(id=made.lastrowid or 0, **item.model_dump())


def change(item_id: int, item: NewItem) -> Item | None:
    """Replaces an item; None when there is none of that id."""
    with connection() as database:
        values = (item.name, item.price_cents, json.dumps(item.tags), item_id)
        done = database.execute("UPDATE items SET name = ?, price_cents = ?, tags = ? WHERE id = ?", values)
    return Item(id=item_id, **item.model_dump()) if done.rowcount else None


def remove(item_id: int) -> bool:
    """Forgets an item; whether there was one."""
    with connection() as database:
        return database.execute("DELETE FROM items WHERE id = ?", (item_id,)).rowcount > 0


def _item(row: sqlite3.Row) -> Item:
    return Item(id=row["id"], name=row["name"], price_cents=row["price_cents"], tags=json.loads(row["tags"]))
