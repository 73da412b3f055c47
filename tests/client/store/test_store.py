"""The same contract on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from client.deploy.store_data import read_store
from client.store import changes as writing
from client.store.database import ConflictError, StoreUnavailableError, UnknownError
from client.store.event_rows import batches
from client.store.reading import (
    page_of,
    page_of_events,
    read_events,
    read_items,
    read_users,
)
from client.store.schema import Event, Item, User, metadata
from client.store.schema import items as item_table
from client.store.store import Store
from client.store.training_data import read_item_keys
from shared.errors import ConfigError, StorageError
from tests.deploy.installing import Pair

HOSTILE = "'; DROP TABLE events; -- <script>alert(1)</script> \u202e\U0001f600"


def fill(store: Store) -> None:
    items = [Item("i1", "tea", "drinks", "acme", 2.5), Item("i2", "bread")]
    store.write(lambda c: writing.add_items(c, items)).result()


def add(store: Store, *events: Event) -> list[str]:
    added = store.write(lambda c: writing.add_events(c, events)).result()
    return [event.event_id for event in added]


def stored(store: Store) -> list[str]:
    with store.reading() as connection:
        rows = page_of_events(connection, after=0, n=1000, user_id=None)
    return [row["event_id"] for row in rows]


def test_what_is_stored_is_read_again(store: Store) -> None:
    fill(store)
    event = Event("e1", "u1", "i1", 19000.25, 2, 0.5, 3.0, 4.75, 17)
    add(store, event, Event("e2", "u2", "i2", 19001.0))
    with store.reading() as connection:
        rows, items = read_events(connection), read_items(connection)
        users = read_users(connection)
    assert items[0][1] == Item("i1", "tea", "drinks", "acme", 2.5)
    assert [user.user_id for _, user in users] == ["u1", "u2"]
    assert rows.time.tolist() == [19000.25, 19001.0]
    assert rows.amount.tolist() == [1.0, 1.0]  # 0.5 * log2(1 + 3), 1 * log2(1 + 1)
    assert rows.price[0] == 4.75
    assert np.isnan(rows.price[1])
    assert rows.session.tolist() == [17, -1]
    assert rows.event_type.tolist() == [2, 0]


def test_a_repeated_delivery_adds_nothing(store: Store) -> None:
    fill(store)
    assert add(store, Event("e1", "u1", "i1", 1.0), Event("e1", "u1", "i1", 1.0)) == ["e1"]
    assert add(store, Event("e1", "u1", "i1", 1.0), Event("e2", "u1", "i2", 2.0)) == ["e2"]
    assert stored(store) == ["e1", "e2"]


def test_an_unknown_item_keeps_the_whole_batch_out(store: Store) -> None:
    fill(store)
    with pytest.raises(UnknownError, match="nope"):
        add(store, Event("e1", "u1", "i1", 1.0), Event("e2", "u1", "nope", 2.0))
    assert stored(store) == []
    with store.reading() as connection:
        assert read_users(connection) == []


def test_a_refused_change_takes_no_other_one_with_it(store: Store) -> None:
    fill(store)
    jobs = []
    for number in range(20):
        item = "nope" if number % 3 == 0 else "i1"
        event = Event(f"e{number}", "u1", item, 1.0)
        jobs.append(store.write(lambda c, event=event: writing.add_events(c, [event])))
    refused = [n for n, job in enumerate(jobs) if job.exception() is not None]
    assert refused == [0, 3, 6, 9, 12, 15, 18]
    assert len(stored(store)) == 13


def test_what_is_read_at_once_is_of_one_state(store: Store) -> None:
    fill(store)
    add(store, Event("e1", "u1", "i1", 1.0))
    with store.reading() as connection:
        before = len(read_events(connection))
        add(store, Event("e2", "u2", "i1", 2.0))
        assert (before, len(read_events(connection)), len(read_users(connection))) == (1, 1, 1)
    assert stored(store) == ["e1", "e2"]


def test_what_is_trained_on_is_of_one_state(store: Store, pair: Pair, monkeypatch) -> None:
    base = pair.node.invitation().base
    store.write(lambda c: writing.add_items(c, [Item(base.item_ids[0])])).result()
    add(store, Event("e1", "u1", base.item_ids[0], 1.0))

    def read_while_one_comes(connection: sa.Connection) -> dict[str, int]:
        add(store, Event("e2", "u2", base.item_ids[0], 2.0))
        return read_item_keys(connection)

    monkeypatch.setattr("client.deploy.store_data.read_item_keys", read_while_one_comes)
    events, n_persons, report = read_store(store.url, base)
    assert (len(events), n_persons, report["rows_read"]) == (1, 1, 1)


@pytest.mark.parametrize("size", [1, 2, 20])
def test_batches_hold_every_row_once(store: Store, size: int) -> None:
    fill(store)
    add(store, *(Event(f"e{n}", "u1", "i1", float(n)) for n in range(6)))
    with store.reading() as connection:
        query = sa.select(sa.column("time")).select_from(sa.table("events")).order_by("time")
        result = connection.execute(query, execution_options={"stream_results": True})
        parts = list(batches(result, size))
    assert [row for part in parts for row in part] == [(float(n),) for n in range(6)]
    assert max(map(len, parts)) <= size


def interrupted(store: Store) -> None:
    with store.reading() as connection:
        driver = connection.connection.driver_connection
        try:
            for _ in batches(connection.execute(sa.text("SELECT * FROM events")), 2):
                driver.set_progress_handler(lambda: 1, 1)  # stops what runs in the database
        finally:
            driver.set_progress_handler(None, 1)


def test_a_fault_between_two_batches_is_named(tmp_path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'shop.db'}")
    fill(store)
    add(store, *(Event(f"e{n}", "u1", "i1", float(n)) for n in range(6)))
    with pytest.raises(StoreUnavailableError):
        interrupted(store)
    store.close()


def test_replacing_and_deleting_events(store: Store) -> None:
    fill(store)
    add(store, Event("e1", "u1", "i1", 1.0), Event("e2", "u2", "i1", 2.0))
    changed = Event("e1", "u3", "i2", 5.0)
    touched = store.write(lambda c: writing.replace_events(c, [changed])).result()
    assert touched == {"u1", "u3"}
    assert store.write(lambda c: writing.delete_event(c, "e2")).result() == "u2"
    assert stored(store) == ["e1"]
    with pytest.raises(UnknownError):
        store.write(lambda c: writing.delete_event(c, "e2")).result()


def test_deleting_a_user_leaves_no_row_of_theirs(store: Store) -> None:
    fill(store)
    add(store, Event("gone-1", "gone-user", "i1", 1.0), Event("gone-2", "gone-user", "i2", 2.0))
    add(store, Event("e3", "u2", "i1", 3.0))
    assert store.write(lambda c: writing.delete_user(c, "gone-user")).result() == 2
    with store.reading() as connection:
        assert [user.user_id for _, user in read_users(connection)] == ["u2"]
        for table in metadata.sorted_tables:
            rows = [str(tuple(row)) for row in connection.execute(sa.select(table))]
            assert not any("gone" in row for row in rows)
    assert stored(store) == ["e3"]


def test_adding_what_is_there_is_a_conflict_and_putting_replaces(store: Store) -> None:
    fill(store)
    with pytest.raises(ConflictError, match="i1"):
        store.write(lambda c: writing.add_items(c, [Item("i9"), Item("i1")])).result()
    store.write(lambda c: writing.put_items(c, [Item("i1", "coffee"), Item("i3")])).result()
    with store.reading() as connection:
        items = {item.item_id: item.text for _, item in read_items(connection)}
    assert items == {"i1": "coffee", "i2": "bread", "i3": ""}
    store.write(lambda c: writing.put_users(c, [User("u1", "gold"), User("u1", "new")])).result()
    with store.reading() as connection:
        assert [user for _, user in read_users(connection)] == [User("u1", "new")]


def test_pages_hold_every_row_once(store: Store) -> None:
    items = [Item(f"i{n}") for n in range(25)]
    store.write(lambda c: writing.add_items(c, items)).result()
    seen, after = [], 0
    while True:
        with store.reading() as connection:
            rows = page_of(connection, item_table, after=after, n=10)
        if not rows:
            break
        seen += [row["item_id"] for row in rows]
        after = rows[-1]["item_key"]
    assert seen == [item.item_id for item in items]


def test_hostile_text_is_only_text(store: Store) -> None:
    store.write(lambda c: writing.add_items(c, [Item(HOSTILE, HOSTILE, HOSTILE)])).result()
    assert add(store, Event(HOSTILE, HOSTILE, HOSTILE, 1.0)) == [HOSTILE]
    with store.reading() as connection:
        assert read_items(connection)[0][1].category == HOSTILE
        assert page_of_events(connection, after=0, n=5, user_id=HOSTILE)[0]["user_id"] == HOSTILE


def test_a_repeated_opening_keeps_the_data(url: str) -> None:
    first = Store(url)
    fill(first)
    first.close()
    again = Store(url)
    with again.reading() as connection:
        assert len(read_items(connection)) == 2
    again.close()


def test_sqlite_is_durable_by_its_settings(tmp_path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'a.db'}")
    with store.reading() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    store.close()
    assert (mode, synchronous) == ("wal", 2)


def test_a_locked_database_is_named_and_loses_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("client.store.database._PRAGMAS", ("PRAGMA busy_timeout=50",))
    store = Store(f"sqlite:///{tmp_path / 'a.db'}")
    fill(store)
    other = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            add(store, Event("e1", "u1", "i1", 1.0))
    other.dispose()
    assert add(store, Event("e1", "u1", "i1", 1.0)) == ["e1"]
    store.close()


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("mysql://x/y", ConfigError, "sqlite:///PATH or postgresql"),
        ("nonsense", ConfigError, "no database URL"),
        ("sqlite:////no/such/folder/a.db", StorageError, "is missing"),
        ("postgresql://u:secret@127.0.0.1:1/x", StoreUnavailableError, "does not answer"),
    ],
)
def test_a_wrong_url_says_what_to_do_without_the_password(url, error, text) -> None:
    with pytest.raises(error, match=text) as caught:
        Store(url)
    assert "secret" not in str(caught.value)
