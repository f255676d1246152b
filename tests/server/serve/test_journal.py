"""The journal: every call that was answered is found, whoever asks, whenever, and whatever happened in between."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from clowdy.server.errors import Invalid, StartError
from clowdy.server.serve import archive, batches
from clowdy.server.serve import journal as module
from clowdy.server.serve.archive import Archive, Totals
from clowdy.server.serve.archive_tables import metadata
from clowdy.server.serve.call_ids import CallIds
from clowdy.server.serve.journal import Journal
from clowdy.server.serve.records import Record
from clowdy.server.serve.tail import WAITING, Missed
from tests.server.serve.calls import HELLO, OTHER, SHOP, USERS, call, direct, new_id

PROJECT = SHOP.project_id


@contextlib.asynccontextmanager
async def opened(folder: Path, **settings: object) -> AsyncIterator[Journal]:
    journal = await Journal.open(folder, **settings)  # type: ignore[arg-type]
    try:
        yield journal
    finally:
        await journal.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with opened(tmp_path) as journal:
        yield journal


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


def add(journal: Journal, number: int, **changes: object) -> list[str]:
    """Appends calls; their ids, the newest first."""
    made = [call(**changes) for _ in range(number)]
    for one in made:
        journal.append(one)
    return [one.id for one in reversed(made)]


# Finding.


async def test_a_call_is_found_as_soon_as_it_was_answered(journal: Journal) -> None:
    (made,) = add(journal, 1, log=b"printed")
    page = await journal.recent(PROJECT)
    found = await journal.get(made)

    assert ids(page.records) == [made]
    assert found is not None
    assert found.log == "printed"
    assert (await journal.totals([PROJECT]))[HELLO.function_id].calls == 1


async def test_pages_follow_each_other_from_the_newest_to_the_oldest(journal: Journal) -> None:
    made = add(journal, 25)
    add(journal, 5, project=OTHER)
    found: list[str] = []
    before = None
    sizes = []
    while True:
        page = await journal.recent(PROJECT, limit=10, before=before)
        found += ids(page.records)
        sizes.append(len(page.records))
        before = page.before
        if before is None:
            break

    assert found == made
    assert sizes == [10, 10, 5]


async def test_the_last_page_says_that_it_is(journal: Journal) -> None:
    add(journal, 10)

    assert (await journal.recent(PROJECT, limit=10)).before is None


async def test_a_function_has_its_calls_and_no_others(journal: Journal) -> None:
    hello = add(journal, 3)
    users = add(journal, 2, target=USERS)

    assert ids((await journal.recent(PROJECT, HELLO.function_id)).records) == hello
    assert ids((await journal.recent(PROJECT, USERS.function_id)).records) == users


async def test_a_project_never_sees_the_calls_of_another_also_not_by_function(journal: Journal) -> None:
    add(journal, 3)

    assert (await journal.recent(OTHER.project_id)).records == []
    assert (await journal.recent(OTHER.project_id, HELLO.function_id)).records == []


async def test_calls_since_a_time(journal: Journal) -> None:
    add(journal, 1, id=CallIds(lambda: 1000.0)())
    new = CallIds(lambda: 2000.0)()
    add(journal, 1, id=new)

    assert ids((await journal.recent(PROJECT, since=1500.0)).records) == [new]


async def test_an_id_that_is_none_is_refused_or_not_found(journal: Journal) -> None:
    with pytest.raises(Invalid):
        await journal.recent(PROJECT, before="'; DROP TABLE calls")
    assert await journal.get("nonsense") is None
    assert await journal.get("0123456789ab") is None


async def test_limits_are_kept_within_reason(journal: Journal) -> None:
    add(journal, 3)

    assert len((await journal.recent(PROJECT, limit=0)).records) == 1
    assert len((await journal.recent(PROJECT, limit=10**9)).records) == 3


@pytest.mark.parametrize(
    "search", ["needle", "NEEDLE", "/needle", "printed needle", "crashed", "users", "answer needle", "body needle"]
)
async def test_a_search_looks_everywhere(journal: Journal, search: str) -> None:
    add(journal, 3)
    (made,) = add(
        journal,
        1,
        target=USERS,
        path="/needle",
        code="crashed",
        log=b"printed needle",
        answer=b"answer needle",
        body=b"body needle",
    )
    add(journal, 3)

    assert ids((await journal.recent(PROJECT, search=search)).records) == [made]


async def test_a_search_finds_a_call_by_its_id(journal: Journal) -> None:
    made = add(journal, 3)

    assert ids((await journal.recent(PROJECT, search=made[1])).records) == [made[1]]


async def test_a_search_takes_its_words_as_they_are(journal: Journal) -> None:
    add(journal, 2, log=b"100 percent")
    (made,) = add(journal, 1, log=b"100%_done\\")

    assert ids((await journal.recent(PROJECT, search="100%_done\\")).records) == [made]
    assert (await journal.recent(PROJECT, search="%" * 100_000)).records == []


async def test_a_search_goes_on_page_by_page(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SCAN_ROWS", 7)
    wanted = []
    for _ in range(20):
        add(journal, 3)
        wanted += add(journal, 1, log=b"needle")
    found: list[str] = []
    before = None
    while True:
        page = await journal.recent(PROJECT, search="needle", limit=3, before=before)
        found += ids(page.records)
        before = page.before
        if before is None:
            break

    assert found == wanted[::-1]


async def test_a_search_that_takes_too_long_says_where_to_go_on(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SCAN_ROWS", 10)
    monkeypatch.setattr(archive, "SEARCH_SECONDS", -1.0)
    (made,) = add(journal, 1, log=b"needle")
    add(journal, 15)
    first = await journal.recent(PROJECT, search="needle")
    second = await journal.recent(PROJECT, search="needle", before=first.before)

    assert (first.records, first.before is None) == ([], False)
    assert ids(second.records) == [made]


async def test_numbers_add_up(journal: Journal) -> None:
    add(journal, 3, duration_ms=10.0)
    add(journal, 1, duration_ms=50.0, status="timeout", code="timeout")
    add(journal, 1, target=USERS, duration_ms=1.0)
    totals = await journal.totals([PROJECT])

    assert totals[HELLO.function_id] == Totals(4, 3, 80.0)
    assert (totals[HELLO.function_id].success_rate, totals[HELLO.function_id].mean_duration_ms) == (75, 20)
    assert sum(totals.values(), Totals()).calls == 5
    assert (Totals().success_rate, Totals().mean_duration_ms) == (0, 0)
    assert await journal.totals([OTHER.project_id]) == {}


# Surviving.


async def test_a_server_that_starts_again_has_every_call(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        made = add(first, 10)
    async with opened(tmp_path) as second:
        made = add(second, 5) + made

        assert ids((await second.recent(PROJECT)).records) == made
        assert second.health.rows == 15


async def test_calls_that_were_only_in_the_spool_are_found_after_a_kill(tmp_path: Path) -> None:
    killed = await Journal.open(tmp_path)
    made = add(killed, 10)
    # Nothing more of the first server runs: as if it were gone.
    assert killed._timer is not None
    killed._timer.cancel()
    async with opened(tmp_path) as second:
        assert ids((await second.recent(PROJECT)).records) == made
    killed._spool.close()
    killed._archive.close()


async def test_a_kill_between_the_spool_and_the_archive_stores_nothing_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        made = add(first, 10)
        await first.flush()
        spool = {path: path.read_bytes() for path in (tmp_path / "spool").iterdir()}
    for path, content in spool.items():
        path.write_bytes(content)
    database = sqlite3.connect(tmp_path / "journal.db")
    database.execute("UPDATE state SET spool_file = 0, spool_offset = 0")
    database.commit()
    database.close()

    async with opened(tmp_path) as second:
        assert ids((await second.recent(PROJECT)).records) == made
        assert (await second.totals([PROJECT]))[HELLO.function_id].calls == 10
        assert second.health.rows == 10


KILLED = """
import asyncio, sys
from pathlib import Path
from clowdy.server.serve.journal import Journal
from tests.server.serve.calls import call

async def main():
    journal = await Journal.open(Path(sys.argv[1]))
    while True:
        for _ in range(50):
            made = call()
            journal.append(made)
            print(made.id, flush=True)
        await asyncio.sleep(0)

asyncio.run(main())
"""


async def test_every_call_that_was_answered_survives_a_kill_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[str] = []
    for lines in (1500, 4000, 9000):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as output:
            answered += [output.readline().strip() for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            answered += output.read().split()[:-1]
        process.wait()

    async with opened(tmp_path) as journal:
        found: set[str] = set()
        before = None
        while True:
            page = await journal.recent(PROJECT, limit=1000, before=before)
            found.update(ids(page.records))
            before = page.before
            if before is None:
                break
        assert set(answered) <= found
        assert journal.health.lost == 0
        assert journal.health.rows == len(found)
        assert (await journal.totals([PROJECT]))[HELLO.function_id].calls == len(found)


async def test_ids_go_on_after_those_of_the_server_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        add(first, 1, id="ffff00000000")
    numbers = CallIds(lambda: 1000.0)
    async with opened(tmp_path, ids=numbers):
        assert numbers() == "ffff00000001"


async def test_a_full_disk_loses_calls_counts_them_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int, parts: object) -> int:
        raise OSError(28, "No space left on device")

    async with opened(tmp_path) as journal:
        with monkeypatch.context() as full:
            full.setattr(module.Spool.append.__globals__["os"], "write", no_space)
            add(journal, 3)
        assert journal.health.lost == 3
        made = add(journal, 2)
        assert ids((await journal.recent(PROJECT)).records) == made
    async with opened(tmp_path) as journal:
        assert journal.health.lost == 3


async def test_no_secret_comes_to_the_spool(tmp_path: Path) -> None:
    def mask(data: bytes) -> bytes:
        return data.replace(b"hunter22", b"********")

    async with opened(tmp_path, mask_of=lambda project_id: mask if project_id == PROJECT else None) as journal:
        add(journal, 1, log=b"hunter22", body=b"hunter22", answer=b"hunter22", path="/hunter22", error="hunter22")
        add(journal, 1, log=b"harmless")
        spooled = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())

        assert b"hunter22" not in spooled
        assert spooled.count(b"********") >= 4
        assert b"harmless" in spooled


async def test_what_cannot_be_read_is_lost_and_holds_up_nothing(tmp_path: Path) -> None:
    def redact(project_id: str, text: str) -> str:
        if "poison" in text:
            raise KeyError(project_id)
        return text

    async with opened(tmp_path, redact=redact) as journal:
        before = add(journal, 2)
        add(journal, 1, log=b"poison")
        after = add(journal, 2)

        assert ids((await journal.recent(PROJECT)).records) == after + before
        assert journal.health.lost == 1


async def test_a_database_that_cannot_be_written_makes_calls_wait_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BUSY_MS", 1)
    async with opened(tmp_path) as journal:
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        made = add(journal, 5)
        journal._lost_now += 1
        assert not await journal.flush()
        assert journal.health.lost == 1
        assert "locked" in (journal.health.error or "")
        assert journal.health.waiting_bytes > 0
        assert (await journal.recent(PROJECT)).records == []

        other.execute("ROLLBACK")
        other.close()
        assert ids((await journal.recent(PROJECT)).records) == made
        assert journal.health.error is None
        assert journal.health.waiting_bytes == 0


async def test_a_damaged_database_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is no database " * 1000)
    async with opened(tmp_path) as journal:
        made = add(journal, 1)
        assert ids((await journal.recent(PROJECT)).records) == made

    assert len(list(tmp_path.glob("journal.db.damaged-*"))) == 1
    assert "put aside" in caplog.text


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    database = sqlite3.connect(tmp_path / "journal.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()

    with pytest.raises(StartError, match="newer version"):
        await Journal.open(tmp_path)
    assert list(tmp_path.glob("journal.db.damaged-*")) == []


async def test_calls_that_end_after_the_close_harm_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        pass
    add(journal, 3)

    assert journal.health.lost == 3
    assert journal._timer is None


async def test_the_spool_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROTATE_BYTES", 10_000)
    async with opened(tmp_path) as journal:
        for _ in range(10):
            add(journal, 100)
            await journal.flush()
        add(journal, 1)
        await journal.flush()

        assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) < 50_000
        assert len(list((tmp_path / "spool").iterdir())) <= 2
        assert journal.health.rows == 1001


async def test_calls_are_moved_without_anybody_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.0)
    async with opened(tmp_path) as journal:
        add(journal, 3)
        async with asyncio.timeout(10):
            while journal.health.rows < 3:
                await asyncio.sleep(0)


async def test_the_event_loop_never_waits_for_the_database(tmp_path: Path) -> None:
    threads: set[int] = set()

    def redact(project_id: str, text: str) -> str:
        threads.add(threading.get_ident())
        return text

    async with opened(tmp_path, redact=redact) as journal:
        add(journal, 3)
        await journal.flush()

    assert threads
    assert threading.get_ident() not in threads


# Forgetting.


async def test_the_oldest_calls_go_when_there_are_too_many(tmp_path: Path) -> None:
    async with opened(tmp_path, keep_rows=20) as journal:
        made = add(journal, 50)
        await journal.flush()

        assert ids((await journal.recent(PROJECT)).records) == made[:20]
        assert journal.health.rows == 20
        assert (await journal.totals([PROJECT]))[HELLO.function_id].calls == 50


async def test_calls_go_after_thirty_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "TRIM_ROWS", 3)
    day = 86_400.0
    async with opened(tmp_path, clock=lambda: 100 * day) as journal:
        old, new = CallIds(lambda: 69.9 * day), CallIds(lambda: 70.1 * day)
        for _ in range(10):
            add(journal, 1, id=old())
        kept = [add(journal, 1, id=new())[0] for _ in range(10)]
        await journal.flush()

        assert await journal.trim() == 10
        assert ids((await journal.recent(PROJECT)).records) == kept[::-1]
        assert journal.health.rows == 10


async def test_a_project_is_forgotten_with_its_numbers(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "TRIM_ROWS", 3)
    add(journal, 10)
    kept = add(journal, 5, project=OTHER, target=USERS)
    await journal.remove_project(PROJECT)

    assert (await journal.recent(PROJECT)).records == []
    assert await journal.totals([PROJECT]) == {}
    assert ids((await journal.recent(OTHER.project_id)).records) == kept
    assert journal.health.rows == 5


# Following.


async def test_new_calls_are_followed_in_the_order_in_which_they_ended(journal: Journal) -> None:
    add(journal, 2)
    await journal.flush()
    tail = journal.tail(PROJECT)
    late = new_id()
    made = add(journal, 3)[::-1]
    add(journal, 1, project=OTHER)
    add(journal, 1, id=late)
    await journal.flush()
    tail.close()

    assert [one.id async for one in tail if isinstance(one, Record)] == [*made, late]


async def test_one_function_is_followed(journal: Journal) -> None:
    tail = journal.tail(PROJECT, USERS.function_id)
    add(journal, 3)
    made = add(journal, 2, target=USERS)[::-1]
    await journal.flush()
    tail.close()

    assert [one.id async for one in tail if isinstance(one, Record)] == made


async def test_a_follower_that_waits_is_woken(journal: Journal) -> None:
    tail = journal.tail(PROJECT)
    waiting = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    (made,) = add(journal, 1)
    await journal.flush()
    found = await waiting

    assert isinstance(found, Record)
    assert found.id == made
    tail.close()


async def test_a_slow_follower_is_told_how_many_it_missed(journal: Journal) -> None:
    tail = journal.tail(PROJECT)
    made = add(journal, WAITING + 7)[::-1]
    await journal.flush()
    tail.close()
    found = [one async for one in tail]

    assert found[0] == Missed(7)
    assert ids([one for one in found[1:] if isinstance(one, Record)]) == made[7:]


async def test_closing_the_journal_ends_those_who_follow(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        tail = journal.tail(PROJECT)
        waiting = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0)

    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_who_follows_no_more_costs_nothing(journal: Journal) -> None:
    journal.tail(PROJECT).close()

    assert not journal._tails


# The tables.


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    Archive.open(tmp_path / "journal.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'journal.db'}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_nobody_else_can_read_what_was_sent_and_answered(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "journal.db")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("journal.db*")}
    archive.close()

    assert set(modes.values()) == {0o600}
    assert "journal.db" in modes


def test_every_page_is_one_range_of_an_index(tmp_path: Path) -> None:
    opened_archive = Archive.open(tmp_path / "journal.db")
    plans = []
    with opened_archive._reading() as connection:
        for function_id in (None, HELLO.function_id):
            query = archive._query(PROJECT, function_id, None).limit(50)
            text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
            plans += [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    opened_archive.close()

    assert plans == [
        "SEARCH calls USING INDEX ix_calls_project_id (project_id=?)",
        "SEARCH calls USING INDEX ix_calls_function_id (function_id=?)",
    ]


async def test_a_direct_call_is_found_as_one(journal: Journal) -> None:
    journal.append(direct())
    (record,) = (await journal.recent(PROJECT)).records

    assert (record.trigger, record.http_status, record.method) == ("direct", None, None)
