"""A backup of a database in use, and what a restore brings back, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from client.store import changes as writing
from client.store.backup import RestoreReport, _delete_again, back_up, restore
from client.store.reading import page_of_events, read_items
from client.store.schema import Event, Item, users
from client.store.serving_lock import ServingLock
from client.store.store import Store
from client.store.suppression import suppressed_of
from shared.errors import ConfigError, DataError, RunExistsError


@pytest.fixture
def filled(url: str) -> Iterator[Store]:
    if url.startswith("postgresql") and shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    store = Store(url)
    store.write(lambda c: writing.add_items(c, [Item(f"i{n}") for n in range(4)])).result()
    events = [Event(f"e{n}", f"u{n % 3}", f"i{n % 4}", float(n)) for n in range(12)]
    store.write(lambda c: writing.add_events(c, events)).result()
    yield store
    store.close()


def suppressed(url: str) -> set[str]:
    store = Store(url)
    with store.reading() as connection:
        ids = suppressed_of(connection, ["u0", "u1", "u2", "late"])
    store.close()
    return ids


def content(url: str) -> tuple[list[str], set[str], list[str]]:
    store = Store(url)
    with store.reading() as connection:
        rows = page_of_events(connection, after=0, n=100, user_id=None)
        names = set(connection.scalars(sa.select(users.c.user_id)))
        items = [item.item_id for _, item in read_items(connection)]
    store.close()
    return [row["event_id"] for row in rows], names, items


def test_a_restore_brings_all_back_but_who_was_deleted_since(filled: Store, tmp_path) -> None:
    out = tmp_path / "shop.backup"
    back_up(filled.url, out)  # while the store is open
    assert out.stat().st_mode & 0o777 == 0o600
    identity = filled.fact("identity")
    mark = filled.content_mark(12)
    filled.write(lambda c: writing.add_events(c, [Event("late", "late", "i1", 1.0)])).result()
    for user_id in ("u1", "late"):
        filled.write(lambda c, user_id=user_id: writing.delete_user(c, user_id)).result()
    filled.write(lambda c: writing.delete_item(c, "i3")).result()
    filled.write(writing.bump_generation).result()
    filled.close()
    report = restore(filled.url, out)
    events, names, items = content(filled.url)
    assert (report.deleted_again, report.knew_deletions, report.users) == (1, True, 2)
    assert names == {"u0", "u2"}
    assert items == ["i0", "i1", "i2"]
    assert set(events) == {f"e{n}" for n in range(12) if n % 3 != 1 and n % 4 != 3}
    again = Store(filled.url)
    assert (again.fact("identity"), int(again.fact("generation"))) == (identity, 2)
    assert again.content_mark(12) != mark
    again.close()
    assert suppressed(filled.url) == {"u1", "late"}


@pytest.mark.parametrize("target", ["nothing", "same", "another"])
def test_a_restore_keeps_the_deletions_of_the_backup_and_of_the_target(
    tmp_path, target: str
) -> None:
    first, second = (Store(f"sqlite:///{tmp_path / name}.db") for name in ("first", "second"))
    batch = [Event(f"e{n}", f"u{n}", "i1", float(n)) for n in range(3)]
    for store in (first, second):
        store.write(lambda c: writing.add_items(c, [Item("i1")])).result()
        store.write(lambda c: writing.add_events(c, batch)).result()
    first.write(lambda c: writing.delete_user(c, "u2")).result()
    back_up(first.url, tmp_path / "shop.backup")
    store = first if target == "same" else second
    if target != "nothing":
        store.write(lambda c: writing.delete_user(c, "u1")).result()
    for opened in (first, second):
        opened.close()
    url = f"sqlite:///{tmp_path / 'fresh.db'}" if target == "nothing" else store.url
    report = restore(url, tmp_path / "shop.backup")
    again = set() if target == "nothing" else {"u1"}
    assert report.deleted_again == len(again)
    assert content(url)[1] == {"u0", "u1"} - again
    assert suppressed(url) == {"u2"} | again


def test_a_restore_into_nothing_says_that_it_knows_of_no_deletion(filled: Store, tmp_path) -> None:
    if filled.engine.dialect.name == "postgresql":
        pytest.skip("the same code as in SQLite")
    back_up(filled.url, tmp_path / "shop.backup")
    filled.write(lambda c: writing.delete_user(c, "u1")).result()
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    report = restore(elsewhere, tmp_path / "shop.backup")
    assert (report.knew_deletions, report.events) == (False, 12)
    assert content(elsewhere)[1] == {"u0", "u1", "u2"}


def test_a_wrong_file_changes_nothing(filled: Store, tmp_path) -> None:
    before = content(filled.url)
    out = tmp_path / "shop.backup"
    back_up(filled.url, out)
    with pytest.raises(ConfigError, match="exists already"):
        back_up(filled.url, out)
    whole = out.read_bytes()
    out.write_bytes(whole[:60] + bytes(200) + whole[260 : len(whole) // 2])
    (tmp_path / "text").write_text("no backup at all")
    with sqlite3.connect(tmp_path / "empty.db") as other:
        other.execute("CREATE TABLE t (x)")
    for name in ("shop.backup", "text", "empty.db", "absent"):
        with pytest.raises(DataError, match=r"nothing was changed|cannot be read"):
            restore(filled.url, tmp_path / name)
    assert content(filled.url) == before


def test_a_served_database_is_not_restored(filled: Store, tmp_path, monkeypatch) -> None:
    back_up(filled.url, tmp_path / "shop.backup")
    lock = ServingLock.take(filled.engine)
    assert lock is not None
    with pytest.raises(RunExistsError, match="another process"):
        restore(filled.url, tmp_path / "shop.backup")
    lock.release()
    taken: list[ServingLock | None] = []

    def deleting(*known: Any) -> RestoreReport:
        taken.append(ServingLock.take(filled.engine))
        return _delete_again(*known)

    monkeypatch.setattr("client.store.backup._delete_again", deleting)
    assert restore(filled.url, tmp_path / "shop.backup").events == 12
    assert taken == [None]  # nobody serves before who was deleted is deleted again
