"""What an import leaves in the database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from client.store import changes as writing
from client.store.event_rows import fill_digests
from client.store.imports.import_source import import_into, import_source
from client.store.imports.importing import ImportOptions
from client.store.reading import page_of_events, read_events, read_items
from client.store.schema import Event, Item, events, users
from client.store.store import Store
from shared.errors import DataError
from shared.interactions.datasets.shop_rows import read_shop_rows
from shared.settings.run_settings import DataSettings
from tests.client.store.sources import ITEMS, event, import_export, write_export

DAY1 = [event(f"u{n % 5}", f"i{n % 6}", 1 + n) for n in range(20)]


def stored(store: Store) -> Counter[tuple[Any, ...]]:
    with store.reading() as connection:
        rows = page_of_events(connection, after=0, n=10_000, user_id=None)
    names = ("event_id", "user_id", "item_id", "time", "quantity", "price", "session_id")
    return Counter(tuple(row[name] for name in names) for row in rows)


def count(store: Store) -> int:
    return sum(stored(store).values())


@pytest.mark.parametrize("many", [1, 200_000])
def test_everybody_and_every_event_is_stored(
    store: Store, tmp_path, monkeypatch, many: int
) -> None:
    monkeypatch.setattr("client.store.event_rows.MANY", many)
    late = [event(f"new{n}", "i1", 31) for n in range(5)]
    report = import_export(store, write_export(tmp_path / "a", [*DAY1, *late]))
    assert (report.events, report.dropped) == (25, {})
    with store.reading() as connection:
        names = set(connection.scalars(sa.select(users.c.user_id)))
        items = [item for _, item in read_items(connection)]
        rows = read_events(connection)
    assert names == {f"u{n}" for n in range(5)} | {f"new{n}" for n in range(5)}
    assert items[0] == Item("i0", "tea 0", price=1.0, title="tea 0")
    assert np.all(np.diff(rows.time) >= 0)  # in the order in which they would have come live
    assert store.fact("time_unit") == "days"
    indexes = {index["name"] for index in sa.inspect(store.engine).get_indexes("events")}
    assert indexes == {"events_user", "events_item", "events_id"}


@pytest.mark.parametrize("first", [0, 1, 4])
def test_a_few_events_are_enough(store: Store, tmp_path, first: int) -> None:
    some = write_export(tmp_path / "a", [*DAY1[:first], event("x", "i0", 2)])
    assert import_export(store, some).events == first + 1


@pytest.mark.parametrize("seed", range(4))
def test_a_grown_export_adds_exactly_what_is_new_in_any_order(
    store: Store, tmp_path, seed: int
) -> None:
    """Equals among the rows are events of their own; some rows have ids and others none."""
    rng = np.random.default_rng(seed)
    named = seed % 2 == 1

    def row(number: int) -> Any:
        more: dict[str, Any] = {"quantity": int(rng.integers(1, 3))}
        more["session_id"] = ["", "v1", "v2"][rng.integers(3)]
        if named:
            more["event_id"] = "" if rng.random() < 0.5 else f"e{number}"
        return event(f"u{rng.integers(3)}", f"i{rng.integers(2)}", int(rng.integers(1, 4)), **more)

    rows = [row(n) for n in range(60)]
    for part in (20, 45, 60, 60):
        taken = [rows[n] for n in rng.permutation(part)]
        before = count(store)
        report = import_export(store, write_export(tmp_path / "a", taken))
        assert report.events == part - before
        assert (report.changed, report.removed) == (0, 0)
    expected = Counter(
        (r.get("event_id") or None, r["user_id"], r["item_id"], r["datetime"], r["session_id"])
        for r in rows
    )
    with store.reading() as connection:
        page = page_of_events(connection, after=0, n=1000, user_id=None)
    day = {1.0 * n: f"2024-05-{n - 19843:02d}T10:00:00" for n in range(19844, 19850)}
    assert expected == Counter(
        (
            *(r["event_id"], r["user_id"], r["item_id"]),
            *(day[np.floor(r["time"])], r["session_id"] or ""),
        )
        for r in page
    )


def test_an_event_with_an_id_is_changed_not_doubled(store: Store, tmp_path) -> None:
    old = [event("u1", "i1", 3, event_id="a", quantity=1)]
    import_export(store, write_export(tmp_path / "a", old))
    new = [
        event("u1", "i2", 3, event_id="a", quantity=2),
        event("u1", "i1", 4, event_id="b", quantity=1),
    ]
    report = import_export(store, write_export(tmp_path / "a", new))
    assert (report.events, report.changed) == (1, 1)
    assert {(row[0], row[2]) for row in stored(store)} == {("a", "i2"), ("b", "i1")}


def test_an_event_that_came_live_is_the_one_of_the_export(store: Store, tmp_path) -> None:
    store.write(lambda c: writing.add_items(c, [Item("i1")])).result()
    live = Event("e1", "u1", "i1", 19846 + 10 / 24, price=2.5)
    store.write(lambda c: writing.add_events(c, [live])).result()
    exported = [event("u1", "i1", 3, price="2.50", session_id="v")]
    report = import_export(store, write_export(tmp_path / "a", exported))
    assert report.events == 0
    assert report.changed == 1  # it has a visit now
    assert list(stored(store)) == [("e1", "u1", "i1", pytest.approx(19846 + 10 / 24), 1, 2.5, "v")]


def test_items_follow_the_export_and_keep_what_it_lacks(store: Store, tmp_path) -> None:
    import_export(store, write_export(tmp_path / "a", DAY1))
    hidden = Item("i2", "tea 2", price=3.0, hidden=True, title="tea 2")
    store.write(lambda c: writing.put_items(c, [hidden])).result()
    changed = [{"item_id": f"i{n}", "title": "matcha" if n == 1 else f"tea {n}"} for n in range(6)]
    report = import_export(store, write_export(tmp_path / "a", DAY1, items=changed))
    assert report.items["changed"] == 1
    with store.reading() as connection:
        items = {item.item_id: item for _, item in read_items(connection)}
    assert items["i1"] == Item("i1", "matcha", price=2.0, title="matcha")
    assert items["i2"] == hidden


def test_a_full_export_removes_what_it_lacks(store: Store, tmp_path) -> None:
    import_export(store, write_export(tmp_path / "a", [*DAY1, event("gone", "i5", 9)]))
    full = write_export(tmp_path / "a", DAY1[:15], items=ITEMS[:5])
    with pytest.raises(DataError, match="unknown_item"):
        import_export(store, full, ImportOptions(replace=True))
    kept = [row for row in DAY1[:15] if row["item_id"] != "i5"]
    full = write_export(tmp_path / "a", kept, items=ITEMS[:5])
    report = import_export(store, full, ImportOptions(replace=True))
    assert report.removed == 21 - len(kept)
    assert count(store) == len(kept)
    with store.reading() as connection:
        assert "gone" not in set(connection.scalars(sa.select(users.c.user_id)))
        assert len(read_items(connection)) == 5


def test_a_full_export_of_a_period_leaves_what_is_older(store: Store, tmp_path) -> None:
    import_export(store, write_export(tmp_path / "a", DAY1))
    part = write_export(tmp_path / "a", [DAY1[2], DAY1[18]])
    since = 19844.0 + 14
    with pytest.raises(DataError, match="accept-loss"):
        import_export(store, part, ImportOptions(replace=True, since=since))
    options = ImportOptions(replace=True, since=since, accept_loss=True)
    report = import_export(store, part, options)
    assert (report.before_since, report.removed, count(store)) == (1, 5, 15)


@pytest.mark.parametrize("replace", [False, True])
def test_an_event_that_moves_past_since_is_changed_and_older_ones_stay(
    store: Store, tmp_path, replace: bool
) -> None:
    old = [event("u1", "i1", 1 + n, event_id=f"e{n}") for n in range(3)]
    import_export(store, write_export(tmp_path / "a", old))
    moved = write_export(tmp_path / "a", [event("u1", "i1", 20, event_id="e0")])
    options = ImportOptions(replace=replace, since=19844.0 + 14)
    report = import_export(store, moved, options)
    assert (report.events, report.changed, report.removed) == (0, 1, 0)
    times = {row[0]: np.floor(row[3]) - 19843 for row in stored(store)}
    assert times == {"e0": 20, "e1": 2, "e2": 3}


def test_who_and_what_was_deleted_stays_away(store: Store, tmp_path) -> None:
    import_export(store, write_export(tmp_path / "a", DAY1))
    store.write(lambda c: writing.delete_user(c, "u2")).result()
    store.write(lambda c: writing.delete_item(c, "i3")).result()
    people = [{"user_id": "u2", "segment": "gold"}, {"user_id": "u1", "segment": "new"}]
    export = write_export(tmp_path / "a", DAY1, users=people)
    for options in (None, ImportOptions(replace=True)):
        report = import_export(store, export, options)
        assert (report.events, report.suppressed) == (0, 7)
    assert not any(row[1] == "u2" or row[2] == "i3" for row in stored(store))
    with store.reading() as connection:
        assert "u2" not in set(connection.scalars(sa.select(users.c.user_id)))
    with pytest.raises(writing.ConflictError, match="was deleted"):
        store.write(lambda c: writing.add_events(c, [Event("e", "u2", "i1", 1.0)])).result()
    store.write(lambda c: writing.put_items(c, [Item("i3", "again")])).result()
    assert import_export(store, export).events == 3


@pytest.mark.parametrize("unit", ["days", "order"])
def test_dates_and_ranks_do_not_mix(store: Store, tmp_path, unit: str) -> None:
    dated = write_export(tmp_path / "dated", DAY1)
    ranks = [{"user_id": "u1", "item_id": "i1", "rank": n} for n in range(5)]
    ranked = write_export(tmp_path / "ranked", ranks)
    order = {"order_column": "rank"}
    first, second = ((dated, {}), (ranked, order))[:: 1 if unit == "days" else -1]
    import_export(store, first[0], **first[1])
    before = stored(store)
    with pytest.raises(DataError, match="the database holds"):
        import_export(store, second[0], **second[1])
    assert (stored(store), store.fact("time_unit")) == (before, unit)


def test_rows_that_are_lost_are_named_and_many_are_refused(store: Store, tmp_path) -> None:
    wrong = [event("u1", "nope", 1 + n) for n in range(2)]
    export = write_export(tmp_path / "a", [*DAY1, *wrong])
    with pytest.raises(DataError, match=r"2 of 22 rows .* 2 unknown_item .*accept-loss"):
        import_export(store, export)
    assert count(store) == 0
    report = import_export(store, export, ImportOptions(accept_loss=True))
    assert (report.events, report.dropped) == (20, {"unknown_item": 2})
    assert json.loads(json.dumps(report.to_json()))["reasons"]["unknown_item"]


def test_visits_of_nobody_are_no_loss_unless_there_is_nothing_else(store: Store, tmp_path) -> None:
    nobody = [event("", "i1", 1 + n) for n in range(10)]
    alone = write_export(tmp_path / "alone", nobody)
    with pytest.raises(DataError, match=r"10 of 10 rows .*missing_id"):
        import_export(store, alone)
    report = import_export(store, write_export(tmp_path / "a", [*DAY1, *nobody]))
    assert (report.events, report.dropped) == (20, {"missing_id": 10})


def test_visits_of_nobody_excuse_no_other_loss(store: Store, tmp_path) -> None:
    nobody = [event("", "i1", 1 + n) for n in range(20)]
    wrong = [event("u1", "", 3), event("u1", "nope", 4)]
    with pytest.raises(DataError, match="2 of 22 rows"):
        import_export(store, write_export(tmp_path / "a", [*DAY1, *nobody, *wrong]))
    rows = [*DAY1, event("u1", "", 3)]
    rows = [{**row, "quantity": 1} for row in rows] + [event("", "i1", 4, quantity="many")]
    with pytest.raises(DataError, match="2 of 22 rows"):
        import_export(store, write_export(tmp_path / "b", rows), malformed_rows="drop")
    assert count(store) == 0


def test_a_row_of_no_shop_excuses_no_loss_of_a_shop(tmp_path) -> None:
    nobody = [event("", "i1", 1 + n, shop_id="a") for n in range(5)]
    rows = [{**row, "shop_id": shop} for row in DAY1 for shop in "ab"]
    wrong = [event("u1", "", 3 + n, shop_id="a") for n in range(5)]
    store = Store(f"sqlite:///{tmp_path / 'shop.db'}")
    export = write_export(tmp_path / "a", [*rows, *nobody, *wrong])
    source = DataSettings(source=str(export), shop_column="shop_id")
    with pytest.raises(DataError, match="5 of 25 rows"):
        import_into(store, source, "a")
    store.close()


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_packed_file_gives_its_shop_the_plain_name(tmp_path, packing: str) -> None:
    write_export(tmp_path, DAY1, items=None)
    suffix = {"gzip": ".gz", "zstd": ".zst"}[packing]
    packed = tmp_path / f"tea.csv{suffix}"
    with pa.output_stream(str(packed), compression=packing) as stream:
        stream.write((tmp_path / "interactions.csv").read_bytes())
    assert read_shop_rows(DataSettings(source=str(packed)), shop=None).shop_id == "tea"


def test_another_shops_export_is_a_question(store: Store, tmp_path) -> None:
    def export(shop: str) -> Any:
        items = [{"item_id": f"{shop}-i{n}", "title": f"t{n}"} for n in range(30)]
        rows = [event(f"{shop}-u{n}", f"{shop}-i{n}", 2) for n in range(30)]
        return write_export(tmp_path / shop, rows, items=items)

    import_export(store, export("a"))
    with pytest.raises(DataError, match="another shop's"):
        import_export(store, export("b"))
    assert count(store) == 30
    assert import_export(store, export("b"), ImportOptions(accept_new_ids=True)).events == 30


def test_events_of_an_older_version_are_known_again(store: Store, tmp_path) -> None:
    rows = [dict(row, session_id=f"v{n}") for n, row in enumerate(DAY1)]
    import_export(store, write_export(tmp_path / "a", rows))
    store.write(
        lambda c: c.execute(sa.update(events).values(digest=None, session_id=None, session=7))
    ).result()
    rows.append(event("u1", "i1", 30, session_id="w"))
    report = import_export(store, write_export(tmp_path / "a", rows))
    assert (report.events, report.changed, count(store)) == (1, 20, 21)
    again = import_export(store, tmp_path / "a")
    assert (again.events, again.changed, again.unchanged) == (0, 0, 21)


def test_digests_are_filled_in_one_pass(store: Store, tmp_path, monkeypatch) -> None:
    import_export(store, write_export(tmp_path / "a", DAY1))
    store.write(lambda c: c.execute(sa.update(events).values(digest=None))).result()
    monkeypatch.setattr("client.store.event_rows.ROWS", 8)
    begun: list[int] = []

    @sa.event.listens_for(store.engine, "before_execute")
    def note(_c: Any, statement: Any, _many: Any, params: Any, _options: Any) -> None:
        if "event_key > :after" in str(statement):
            begun.append(params["after"])

    assert store.write(fill_digests).result() == 20
    assert begun == [0, 8, 16, 20]
    with store.reading() as connection:
        assert not connection.scalar(sa.select(sa.exists().where(events.c.digest.is_(None))))


def test_a_source_without_items_names_them_in_its_events(store: Store, tmp_path) -> None:
    report = import_export(store, write_export(tmp_path / "a", DAY1, items=None))
    assert (report.events, report.items["added"]) == (20, 6)
    import_export(store, write_export(tmp_path / "a", DAY1))
    with store.reading() as connection:
        assert read_items(connection)[0][1].text == "tea 0"


def test_titles_links_stock_and_dates_of_items_follow_the_source(tmp_path) -> None:
    folder = tmp_path / "fields"
    folder.mkdir()
    (folder / "interactions.csv").write_text(
        "user_id,item_id,datetime\nu1,a,2024-01-01\nu2,b,2024-01-02\n"
    )
    items = folder / "items.csv"
    items.write_text(
        "item_id,name,link,image_url,categories,quantity,valid_to\n"
        "a,Tea,https://s.example/a,https://s.example/a.jpg,drinks|hot,4,2099-01-01\n"
        "b,Soap,javascript:x,,home,0,\n"
    )
    url, data = f"sqlite:///{tmp_path / 'fields.db'}", DataSettings(source=str(folder))
    report = import_source(url, data, None)
    assert [note for note in report.notes if "url" in note] == [
        "items: 1 of 2 cells of url cannot be read and are left out"
    ]
    store = Store(url)
    with store.reading() as connection:
        (_, tea), (_, soap) = read_items(connection)
    assert (tea.title, tea.url, tea.category) == ("Tea", "https://s.example/a", "drinks")
    assert (tea.categories, tea.stock, tea.valid_to) == (("drinks", "hot"), 4.0, 47118.0)
    assert (soap.url, soap.stock, soap.on_sale) == ("", 0.0, False)
    assert not import_source(url, data, None).wrote
    items.write_text("item_id,name,quantity\na,Tea,\nb,Soap,7\n")
    assert import_source(url, data, None).items["changed"] == 2
    with store.reading() as connection:
        (_, tea), (_, soap) = read_items(connection)
    assert (tea.stock, tea.url, soap.stock) == (None, "https://s.example/a", 7.0)
    store.close()
