"""What every reader promises: one suite, inherited by a class for each layout.

To add a reader, inherit from `ReaderSuite` and write its files: all tests then run on it.
"""

from __future__ import annotations

import gzip
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from shared.errors import DataError
from shared.interactions import readers
from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import EVENT_TYPES, Dataset
from shared.interactions.readers.detect import OWN_LAYOUT, read_tables
from shared.settings.run_settings import DataSettings


@dataclass(frozen=True)
class Line:
    """One event as it stands in a file."""

    user: str
    item: str
    stamp: int | str


LINES = (
    Line("a", "1", 978300760),
    Line("a", "2", 978302109),
    Line("b", "2", 978301968),
    Line("b", "3", 978300275),
)
TITLES = {"1": "Pen", "2": "Ink", "3": "Cap"}
BOM = b"\xef\xbb\xbf"


def load(source: Path, **settings: object) -> Dataset:
    values = {"split": "leave-last-out"} | settings
    return load_dataset(DataSettings(source=str(source), **values), seed=1)


def triples(dataset: Dataset) -> set[tuple[str, str, float]]:
    return {
        (shop.user_ids[user], dataset.catalogue.item_ids[item], round(time, 4))
        for shop in dataset.shops
        for user, item, time in zip(
            shop.events.user, shop.events.item, shop.events.time, strict=True
        )
    }


def expected(lines: tuple[Line, ...] = LINES) -> set[tuple[str, str, float]]:
    return {(line.user, line.item, round(int(line.stamp) / 86_400, 4)) for line in lines}


class ReaderSuite(ABC):
    """The contract of every layout."""

    layout: ClassVar[str]
    """Name in the report."""
    events_file: ClassVar[str]
    """Name of the file of events."""
    items_file: ClassVar[str]
    """Name of the catalogue's file."""
    columns: ClassVar[tuple[str, str, str]] = ("user_id", "item_id", "datetime")
    """Names of user, item and time in errors."""
    event_type: ClassVar[str]
    """What the events are."""
    needs_items: ClassVar[bool] = False
    """Whether a folder without a catalogue is refused."""
    empty_place: ClassVar[str] = "row 1"
    """How a file of no bytes is told, after its name."""
    first_row: ClassVar[int] = 1
    """Number of the first event's row in its file."""

    texts: ClassVar[tuple[str, ...]] = tuple(TITLES.values())
    """Texts of the items."""
    item_columns: ClassVar[frozenset[str]] = frozenset({"item_id", "title"})
    """Columns of the catalogue."""

    @abstractmethod
    def write_events(self, events: Path, lines: tuple[Line, ...]) -> None: ...

    @abstractmethod
    def write_items(self, items: Path) -> None: ...

    def write(self, folder: Path, lines: tuple[Line, ...] = LINES) -> Path:
        """Writes all files and returns the one of the events."""
        folder.mkdir(exist_ok=True)
        self.write_items(folder / self.items_file)
        self.write_events(folder / self.events_file, lines)
        return folder / self.events_file

    def assert_named(self, events: Path, place: str) -> str:
        """Loads what cannot be read: one line that begins with file and place."""
        with pytest.raises(DataError) as caught:
            load(events.parent)
        text = str(caught.value)
        assert text.startswith(f"{events}: {place}"), text
        assert "\n" not in text
        assert caught.value.remedy
        return text

    def test_the_same_events_and_items_come_out_of_every_layout(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        dataset = load(tmp_path)
        assert triples(dataset) == expected()
        assert [shop.shop_id for shop in dataset.shops] == [tmp_path.name]
        assert list(dataset.catalogue.item_ids) == list(TITLES)
        assert tuple(dataset.catalogue.texts) == self.texts
        kinds = {EVENT_TYPES[code] for code in dataset.shops[0].events.event_type}
        assert kinds == {self.event_type}
        assert dataset.time_unit == "days"

    def test_the_tables_have_the_columns_and_types_that_cleaning_reads(
        self, tmp_path: Path
    ) -> None:
        self.write(tmp_path)
        tables = read_tables(tmp_path, DataSettings(source=str(tmp_path)))
        assert {"user_id", "item_id", "time", "event_type"} <= set(tables.events)
        assert all(pd.api.types.is_string_dtype(tables.events[n]) for n in ("user_id", "item_id"))
        assert tables.events["time"].dtype == np.float64
        assert tables.events["event_type"].dtype == np.uint8
        assert tables.items is not None
        assert self.item_columns <= set(tables.items)

    def test_the_report_names_the_layout_and_all_files(self, tmp_path: Path) -> None:
        events = self.write(tmp_path)
        report = load(tmp_path).report
        assert report["layout"] == self.layout
        assert {Path(file).name for file in report["files"]} == {events.name, self.items_file}

    def test_a_file_may_be_named_instead_of_its_folder(self, tmp_path: Path) -> None:
        dataset = load(self.write(tmp_path))
        assert triples(dataset) == expected()
        assert [shop.shop_id for shop in dataset.shops] == [self.events_file.split(".")[0]]
        assert tuple(dataset.catalogue.texts) == self.texts

    def test_a_folder_of_such_folders_is_one_shop_each(self, tmp_path: Path) -> None:
        self.write(tmp_path / "east", LINES[:2])
        self.write(tmp_path / "west", LINES[2:])
        dataset = load(tmp_path)
        assert [shop.shop_id for shop in dataset.shops] == ["east", "west"]
        assert triples(dataset) == expected()

    def test_reading_writes_nothing_and_repeats(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        first, second = load(tmp_path), load(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        for mine, other in zip(first.shops, second.shops, strict=True):
            np.testing.assert_array_equal(mine.events.item, other.events.item)
            np.testing.assert_array_equal(mine.events.time, other.events.time)

    def test_the_order_of_lines_means_nothing(self, tmp_path: Path) -> None:
        self.write(tmp_path, LINES[::-1])
        assert triples(load(tmp_path)) == expected()

    def test_ids_stay_text(self, tmp_path: Path) -> None:
        lines = tuple(Line(user, "1", 978300760 + n) for n, user in enumerate(("007", "7", "Zoë")))
        self.write(tmp_path, lines)
        dataset = load(tmp_path)
        assert triples(dataset) == expected(lines)
        assert set(dataset.shops[0].user_ids) == {"007", "7", "Zoë"}

    def test_rows_that_are_no_events_are_dropped_and_counted(self, tmp_path: Path) -> None:
        dirt = (Line("", "1", 978300760), Line("a", "", 978300761), Line("b", "9", 978300762))
        self.write(tmp_path, (*LINES, *dirt, LINES[0]))
        dataset = load(tmp_path)
        assert triples(dataset) == expected()
        assert dataset.report["rows_read"] == 8
        assert dataset.report["rows_kept"] == 4
        dropped = dataset.report["dropped"]
        assert sum(dropped.values()) == 4
        assert {"unknown_item", "duplicate"} <= set(dropped)

    def test_a_word_for_a_date_is_named_with_row_and_column(self, tmp_path: Path) -> None:
        events = self.write(tmp_path, (*LINES, Line("b", "1", "soon")))
        row, column = self.first_row + len(LINES), self.columns[2]
        assert "expected" in self.assert_named(events, f"row {row}, column {column}: found 'soon'")

    def test_an_empty_file_is_named(self, tmp_path: Path) -> None:
        events = self.write(tmp_path)
        events.write_bytes(b"")
        self.assert_named(events, self.empty_place)

    def test_without_a_catalogue_it_is_taken_from_the_events_or_refused(
        self, tmp_path: Path
    ) -> None:
        self.write(tmp_path)
        (tmp_path / self.items_file).unlink()
        if self.needs_items:
            with pytest.raises(DataError, match="must not come from purchases"):
                load(tmp_path)
            return
        dataset = load(tmp_path)
        assert triples(dataset) == expected()
        assert dataset.report["items"]["taken_from_events"] is True

    def test_an_unreadable_catalogue_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / self.items_file).write_bytes(b"\xff\n")
        with pytest.raises(DataError, match=re.escape(str(tmp_path / self.items_file))):
            load(tmp_path)


class TextReaderSuite(ReaderSuite):
    """The contract of a layout that is text, one event a line."""

    header: ClassVar[str] = ""
    """First line, where there is one."""

    @abstractmethod
    def line(self, event: Line) -> str: ...

    @abstractmethod
    def items(self) -> str: ...

    def short_line(self) -> str:
        """A line that lacks cells."""
        return "a"

    def content(self, lines: tuple[Line, ...] = LINES) -> bytes:
        rows = [self.header] if self.header else []
        return "".join(f"{row}\n" for row in [*rows, *map(self.line, lines)]).encode()

    def pack(self, content: bytes) -> bytes:
        return content

    def write_events(self, events: Path, lines: tuple[Line, ...]) -> None:
        events.write_bytes(self.pack(self.content(lines)))

    def write_items(self, items: Path) -> None:
        items.write_text(self.items())

    def rewrite(self, folder: Path, content: bytes) -> Path:
        """Writes all files, with other content of the events."""
        events = self.write(folder)
        events.write_bytes(self.pack(content))
        return events

    def test_the_first_row_is_that_after_the_header(self) -> None:
        assert self.first_row == (2 if self.header else 1)

    def test_a_file_without_events_is_named(self, tmp_path: Path) -> None:
        if not self.header:
            self.assert_named(self.rewrite(tmp_path, b"\n \n"), "row 1")
            return
        events = self.rewrite(tmp_path, f"{self.header}\n".encode())
        with pytest.raises(DataError, match="0 of 0 events are left") as caught:
            load(tmp_path)
        assert str(events) in str(caught.value)

    def test_a_short_row_is_named(self, tmp_path: Path) -> None:
        events = self.rewrite(tmp_path, self.content() + f"{self.short_line()}\n".encode())
        self.assert_named(events, f"row {self.first_row + len(LINES)}, column 1: ")

    def test_bytes_that_are_not_utf_8_are_named_with_their_row(self, tmp_path: Path) -> None:
        line = self.line(Line("Zoë", "1", 978300763)).encode("latin-1")
        events = self.rewrite(tmp_path, self.content() + line + b"\n")
        assert "UTF-8" in self.assert_named(events, f"row {self.first_row + len(LINES)}")

    @pytest.mark.parametrize(
        "spell",
        [
            lambda content: BOM + content,
            lambda content: content.replace(b"\n", b"\r\n"),
            lambda content: content.rstrip(b"\n"),
            lambda content: content + b"\n\n",
        ],
        ids=["byte-order-mark", "carriage-returns", "no-last-line-feed", "blank-lines"],
    )
    def test_spellings_of_text_change_nothing(
        self, tmp_path: Path, spell: Callable[[bytes], bytes]
    ) -> None:
        self.rewrite(tmp_path, spell(self.content()))
        dataset = load(tmp_path)
        assert triples(dataset) == expected()
        assert dataset.report["rows_read"] == 4


class TestOwnCsv(TextReaderSuite):
    layout = "fedprofile"
    events_file = "interactions.csv"
    items_file = "items.csv"
    header = "user_id,item_id,datetime"
    first_row = 2
    event_type = "purchase"
    needs_items = True

    def line(self, event: Line) -> str:
        return f"{event.user},{event.item},{event.stamp}"

    def items(self) -> str:
        return "".join(f"{i},{t}\n" for i, t in {"item_id": "title", **TITLES}.items())


class TestOwnCsvWithIsoDates(TestOwnCsv):
    def line(self, event: Line) -> str:
        known = isinstance(event.stamp, int)
        moment = pd.to_datetime(event.stamp, unit="s").isoformat() if known else event.stamp
        return f"{event.user},{event.item},{moment}"


class TestOwnParquet(ReaderSuite):
    layout = "fedprofile"
    events_file = "interactions.parquet"
    items_file = "items.parquet"
    event_type = "purchase"
    needs_items = True
    empty_place = "not a readable Parquet file"

    def write_events(self, events: Path, lines: tuple[Line, ...]) -> None:
        rows = [(line.user, line.item, line.stamp) for line in lines]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "datetime"])
        if all(isinstance(line.stamp, int) for line in lines):
            frame["datetime"] = pd.to_datetime(frame["datetime"], unit="s")
        else:
            frame["datetime"] = frame["datetime"].astype("str")
        frame.to_parquet(events)

    def write_items(self, items: Path) -> None:
        frame = pd.DataFrame(TITLES.items(), columns=["item_id", "title"])
        frame.assign(item_id=frame["item_id"].astype(int)).to_parquet(items)


class TestRecBole(TextReaderSuite):
    layout = "recbole"
    events_file = "x.inter"
    items_file = "x.item"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    first_row = 2
    columns = ("user_id", "item_id", "timestamp")
    event_type = "rating"

    def line(self, event: Line) -> str:
        return f"{event.user}\t{event.item}\t5\t{event.stamp}"

    def items(self) -> str:
        header = "item_id:token\tmovie_title:token_seq\tweight_kg:float\n"
        return header + "".join(f"{i}\t{t}\t1.5\n" for i, t in TITLES.items())


class TestMovieLens100K(TextReaderSuite):
    layout = "movielens"
    events_file = "u.data"
    items_file = "u.item"
    event_type = "rating"

    def line(self, event: Line) -> str:
        return f"{event.user}\t{event.item}\t3\t{event.stamp}"

    def items(self) -> str:
        flags = "|".join(["0"] * 19)
        rows = [f"{i}|{t}|01-Jan-1995||http://x|{flags}\n" for i, t in TITLES.items()]
        return "".join(rows)


class TestMovieLens1M(TextReaderSuite):
    layout = "movielens"
    events_file = "ratings.dat"
    items_file = "movies.dat"
    event_type = "rating"

    def line(self, event: Line) -> str:
        return f"{event.user}::{event.item}::3::{event.stamp}"

    def items(self) -> str:
        return "".join(f"{i}::{t}::\n" for i, t in TITLES.items())


class TestMovieLens20M(TextReaderSuite):
    layout = "movielens"
    events_file = "ratings.csv"
    items_file = "movies.csv"
    header = "userId,movieId,rating,timestamp"
    first_row = 2
    columns = ("userId", "movieId", "timestamp")
    event_type = "rating"

    def line(self, event: Line) -> str:
        return f"{event.user},{event.item},3.5,{event.stamp}"

    def items(self) -> str:
        rows = "".join(f"{i},{t},\n" for i, t in TITLES.items())
        return f"movieId,title,genres\n{rows}"


class TestAmazon(TextReaderSuite):
    layout = "amazon-reviews"
    events_file = "Pens.jsonl"
    items_file = "meta_Pens.jsonl"
    columns = ("user_id", "parent_asin", "timestamp")
    event_type = "review"

    def line(self, event: Line) -> str:
        stamp = event.stamp * 1000 if isinstance(event.stamp, int) else event.stamp
        review = {
            "user_id": event.user,
            # Older files have the product's own number alone.
            **({"asin": event.item} if event == LINES[0] else {"parent_asin": event.item}),
            "timestamp": stamp,
            "rating": 5.0,
        }
        return json.dumps(review, ensure_ascii=False)

    def items(self) -> str:
        metas = [{"parent_asin": i, "title": t, "price": "from 3"} for i, t in TITLES.items()]
        return "".join(json.dumps(meta) + "\n" for meta in metas)

    def short_line(self) -> str:
        return '{"user_id": "a"'

    @pytest.mark.parametrize("line", [b"{broken", b"[1]", b"\xff\xff", b'{"timestamp": "soon"}'])
    def test_a_line_that_is_no_review_is_named(self, tmp_path: Path, line: bytes) -> None:
        self.assert_named(self.rewrite(tmp_path, self.content() + line + b"\n"), "row 5")


class TestAmazonGzip(TestAmazon):
    events_file = "Pens.jsonl.gz"

    def pack(self, content: bytes) -> bytes:
        return gzip.compress(content)

    def test_a_file_that_was_cut_is_named(self, tmp_path: Path) -> None:
        events = self.write(tmp_path)
        events.write_bytes(events.read_bytes()[:-20])
        with pytest.raises(DataError, match=r"Pens.jsonl.gz: row \d+: cannot be read"):
            load(tmp_path)


class TestHM(TextReaderSuite):
    layout = "h-and-m"
    events_file = "transactions_train.csv"
    items_file = "articles.csv"
    header = "t_dat,customer_id,article_id,price,sales_channel_id"
    first_row = 2
    columns = ("customer_id", "article_id", "t_dat")
    event_type = "purchase"

    def line(self, event: Line) -> str:
        return f"{event.stamp},{event.user},{event.item},0.05,2"

    def items(self) -> str:
        rows = "".join(f"{i},{t},22\n" for i, t in TITLES.items())
        return f"article_id,prod_name,perceived_colour_value_id\n{rows}"

    def test_an_empty_file_is_named(self, tmp_path: Path) -> None:
        # Its header is what tells the layout.
        self.write(tmp_path).write_bytes(b"")
        with pytest.raises(DataError, match=r"articles.csv|transactions_train.csv"):
            load(tmp_path)

    def test_equal_rows_are_pieces(self, tmp_path: Path) -> None:
        self.write(tmp_path, (*LINES, LINES[0], LINES[0]))
        quantities = load(tmp_path).shops[0].events.quantity
        assert sorted(quantities) == [1, 1, 1, 3]


class TestRetailRocket(TextReaderSuite):
    layout = "retailrocket"
    events_file = "events.csv"
    items_file = "item_properties_part1.csv"
    header = "timestamp,visitorid,event,itemid,transactionid"
    first_row = 2
    columns = ("visitorid", "itemid", "timestamp")
    event_type = "cart"
    texts = ("category 11", "category 12", "category 13")
    item_columns = frozenset({"item_id", "category"})

    def line(self, event: Line) -> str:
        return f"{event.stamp},{event.user},addtocart,{event.item},"

    def items(self) -> str:
        rows = "".join(
            f"1433041200000,{i},categoryid,1{i}\n1433041300000,{i},790,n277.200\n" for i in TITLES
        )
        return f"timestamp,itemid,property,value\n{rows}"

    def test_an_empty_file_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path).write_bytes(b"")
        with pytest.raises(DataError, match=r"properties|events.csv"):
            load(tmp_path)


class WithoutCatalogue(TextReaderSuite):
    """A layout whose items are those of its events."""

    items_file = "read.me"
    item_columns = frozenset({"item_id", "category"})

    def items(self) -> str:
        return "no table"

    def test_the_report_names_the_layout_and_all_files(self, tmp_path: Path) -> None:
        events = self.write(tmp_path)
        report = load(tmp_path).report
        assert report["layout"] == self.layout
        assert report["files"] == [str(events)]

    def test_ids_stay_text(self, tmp_path: Path) -> None:
        users = ("007", "7", "Zoë")
        lines = tuple(Line(user, str(n + 1), 978300760) for n, user in enumerate(users))
        self.write(tmp_path, lines)
        assert triples(load(tmp_path)) == expected(lines)

    def test_a_file_without_events_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path, ())
        with pytest.raises(DataError, match=r"0 items|row 1"):
            load(tmp_path)

    def test_rows_that_are_no_events_are_dropped_and_counted(self, tmp_path: Path) -> None:
        dirt = (Line("", "1", 978300760), Line("a", "", 978300761))
        self.write(tmp_path, (*LINES, *dirt, LINES[0]))
        dataset = load(tmp_path)
        assert triples(dataset) == expected()
        assert dataset.report["dropped"] == {"missing_id": 2, "duplicate": 1}

    def test_an_unreadable_catalogue_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        assert load(tmp_path).report["items"]["taken_from_events"] is True


class TestRees46(WithoutCatalogue):
    layout = "rees46"
    events_file = "2019-Oct.csv"
    header = (
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,session"
    )
    first_row = 2
    columns = ("user_id", "product_id", "event_time")
    event_type = "view"
    texts = ("office pen, acme", "office ink, acme", "office cap, acme")

    def line(self, event: Line) -> str:
        known = isinstance(event.stamp, int)
        time = pd.to_datetime(event.stamp, unit="s") if known else event.stamp
        code = {"1": "office.pen", "2": "office.ink", "3": "office.cap"}.get(event.item, "")
        zone = " UTC" if known else ""
        return f"{time}{zone},view,{event.item},205,{code},acme,9.50,{event.user},s"

    def test_an_empty_file_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path).write_bytes(b"")
        with pytest.raises(DataError, match=r"2019-Oct.csv: row 1"):
            load(tmp_path)

    def test_what_was_taken_out_of_a_cart_is_no_event(self, tmp_path: Path) -> None:
        events = self.write(tmp_path)
        line = self.line(LINES[0]).replace("view", "remove_from_cart")
        events.write_text(events.read_text() + line + "\n")
        dataset = load(tmp_path)
        assert triples(dataset) == expected()
        assert dataset.report["dropped"] == {"other_event": 1}


class TestYoochoose(WithoutCatalogue):
    layout = "yoochoose"
    events_file = "yoochoose-clicks.dat"
    columns = ("user_id", "item_id", "datetime")
    event_type = "view"
    texts = ("category 1", "category 2", "category 3")

    def line(self, event: Line) -> str:
        known = isinstance(event.stamp, int)
        time = pd.to_datetime(event.stamp, unit="s").isoformat() if known else event.stamp
        return f"{event.user},{time}{'Z' if known else ''},{event.item},{event.item}"

    def test_purchases_are_read_beside_the_clicks(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        buys = "a,2001-01-02T00:00:00Z,3,0,0\nb,2001-01-02T00:00:00Z,1,1250,2\n"
        (tmp_path / "yoochoose-buys.dat").write_text(buys)
        events = load(tmp_path).shops[0].events
        bought = events.event_type == EVENT_TYPES.index("purchase")
        assert sorted(events.quantity[bought]) == [1, 2]
        assert np.isnan(events.price[bought]).sum() == 1
        assert events.quantity[~bought].tolist() == [1] * 4


class TestInstacart:
    """Orders have numbers and no dates, and their products lie in files of their own."""

    layout = "instacart"

    def write(self, folder: Path) -> None:
        tables = {
            "orders": "order_id,user_id,eval_set,order_number\n"
            "7,a,prior,1\n8,a,train,2\n9,b,prior,1",
            "order_products__prior": "order_id,product_id,add_to_cart_order\n7,1,1\n7,2,2\n9,3,1",
            "order_products__train": "order_id,product_id,add_to_cart_order\n8,3,1\n5,3,1",
            "products": "product_id,product_name,aisle_id,department_id\n"
            "1,Pen,4,6\n2,Ink,4,6\n3,Cap,5,6",
            "aisles": "aisle_id,aisle\n4,desk\n5,wardrobe",
            "departments": "department_id,department\n6,office",
        }
        for name, rows in tables.items():
            (folder / f"{name}.csv").write_text(rows + "\n")

    def test_products_get_the_user_and_number_of_their_order(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        dataset = load(tmp_path)
        shop = dataset.shops[0]
        rows = zip(shop.events.user, shop.events.item, shop.events.time, strict=True)
        assert {(shop.user_ids[u], dataset.catalogue.item_ids[i], t) for u, i, t in rows} == {
            ("a", "1", 1),
            ("a", "2", 1),
            ("a", "3", 2),
            ("b", "3", 1),
        }
        assert dataset.time_unit == "order"
        assert dataset.catalogue.texts[0] == "Pen, desk, office"
        assert dataset.report["dropped"] == {"missing_id": 1}

    def test_products_without_orders_are_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / "orders.csv").unlink()
        with pytest.raises(DataError, match=r"expected orders.csv"):
            load(tmp_path)


def suites(base: type) -> set[type]:
    return {base, *(suite for child in base.__subclasses__() for suite in suites(child))}


def test_every_layout_has_a_class_here() -> None:
    modules = [path.read_text() for path in Path(readers.__path__[0]).rglob("*.py")]
    layouts = {name for text in modules for name in re.findall(r'layout="([\w-]+)"', text)}
    tested = {suite.layout for suite in suites(ReaderSuite) if hasattr(suite, "layout")}
    assert tested | {TestInstacart.layout} == {*layouts, OWN_LAYOUT}
