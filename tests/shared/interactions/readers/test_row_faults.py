"""A row that cannot be used is dropped, and no row changes how another user's is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DataError
from shared.interactions.datasets.cleaning import CleanedSource, clean
from shared.interactions.readers.detect import read_tables
from shared.interactions.readers.row_faults import MAX_LINE
from shared.settings.run_settings import DataSettings

ITEMS = pd.DataFrame({"item_id": ["7", "8", "9007199254740993"], "text": ["a", "b", "c"]})
HEADER = b"user_id,item_id,datetime,event_type,weight,quantity,price,session_id\n"
OTHERS = [
    b'ann,7,2024-05-31T18:00,purchase,1,,2.5,"v,1"\n',
    b"bob,8,2024-06-01,view,,2,,v2\n",
    b"ann,8,1717200000,cart,2,1,1,v1\r\n",
    b"bob,7,1717200000000,,,,,\n",
    b'eve,8,2024-06-02,"purchase",1,1,1,"say ""hi"""\n',
]
NASTY = [
    b'mal,7,2024-05-31,purchase,1,1,1,"open',
    b'mal"x,"7,2024-05-31,purchase,1,1,1,v',
    b'"mal,7,2024-05-31,purchase,1,1,1,v',
    b"mal,7,2024-05-31",
    b"mal,7,2024-05-31,purchase,1,1,1,v,9,9",
    b"mal,7,yesterday,purchase,1,1,1,v",
    b"mal,7,2024-05-31,stole,1,1,1,v",
    b"mal,7,2024-05-31,purchase,much,many,dear,v",
    b"mal,7,2024-05-31,purchase,1e999,1e999,-1e999,v",
    b"mal,7,999999999999999999999999999,purchase,1,1,1,v",
    b"mal,7,-1e+308,purchase,1,1,1,v",
    b"m\xff\xfe,7,2024-05-31,purchase,1,1,1,v",
    b"mal\x00,7,2024-05-31,purchase,1,1,1,v",
    b"mal\r7,2024-05-31,purchase,1,1,1,v",
    b"mal,7.5,2024-05-31,purchase,1,1,1,v",
    b"mal" + b"x" * MAX_LINE + b",7,2024-05-31,purchase,1,1,1,v",
    b",,,,,,,",
    b"\xef\xbb\xbf",
    b"nan,nan,nan,nan,nan,nan,nan,nan",
    "ma\u202el\U0001f4a3,7,2024-05-31,purchase,1,1,1,v".encode(),
]


def read(path: Path, **fields: Any) -> CleanedSource:
    asked = DataSettings(source=str(path), malformed_rows="drop", **fields)
    tables = replace(read_tables(path, asked, needs_items=False), items=ITEMS)
    return clean(tables, name="shop", by_shop=False, may_be_empty=True)


def rows_of(source: CleanedSource, users: set[str]) -> list[tuple[object, ...]]:
    """All that was read of some users, without codes that depend on who else is there."""
    events = source.events
    columns = (events.item, events.time, events.event_type, events.weight, events.quantity)
    prices = np.nan_to_num(events.price, nan=-1.0)
    return [
        (source.user_ids[user], *row)
        for user, *row in zip(events.user, *columns, prices, strict=True)
        if source.user_ids[user] in users
    ]


def expect_others_unmoved(folder: Path, name: str, without: bytes, content: bytes) -> CleanedSource:
    users, found = {"ann", "bob", "eve"}, []
    for case, written in (("without", without), ("with", content)):
        path = folder / case / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written)
        found.append(read(path.parent))
    assert rows_of(found[1], users) == rows_of(found[0], users)
    assert len(rows_of(found[0], users)) == 5
    counts = found[1].row_counts.totals()
    assert counts["rows_read"] == counts["rows_kept"] + sum(counts["dropped"].values())
    return found[1]


@pytest.mark.parametrize("line", NASTY)
@pytest.mark.parametrize("place", [0, 2, 5])
def test_one_users_row_moves_no_other_and_ends_nothing(
    tmp_path: Path, line: bytes, place: int
) -> None:
    lines = [*OTHERS[:place], line + b"\n", *OTHERS[place:]]
    content, without = HEADER + b"".join(lines), HEADER + b"".join(OTHERS)
    expect_others_unmoved(tmp_path, "interactions.csv", without, content)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from(NASTY)), max_size=4), st.data())
def test_no_bytes_of_one_user_move_another(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[bytes], data: st.DataObject
) -> None:
    lines = list(OTHERS)
    for line in garbage:
        # A byte string that is a good row of another user would be that user's own.
        if not any(name in line for name in (b"ann", b"bob", b"eve")):
            lines.insert(data.draw(st.integers(0, len(lines))), line + b"\n")
    folder = tmp_path_factory.mktemp("garbage")
    without, content = HEADER + b"".join(OTHERS), HEADER + b"".join(lines)
    expect_others_unmoved(folder, "interactions.csv", without, content)


def test_what_is_dropped_is_counted_and_a_strict_reader_names_it(tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_bytes(HEADER + b"".join(OTHERS) + NASTY[3] + b"\n" + NASTY[5] + b"\n")
    assert read(tmp_path).row_counts.totals()["dropped"] == {"malformed": 2}
    with pytest.raises(DataError, match="row 7"):
        read_tables(tmp_path, DataSettings(source=str(tmp_path)), needs_items=False)


def parquet(path: Path, columns: dict[str, pa.Array]) -> None:
    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path)


def broken_text() -> pa.Array:
    """A text column of two rows, of which the second is not UTF-8, as some writers leave it."""
    texts = pa.array([b"7", b"\xff"], pa.binary())
    return pa.Array.from_buffers(pa.string(), 2, texts.buffers())


TEXT = pa.array(["7", "8"])
DATES = pa.array(["2024-05-31", "2024-06-01"])


@pytest.mark.parametrize(
    "columns",
    [
        {"item_id": pa.array([7.0, 7.5]), "datetime": DATES},
        {"item_id": pa.array([9007199254740993, None], pa.int64()), "datetime": DATES},
        {"item_id": broken_text(), "datetime": DATES},
        {"item_id": TEXT, "datetime": pa.array([19_874, 2**31 - 1], pa.int32()).cast(pa.date32())},
        {"item_id": TEXT, "datetime": pa.array([1_717_200_000, 2**62], pa.int64())},
        {"item_id": TEXT, "datetime": pa.array([1_717_200_000, None], pa.int64())},
        {"item_id": TEXT, "datetime": pa.array(["1717200000", "soon"])},
        {"item_id": TEXT, "datetime": DATES, "quantity": pa.array([None, 3.0])},
        {"item_id": TEXT, "datetime": DATES, "quantity": pa.array([None, "few"])},
    ],
)
def test_a_column_is_read_cell_by_cell(tmp_path: Path, columns: dict[str, pa.Array]) -> None:
    found = []
    for rows in (1, 2):
        table = {"user_id": pa.array(["ann", "mal"])[:rows]}
        table |= {name: cells[:rows] for name, cells in columns.items()}
        parquet(tmp_path / str(rows) / "interactions.parquet", table)
        found.append(rows_of(read(tmp_path / str(rows)), {"ann"}))
    assert found[1] == found[0]
    assert len(found[0]) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"[" * 100_000,
        b'{"user_id": "mal", "parent_asin": "7", "timestamp": "x"}',
        b'{"user_id": "mal", "parent_asin": "7", "timestamp": ' + b"9" * 5_000 + b"}",
        b'{"user_id": "mal", "parent_asin": "7", "timestamp": NaN}',
        b'{"user_id": null, "parent_asin": null, "timestamp": null}',
        b'{"user_id": {"a": 1}, "parent_asin": 7.5, "timestamp": true}',
        b'{"user_id": "\\ud800", "parent_asin": "7", "timestamp": 1717200000000}',
        b"\xff\xfe",
    ],
)
def test_a_line_of_json_moves_no_other(tmp_path: Path, line: bytes) -> None:
    good = [
        {"user_id": name, "parent_asin": "7", "timestamp": 1_717_200_000_000 + n}
        for n, name in enumerate(("ann", "bob", "eve", "ann", "bob"))
    ]
    lines = [json.dumps(record).encode() + b"\n" for record in good]
    content = b"".join([*lines[:2], line + b"\n", *lines[2:]])
    expect_others_unmoved(tmp_path, "reviews.jsonl", b"".join(lines), content)


def test_a_shop_without_users_is_read_as_one(tmp_path: Path) -> None:
    for name, content in (("interactions.csv", HEADER), ("u.data", b""), ("reviews.jsonl", b"")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(content)
        assert len(read(folder).events) == 0


def test_a_users_history_is_cut_to_its_latest_events(tmp_path: Path) -> None:
    rows = [f"{user},7,{n}\n" for user, m in (("ann", 3), ("mal", 9)) for n in range(m)]
    (tmp_path / "interactions.csv").write_text("user_id,item_id,position\n" + "".join(rows))
    cleaned = read(tmp_path, order_column="position")
    kept = cleaned.keep_latest(5)
    assert kept.events.time.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert kept.row_counts.totals()["dropped"] == {"beyond_latest": 4}
