"""Other spellings of the same table read to the same events; what leaves doubt is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from shared.errors import DataError
from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import Dataset
from shared.settings.run_settings import DataSettings

TABLE = (
    "user_id,item_id,datetime,price,note\nZoë,1,2024-05-31,2.50,crème\n"
    "Müller,2,2024-06-01,3,brûlée\n"
)
EVENTS = {("Zoë", "1", 2.5), ("Müller", "2", 3.0)}


def load(source: Path, **settings: object) -> Dataset:
    values = {"split": "leave-last-out"} | settings
    return load_dataset(DataSettings(source=str(source), **values), seed=1)


def prices(dataset: Dataset) -> set[tuple[str, str, float]]:
    shop = dataset.shops[0]
    events = shop.events
    rows = zip(events.user, events.item, events.price, strict=True)
    return {
        (shop.user_ids[u], dataset.catalogue.item_ids[i], round(float(p), 2)) for u, i, p in rows
    }


def write(folder: Path, content: bytes, name: str = "interactions.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "items.csv").write_text("item_id,title\n1,Pen\n2,Ink\n")
    return folder


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(content)
    return sink.getvalue().to_pybytes()


def with_commas(table: str) -> str:
    return table.replace(",", ";").replace("2.50", "2,50")


SPELLINGS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "utf-8 with mark": (lambda text: text.encode("utf-8-sig"), ""),
    "utf-16": (lambda text: text.encode("utf-16"), "UTF-16"),
    "utf-16 without mark": (lambda text: text.encode("utf-16-le"), "UTF-16"),
    "windows-1252": (lambda text: text.encode("cp1252"), "Windows-1252"),
    "semicolons": (lambda text: with_commas(text).encode(), "separated by ';', decimal commas"),
    "sep line": (lambda text: b"sep=;\r\n" + with_commas(text).encode(), "separated by ';'"),
    "tabs": (lambda text: text.replace(",", "\t").encode(), "separated by tabs"),
    "carriage returns": (lambda text: text.replace("\n", "\r").encode(), ""),
    "columns without name": (lambda text: text.replace("\n", ",,\n").encode(), ""),
    "gzip": (lambda text: gzip.compress(text.encode()), ""),
    "zstd": (lambda text: zstd(text.encode()), ""),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_changes_nothing_and_is_told(tmp_path: Path, name: str) -> None:
    spell, taken = SPELLINGS[name]
    dataset = load(write(tmp_path, spell(TABLE)))
    assert prices(dataset) == EVENTS
    assert taken in "".join(dataset.report["read_as"])
    assert bool(taken) == bool(dataset.report["read_as"])


def test_chinese_is_read_as_gbk(tmp_path: Path) -> None:
    folder = write(tmp_path, b"user_id,item_id,datetime\na,1,2024-05-31\n")
    (folder / "items.csv").write_bytes("item_id,title\n1,绿茶水果\n2,白色女鞋\n".encode("gbk"))
    assert list(load(folder).catalogue.texts) == ["绿茶水果", "白色女鞋"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("чай,кофе", "cp1251"), ("čaj,žluťoučký", "cp1250"), ("녹차,우유", "euc-kr")],
)
def test_bytes_that_leave_doubt_are_refused(tmp_path: Path, text: str, encoding: str) -> None:
    first, second = text.split(",")
    table = f"user_id,item_id,datetime\n{first},1,2024-05-31\n{second},2,2024-05-31\n"
    with pytest.raises(DataError, match="row 2, column user_id: the bytes are not UTF-8"):
        load(write(tmp_path, table.encode(encoding)))


@pytest.mark.parametrize("price", ["1,250", "1.250,1", "12,5,1"])
def test_a_comma_that_may_be_a_thousand_is_refused(tmp_path: Path, price: str) -> None:
    table = with_commas(TABLE) + f"a;1;2024-05-31;{price};x\n"
    folder = write(tmp_path, table.encode())
    if price == "1.250,1":
        assert ("a", "1", 1250.1) in prices(load(folder))
        return
    with pytest.raises(DataError, match=f"row 4, column price: found '{price}', expected a number"):
        load(folder)


ROWS = [{"user_id": 2**53, "item_id": 1, "datetime": "2024-05-31"}]
ROWS += [{"user_id": 2**53 + 1, "item_id": 2, "datetime": "2024-06-01"}]
ROWS += [{"user_id": None, "item_id": 2, "datetime": "2024-06-01"}]


def test_large_ids_with_gaps_stay_apart_in_every_kind_of_file(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    write(tmp_path / "lines", lines.encode(), "interactions.jsonl")
    write(tmp_path / "array", json.dumps(ROWS).encode(), "interactions.json")
    table = pa.Table.from_pylist(ROWS)
    write(tmp_path / "parquet", b"", "interactions.parquet")
    pyarrow.parquet.write_table(table, tmp_path / "parquet" / "interactions.parquet")
    for folder in ("lines", "array", "parquet"):
        dataset = load(tmp_path / folder)
        assert list(dataset.shops[0].user_ids) == [str(2**53), str(2**53 + 1)]
        assert dataset.report["dropped"] == {"missing_id": 1}


@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_an_id_that_a_float_has_rounded_is_refused(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path, b"", "interactions.parquet")
    frame = pd.DataFrame(ROWS[:2]).astype({"user_id": kind})
    frame.to_parquet(folder / "interactions.parquet")
    with pytest.raises(DataError, match=r"row 1, column user_id: .* not a rounded number"):
        load(folder)


def test_an_index_of_pandas_and_odd_kinds_of_columns_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path, b"", "interactions.parquet")
    frame = pd.DataFrame(
        {
            "user_id": ["a", "b"],
            "item_id": pd.Categorical(["1", "2"]),
            "datetime": pd.to_datetime(["2024-05-31", "2024-06-01"]).date,
            "price": [2.5, 3.0],
        }
    ).set_index(["user_id", "item_id"])
    frame.to_parquet(folder / "interactions.parquet")
    items = pd.DataFrame({"item_id": [1, 2], "title": [["red", "pen"], ["ink"]]})
    (folder / "items.csv").unlink()
    items.to_parquet(folder / "items.parquet")
    dataset = load(folder)
    assert prices(dataset) == {("a", "1", 2.5), ("b", "2", 3.0)}
    assert list(dataset.catalogue.texts) == ["red, pen", "ink"]


def test_a_list_is_no_id(tmp_path: Path) -> None:
    rows = [{"user_id": ["a"], "item_id": 1, "datetime": "2024-05-31"}]
    write(tmp_path / "json", json.dumps(rows[0]).encode(), "interactions.jsonl")
    write(tmp_path / "parquet", b"", "interactions.parquet")
    pyarrow.parquet.write_table(
        pa.Table.from_pylist(rows), tmp_path / "parquet" / "interactions.parquet"
    )
    for folder in ("json", "parquet"):
        with pytest.raises(DataError, match=r"row 1, column user_id: found .*expected an id"):
            load(tmp_path / folder)


def test_half_of_a_letter_is_mended_in_a_title_and_refused_in_an_event(tmp_path: Path) -> None:
    reviews = '{"user_id": "a", "parent_asin": "P%d", "timestamp": 1717156800000}\n'
    (tmp_path / "Pens.jsonl").write_text(reviews % 1 + reviews % 2)
    meta = '{"parent_asin": "P1", "title": "pen \\ud83d"}\n{"parent_asin": "P2", "title": "ink"}\n'
    (tmp_path / "meta_Pens.jsonl").write_text(meta)
    assert list(load(tmp_path).catalogue.texts) == ["pen \ufffd", "ink"]
    (tmp_path / "Pens.jsonl").write_text(reviews % 1 + (reviews % 2).replace('"a"', '"a\\ud83d"'))
    with pytest.raises(DataError, match="row 2, column user_id: found half of a surrogate pair"):
        load(tmp_path)


def parts(folder: Path, names: tuple[str, ...], **columns: list[str]) -> None:
    for n, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame({"user_id": ["a", f"u{n}"], "item_id": ["1", "2"], **columns})
        frame.assign(datetime=f"2024-05-{n + 1:02d}").to_parquet(path)


@pytest.mark.parametrize(
    "names",
    [
        ("part-00000-c000.snappy.parquet", "part-00001-c000.snappy.parquet"),
        ("000000_0", "000001_0"),
        ("dt=2024-05-01/part-0.parquet", "dt=2024-05-02/part-0.parquet"),
        ("interactions/part-0.parquet", "interactions/part-1.parquet"),
        ("interactions.parquet/part-0.parquet", "interactions.parquet/part-1.parquet"),
        ("x-00000-of-00002.parquet", "x-00001-of-00002.parquet"),
    ],
)
def test_parts_are_one_table_and_one_shop(tmp_path: Path, names: tuple[str, ...]) -> None:
    write(tmp_path, b"", "_SUCCESS")
    parts(tmp_path, names)
    dataset = load(tmp_path)
    assert [list(shop.user_ids) for shop in dataset.shops] == [["a", "u0", "u1"]]
    assert dataset.report["rows_kept"] == 4


def test_a_folder_that_names_the_shop_is_one_where_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, b"", "_SUCCESS")
    parts(tmp_path, ("branch=east/part-0.parquet", "branch=west%20end/part-0.parquet"))
    assert len(load(tmp_path).shops) == 1
    dataset = load(tmp_path, shop_column="branch")
    assert [shop.shop_id for shop in dataset.shops] == ["east", "west end"]


def test_a_table_of_delta_is_refused(tmp_path: Path) -> None:
    write(tmp_path, b"", "_SUCCESS")
    parts(tmp_path, ("part-0.parquet",))
    (tmp_path / "_delta_log").mkdir()
    with pytest.raises(DataError, match="a table of Delta"):
        load(tmp_path)


def test_parts_of_recbole_share_their_items(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    for name, rows in {
        "train": "a\t1\t978300760\na\t2\t978300761\n",
        "test": "b\t2\t978300762\n",
    }.items():
        (tmp_path / f"shop.{name}.inter").write_text(header + rows)
    (tmp_path / "shop.item").write_text("item_id:token\ttitle:token_seq\n1\tpen\n2\tink\n")
    for source, events in ((tmp_path, 3), (tmp_path / "shop.train.inter", 2)):
        dataset = load(source)
        assert list(dataset.catalogue.texts) == ["pen", "ink"]
        assert dataset.report["rows_kept"] == events
    (tmp_path / "shop.inter").write_text(header)
    with pytest.raises(DataError, match=r"expected one .inter file or the parts of one data set"):
        load(tmp_path)


def test_movies_are_utf_8_or_latin_1(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::1::4::978300760\n1::2::4::978300761\n")
    for encoding in ("utf-8", "latin-1"):
        movies = "1::Café Lumière (2003)::Drama\n2::Größer (1999)::War\n"
        (tmp_path / "movies.dat").write_bytes(movies.encode(encoding))
        assert load(tmp_path).catalogue.texts[0] == "Café Lumière (2003), Drama"


def test_amazon_of_2018_is_read_packed(tmp_path: Path) -> None:
    review = {"reviewerID": "A1", "asin": "P1", "unixReviewTime": 1717156800, "overall": 5.0}
    lines = "".join(json.dumps(review | {"asin": f"P{n}"}) + "\n" for n in (1, 2))
    metas = "".join(
        json.dumps({"asin": f"P{n}", "title": f"Pen {n}", "price": "$1,234.50"}) + "\n"
        for n in (1, 2)
    )
    (tmp_path / "Pens_5.json.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "meta_Pens.json.gz").write_bytes(gzip.compress(metas.encode()))
    for source in (tmp_path, tmp_path / "Pens_5.json.gz"):
        dataset = load(source)
        assert list(dataset.catalogue.texts) == ["Pen 1", "Pen 2"]
        assert dataset.catalogue.attributes["price"].tolist() == [1234.5, 1234.5]
        assert dataset.report["rows_kept"] == 2
