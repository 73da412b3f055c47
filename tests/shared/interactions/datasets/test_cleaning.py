"""Nothing goes silently: every dropped row is counted under its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigError, DataError
from shared.interactions.catalogue import MAX_TEXT
from shared.interactions.datasets.cleaning import DROP_REASONS, CleanedSource, RowCounts, clean
from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import Dataset
from shared.interactions.readers.parsed_tables import events_tables
from shared.interactions.readers.raw_table import RawTable
from shared.settings.run_settings import DataSettings

ITEMS = pd.DataFrame({"item_id": ["1", "2", "3"], "title": ["Pen", "Ink", ""]})


def frame_of(rows: list[tuple[object, ...]], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split(), dtype="str")


def cleaned_of(frame: pd.DataFrame, *, shop_column: str | None = None) -> CleanedSource:
    asked = DataSettings(source="x", shop_column=shop_column)
    tables = events_tables(RawTable(Path("x.csv"), frame, 2), asked, layout="test")
    object.__setattr__(tables, "items", ITEMS)
    return clean(tables, name="x", by_shop=True)


def dropped(cleaned: CleanedSource) -> dict[str, int]:
    counts = cleaned.row_counts.totals()["dropped"]
    assert isinstance(counts, dict)
    return counts


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, "1", "2024-01-01", "1", "1"), "missing_id"),
        (("a", " ", "2024-01-01", "1", "1"), "missing_id"),
        (("nan", "1", "2024-01-01", "1", "1"), "missing_id"),
        (("a", "1", None, "1", "1"), "impossible_date"),
        (("a", "1", "2021-02-30", "1", "1"), "impossible_date"),
        (("a", "1", "1970-01-01", "1", "1"), "impossible_date"),
        (("a", "1", "2100-01-01", "1", "1"), "impossible_date"),
        (("a", "1", "2024-01-02", "0", "1"), "impossible_quantity"),
        (("a", "1", "2024-01-02", "-1", "1"), "impossible_quantity"),
        (("a", "1", "2024-01-02", "1001", "1"), "impossible_quantity"),
        (("a", "1", "2024-01-02", "inf", "1"), "impossible_quantity"),
        (("a", "1", "2024-01-02", None, "1"), "impossible_quantity"),
        (("a", "1", "2024-01-02", "1", "-0.5"), "impossible_number"),
        (("a", "9", "2024-01-02", "1", "1"), "unknown_item"),
        (("a", "2", "2024-01-01", "1", "1"), "duplicate"),
        (("a", "2", "2024-01-01T00:00:00Z", "1.0", "1"), "duplicate"),
    ],
)
def test_each_fault_is_dropped_under_its_reason(row: tuple[object, ...], reason: str) -> None:
    good = ("a", "2", "2024-01-01", "1", "1")
    cleaned = cleaned_of(frame_of([good, row], "user_id item_id datetime quantity price"))
    assert dropped(cleaned) == {reason: 1}
    assert len(cleaned.events) == 1


def test_the_first_rows_of_each_reason_are_told_with_place_and_value(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n1,Pen\n2,Ink\n")
    rows = ["a,1,2024-01-01", "null,1,2024-01-02", "a,1,2021-02-30", "a,9,2024-01-01"]
    rows += ["a,2,2024-01-03", "a,2,2024-01-03", "nan,1,2024-01-02", ",1,2024-01-02", "null,1,x"]
    (tmp_path / "interactions.csv").write_text("user_id,item_id,datetime\n" + "\n".join(rows))
    asked = DataSettings(source=str(tmp_path), split="leave-last-out", malformed_rows="drop")
    report = load_dataset(asked, seed=1).report
    shown = {
        reason: [(place["row"], place["column"], place["value"]) for place in places]
        for reason, places in report["examples"].items()
    }
    assert shown == {
        "malformed": [(10, "datetime", "x")],
        "missing_id": [(3, "user_id", "null"), (8, "user_id", "nan"), (9, "user_id", "")],
        "impossible_date": [(4, "datetime", "2021-02-30")],
        "unknown_item": [(5, "item_id", "9")],
        "duplicate": [(7, "item_id", "2")],
    }
    assert {place["file"] for places in report["examples"].values() for place in places} == {
        str(tmp_path / "interactions.csv")
    }


def test_rows_that_differ_anywhere_are_no_duplicates() -> None:
    rows = [
        ("a", "1", "2024-01-01", "1", "s"),
        ("a", "1", "2024-01-01", "2", "s"),
        ("a", "1", "2024-01-01", "1", "t"),
        ("a", "1", "2024-01-01T00:00:01", "1", "s"),
        ("b", "1", "2024-01-01", "1", "s"),
    ]
    cleaned = cleaned_of(frame_of(rows, "user_id item_id datetime quantity session_id"))
    assert dropped(cleaned) == {}
    sessions = cleaned.events.session[np.argsort(cleaned.events.user, kind="stable")]
    assert len(set(sessions[:4])) == 2
    assert sessions[4] not in set(sessions[:4])


def test_an_empty_quantity_of_a_view_is_one() -> None:
    rows = [("a", "1", "2024-01-01", "view", None), ("a", "1", "2024-01-02", "purchase", "3")]
    cleaned = cleaned_of(frame_of(rows, "user_id item_id datetime event_type quantity"))
    assert list(cleaned.events.quantity) == [1.0, 3.0]


def test_sessions_are_users_days_where_none_are_given() -> None:
    rows = [
        ("a", "1", "2024-01-01T00:10:00"),
        ("a", "2", "2024-01-01T23:50:00"),
        ("a", "2", "2024-01-02T00:10:00+01:00"),
        ("a", "2", "2024-01-02T00:10:00"),
        ("b", "2", "2024-01-01T00:10:00"),
    ]
    session = cleaned_of(frame_of(rows, "user_id item_id datetime")).events.session
    assert session[0] == session[1] == session[2]
    assert len({session[0], session[3], session[4]}) == 3


def test_the_same_user_id_in_two_shops_is_two_members() -> None:
    rows = [("a", "1", "2024-01-01", "east"), ("a", "1", "2024-01-01", "west")]
    cleaned = cleaned_of(frame_of(rows, "user_id item_id datetime shop"), shop_column="shop")
    assert cleaned.shop_ids == ("east", "west")
    assert list(cleaned.user_ids) == ["a", "a"]
    assert list(cleaned.shop_of) == [0, 1]


def test_a_tally_adds_up_over_calls_and_shops() -> None:
    tally = RowCounts(np.array([0, 0, 1, 2, -1], dtype=np.int32), 3)
    tally.drop("duplicate", np.array([0], dtype=np.int32))
    tally.drop("duplicate", np.array([0, 2], dtype=np.int32))
    tally.drop("missing_id", np.array([-1], dtype=np.int32))
    counts = {"missing_id": 1, "duplicate": 3}
    assert tally.totals() == {"rows_read": 5, "rows_kept": 1, "dropped": counts}
    shop = tally.of_shop(np.array([True, True, False]))
    assert shop == {"rows_read": 3, "rows_kept": 1, "dropped": {"duplicate": 2}}
    with pytest.raises(KeyError):
        tally.drop("whim", np.array([0], dtype=np.int32))


CELLS = st.tuples(
    st.sampled_from(["a", "b", "c", "", None]),
    st.sampled_from(["1", "2", "3", "9", ""]),
    st.sampled_from(["2024-01-01", "2024-01-09", "2024-02-30", "1969-01-01", ""]),
    st.sampled_from(["1", "2", "0", "5000", ""]),
    st.sampled_from(["east", "west", ""]),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(CELLS, max_size=25))
def test_every_row_is_kept_or_counted_once(rows: list[tuple[object, ...]]) -> None:
    rows = [("a", "1", "2024-01-05", "1", "east"), *rows]
    frame = frame_of(rows, "user_id item_id datetime quantity shop")
    cleaned = cleaned_of(frame, shop_column="shop")
    totals = cleaned.row_counts.totals()
    assert totals["rows_read"] == len(rows)
    assert totals["rows_kept"] == len(cleaned.events)
    assert sum(totals["dropped"].values()) == len(rows) - len(cleaned.events)
    assert set(totals["dropped"]) <= set(DROP_REASONS)
    each = [
        cleaned.row_counts.of_shop(cleaned.shop_of == code) for code in range(len(cleaned.shop_ids))
    ]
    unnamed = sum(not row[0] or not row[4] for row in rows)
    assert sum(counts["rows_read"] for counts in each) == len(rows) - unnamed


def write(folder: Path, events: pd.DataFrame, items: pd.DataFrame = ITEMS) -> DataSettings:
    events.to_csv(folder / "interactions.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    return DataSettings(source=str(folder), order_column="position", split="leave-last-out")


def grid(n_users: int, per_user: int = 3) -> pd.DataFrame:
    rows = [(f"u{user:03d}", item + 1, item) for user in range(n_users) for item in range(per_user)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "position"])


def load(asked: DataSettings, **changes: object) -> Dataset:
    return load_dataset(asked.model_copy(update=changes), seed=1)


def test_an_item_text_of_a_megabyte_is_cut_and_counted(tmp_path: Path) -> None:
    items = ITEMS.assign(title=["x" * 1_000_000, "Ink", ""])
    dataset = load_dataset(write(tmp_path, grid(2), items), seed=1)
    assert [len(text) for text in dataset.catalogue.texts] == [MAX_TEXT, 3, 0]
    assert dataset.report["items"]["truncated_text"] == 1
    assert dataset.report["items"]["without_text"] == 1


def test_a_catalogue_of_one_item_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the catalogue has 1 items, needs at least 2"):
        load_dataset(write(tmp_path, grid(2), ITEMS[:1]), seed=1)


def test_a_shop_without_events_is_refused_by_name(tmp_path: Path) -> None:
    east = write(tmp_path, grid(2))
    for shop in ("east", "west"):
        (tmp_path / shop).mkdir()
        write(tmp_path / shop, grid(2) if shop == "east" else grid(0))
    (tmp_path / "interactions.csv").unlink()
    with pytest.raises(DataError, match=r"west: shop west has 0 events, expected at least 1"):
        load_dataset(east, seed=1)
    write(tmp_path / "west", grid(2).assign(item_id="unheard-of"))
    with pytest.raises(DataError, match=r"shop west: 0 of 6 events.*'unknown_item': 6"):
        load_dataset(east, seed=1)


def test_minimums_drop_users_and_shops_and_say_so(tmp_path: Path) -> None:
    events = pd.concat([grid(5).assign(shop="big"), grid(2, 1).assign(shop="small")])
    asked = write(tmp_path, events)
    dataset = load(asked, shop_column="shop", min_shop_users=3)
    assert [shop.shop_id for shop in dataset.shops] == ["big"]
    assert dataset.report["shops_below_minimum"] == {"small": 2}
    assert dataset.report["dropped"] == {"shop_below_minimum": 2}
    with pytest.raises(DataError, match=r"no shop has min_shop_users=9 users"):
        load(asked, shop_column="shop", min_shop_users=9)
    short = pd.concat([grid(3), pd.DataFrame([("z", 1, 0)], columns=grid(0).columns)])
    dataset = load(write(tmp_path, short.assign(shop="one")), min_user_items=1)
    assert dataset.report["users"] == {"read": 4, "kept": 4, "below_minimum": 0}
    assert dataset.report["shops"][tmp_path.name]["users_without_test"] == 1
    rich = pd.concat([grid(3), pd.DataFrame([("z", 1, 0), ("z", 2, 1)], columns=grid(0).columns)])
    dataset = load(write(tmp_path, rich), min_user_items=2)
    assert list(dataset.shops[0].user_ids) == ["z"]
    assert dataset.report["dropped"] == {"user_below_minimum": 9}
    late = pd.concat([rich.assign(shop="one"), grid(1).assign(shop="two")])
    dataset = load(write(tmp_path, late), shop_column="shop", min_user_items=2)
    assert dataset.report["shops_below_minimum"] == {"two": 0}


def test_virtual_shops_share_users_evenly_by_seed(tmp_path: Path) -> None:
    asked = write(tmp_path, grid(10))
    first, again, other = (
        load_dataset(asked.model_copy(update={"shops": "virtual:4"}), seed=seed)
        for seed in (1, 1, 2)
    )
    assert sorted(shop.n_users for shop in first.shops) == [2, 2, 3, 3]
    users = [user for shop in first.shops for user in shop.user_ids]
    assert sorted(users) == sorted(set(grid(10)["user_id"]))
    assert [list(shop.user_ids) for shop in first.shops] == [
        list(shop.user_ids) for shop in again.shops
    ]
    assert [list(shop.user_ids) for shop in first.shops] != [
        list(shop.user_ids) for shop in other.shops
    ]
    assert first.report["shops"]["shop-0"]["rows_read"] == 3 * first.shops[0].n_users
    with pytest.raises(ConfigError, match=r"virtual:11 must be at most the number of users, 10"):
        load_dataset(asked.model_copy(update={"shops": "virtual:11"}), seed=1)


def test_user_attributes_are_kept(tmp_path: Path) -> None:
    asked = write(tmp_path, grid(2))
    (tmp_path / "users.csv").write_text("user_id,city\nu000,Bonn\nu000,Ulm\n,Kiel\n")
    dataset = load_dataset(asked, seed=1)
    assert dataset.users["city"].to_dict() == {"u000": "Bonn"}
