"""What is particular to one layout: faults of tables, texts, genres, dates; shops in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.errors import ConfigError, DataError
from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import Dataset
from shared.interactions.readers.raw_table import RawTable
from shared.settings.run_settings import DataSettings


def load(source: Path, **settings: object) -> Dataset:
    given = {"split": "leave-last-out"} | settings
    return load_dataset(DataSettings(source=str(source), **given), seed=1)


def triples(dataset: Dataset) -> set[tuple[str, str, str, float]]:
    return {
        (shop.shop_id, shop.user_ids[user], dataset.catalogue.item_ids[item], round(time, 4))
        for shop in dataset.shops
        for user, item, time in zip(
            shop.events.user, shop.events.item, shop.events.time, strict=True
        )
    }


def write_own(folder: Path, rows: str, *, header: str = "user_id,item_id,datetime") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "interactions.csv").write_text(f"{header}\n{rows}")
    (folder / "items.csv").write_text("item_id,title\n1,Pen\n2,Ink\n3,Cap\n")
    return folder


def test_item_text_follows_the_documented_order(tmp_path: Path) -> None:
    write_own(tmp_path, "a,1,2024-01-01\na,2,2024-01-02\n")
    (tmp_path / "items.csv").write_text(
        "item_id,colour,description,brand,title,price,weight,category\n"
        '1,red,"A  pen,\nfine",Acme,Pen,3.50,12,Office\n'
        "2,Ink,,,Ink,,5,\n"
    )
    dataset = load(tmp_path)
    assert list(dataset.catalogue.texts) == ["Pen, Office, Acme, A pen, fine, red", "Ink"]
    attributes = dataset.catalogue.attributes
    assert list(attributes.columns) == ["category", "brand", "price", "title"]
    assert attributes["price"][0] == 3.5
    assert np.isnan(attributes["price"][1])
    assert dataset.report["items"]["ignored_columns"] == ["weight"]


def test_movielens_genres_and_latin_1(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t1\t3\t978300760\n1\t2\t3\t978300761\n")
    row = "1|Café (1995)|01-Jan-1995||http://x|" + "|".join("0110000000000000000") + "\n"
    (tmp_path / "u.item").write_bytes((row + row.replace("1|Caf", "2|Caf", 1)).encode("latin-1"))
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n")
    dataset = load(tmp_path)
    assert dataset.catalogue.texts[0] == "Café (1995), Action, Adventure"
    assert dataset.users.loc["1", "occupation"] == "technician"


def test_a_catalogue_taken_from_events_is_reported(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t1\t3\t978300760\n1\t2\t3\t978300761\n")
    dataset = load(tmp_path)
    assert dataset.report["items"]["taken_from_events"] is True
    assert dataset.report["items"]["without_text"] == 2


def test_shops_as_folders_files_and_column_agree(tmp_path: Path) -> None:
    shop_rows = {"east": "a,1,2024-01-01\n", "west": "a,2,2024-01-02\nb,3,2024-01-03\n"}
    for shop, rows in shop_rows.items():
        write_own(tmp_path / "folders" / shop, rows)
    files = write_own(tmp_path / "files", "")
    (files / "interactions.csv").unlink()
    for shop, rows in shop_rows.items():
        (files / f"{shop}.csv").write_text("user_id,item_id,datetime\n" + rows)
    rows = "".join(
        f"{row},{shop}\n" for shop, rows in shop_rows.items() for row in rows.splitlines()
    )
    table = write_own(tmp_path / "table", rows, header="user_id,item_id,datetime,shop_id")
    expected = triples(load(tmp_path / "folders"))
    assert {(shop, user, item) for shop, user, item, _ in expected} == {
        ("east", "a", "1"),
        ("west", "a", "2"),
        ("west", "b", "3"),
    }
    assert triples(load(files)) == expected
    assert triples(load(table, shop_column="shop_id")) == expected


def test_shop_items_are_united_unless_the_top_has_them(tmp_path: Path) -> None:
    for shop, item in (("east", "1"), ("west", "9")):
        write_own(tmp_path / shop, f"a,{item},2024-01-01\n")
        (tmp_path / shop / "items.csv").write_text(f"item_id,title\n2,Ink {shop}\n{item},Own\n")
    dataset = load(tmp_path)
    assert list(dataset.catalogue.item_ids) == ["2", "1", "9"]
    assert dataset.catalogue.texts[0] == "Ink east"
    assert dataset.report["items"]["repeated_id"] == 1
    (tmp_path / "items.csv").write_text("item_id,title\n1,Pen\n9,Cap\n")
    assert list(load(tmp_path).catalogue.item_ids) == ["1", "9"]


def test_position_stands_for_time_only_when_there_are_no_dates(tmp_path: Path) -> None:
    header = "user_id,item_id,position"
    folder = write_own(tmp_path, "a,1,2\na,2,0\na,3,1\n", header=header)
    dataset = load(folder)
    assert dataset.time_unit == "order"
    assert list(dataset.shops[0].events.time) == [0, 1, 2]
    assert set(dataset.shops[0].events.session) == {-1}
    with pytest.raises(DataError, match=r"datetime.*--order-column"):
        load(folder, split="time")


BROKEN = {
    "ragged": ("a,1,2024-01-01\na,2\n", "row 3, column 2: found 2 cells, expected 3"),
    "long": ("a,1,2024-01-01,x\n", "row 2, column 3: found 4 cells, expected 3"),
    "word for a date": ("a,1,2024-01-01\na,2,soon\n", "row 3, column datetime: found 'soon'"),
    "line break in an id": ('"a\nx",1,2024-01-01\na,2,2024-01-02\n', "row 2, column user_id"),
    "open quote": ('a,"1,2024-01-01\na,2,2024-01-02\n', "row 2"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_cell_is_named(tmp_path: Path, case: str) -> None:
    rows, expected = BROKEN[case]
    with pytest.raises(DataError) as caught:
        load(write_own(tmp_path, rows))
    assert f"{tmp_path / 'interactions.csv'}: {expected}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_in_a_number_column_is_named(tmp_path: Path) -> None:
    header = "user_id,item_id,datetime,quantity"
    folder = write_own(tmp_path, "a,1,2024-01-01,1\na,2,2024-01-02,two\n", header=header)
    with pytest.raises(DataError, match=r"row 3, column quantity: found 'two', expected a number"):
        load(folder)


def test_an_unknown_event_type_is_named(tmp_path: Path) -> None:
    header = "user_id,item_id,datetime,event_type"
    folder = write_own(tmp_path, "a,1,2024-01-01,VIEW\na,2,2024-01-02,gaze\n", header=header)
    with pytest.raises(DataError, match=r"row 3, column event_type: found 'gaze'.*purchase, view"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"user_id,item_id,datetime\na,1,2024-01-01\n\xe9,2,2024-01-01\n", "row 3, column user_id"),
        (b"user_id,\xe9\n", "row 1: the bytes are not UTF-8"),
        ("user_id,item_id,datetime\n".encode("utf-16"), "0 of 0 events are left"),
        (b"", "row 1: the file is empty"),
        (b"\n \n", "row 1: the file is empty"),
        (b"user_id,user_id,item_id\n", "row 1, column user_id: the name stands 2 times"),
        (b"user_id,item_id,datetime\n", "0 of 0 events are left"),
    ],
)
def test_unreadable_bytes_are_named(tmp_path: Path, content: bytes, expected: str) -> None:
    write_own(tmp_path, "")
    (tmp_path / "interactions.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert expected in str(caught.value)
    assert str(tmp_path / "interactions.csv") in str(caught.value)


def test_byte_order_mark_blank_lines_and_carriage_returns_do_no_harm(tmp_path: Path) -> None:
    write_own(tmp_path, "")
    content = b"\xef\xbb\xbfuser_id,item_id,datetime\r\na,1,2024-01-01\r\n\r\na,2,2024-01-02"
    (tmp_path / "interactions.csv").write_bytes(content)
    assert load(tmp_path).report["rows_kept"] == 2


def test_missing_columns_name_found_expected_and_the_option(tmp_path: Path) -> None:
    folder = write_own(tmp_path, "a,1,3\n", header="user,item_id,rank")
    with pytest.raises(DataError) as caught:
        load(folder)
    for part in ("user_id, datetime are missing", "found user, item_id, rank", "--order-column"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="branch"):
        load(write_own(tmp_path, "a,1,2024-01-01\n"), shop_column="branch")


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    write_own(tmp_path, "")
    (tmp_path / "interactions.csv").unlink()
    (tmp_path / "interactions.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"interactions.parquet: not a readable Parquet file"):
        load(tmp_path)


def test_recbole_headers_need_types(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id\titem_id:token\na\t1\n")
    with pytest.raises(DataError, match=r"row 1, column user_id: expected name:type"):
        load(tmp_path)


def test_the_own_layout_needs_items(tmp_path: Path) -> None:
    write_own(tmp_path / "one", "a,1,2024-01-01\n")
    for folder in (tmp_path / "one", tmp_path):
        assert load(folder).report["rows_kept"] == 1
    (tmp_path / "one" / "items.csv").unlink()
    for folder in (tmp_path / "one", tmp_path):
        with pytest.raises(DataError, match=r"found no items.csv or items.parquet"):
            load(folder)


def test_a_source_that_is_not_there_or_not_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"found notes.txt; expected interactions.csv"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="shops='r7' is not known"):
        load(tmp_path, shops="r7")


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["1704067200", "1704153600"], [19_723, 19_724]),
        (["1704067200000", ""], [19_723, np.nan]),
        (["0", "1704153600"], [0, 19_724]),
        (["1.7040672e9", "1704153600.0"], [19_723, 19_724]),
        (["20240101", "20240102"], [19_723, 19_724]),
        (["2024-01-01", "2024-01-01T18:00:00+06:00"], [19_723, 19_723.5]),
        (["2024-01-01 06:00", "2024-01-01T06:00:00.5Z"], [19_723.25, 19_723.25 + 0.5 / 86_400]),
        (["2024-02-30", "2024-13-01"], [np.nan, np.nan]),
    ],
)
def test_dates_are_read_as_days(cells: list[str], days: list[float]) -> None:
    table = RawTable(Path("x.csv"), pd.DataFrame({"datetime": cells}, dtype="str"), 2)
    np.testing.assert_allclose(table.days("datetime"), days, rtol=0, atol=1e-9)
    typed = RawTable(
        Path("x"), pd.DataFrame({"datetime": pd.to_numeric(pd.Series(cells), errors="coerce")}), 1
    )
    if typed.frame["datetime"].max() > 1e9:
        np.testing.assert_allclose(typed.days("datetime"), days, rtol=0, atol=1e-9)
