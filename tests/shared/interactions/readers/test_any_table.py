"""A table of pandas reads to the same events in every dialect, or is refused in one line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import DataError
from shared.interactions.readers.detect import read_tables
from shared.settings.run_settings import DataSettings

WORDS = st.one_of(
    st.sampled_from(
        [
            "u1",
            "17",
            "17.0",
            "null",
            "\\N",
            "Zoë",
            "茶",
            "a,b",
            'say "hi"',
            "a;b",
            "1e5",
            "",
            "x\ty",
        ]
    ),
    st.text(max_size=8),
)
IDS = st.one_of(WORDS, st.integers(-(2**62), 2**62), st.none(), st.floats(width=32))
TIMES = st.one_of(
    st.sampled_from(
        ["2024-05-31", "2024-05-31 10:00:00 UTC", 1717156800, 2024053110, "soon", 45292, None]
    ),
    st.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2090-01-01")),
    st.integers(-(2**40), 2**61),
)
NUMBERS = st.one_of(st.floats(), st.none(), st.sampled_from(["2,50", "1,250", "x", "1.234,5"]))
ROW = st.tuples(IDS, IDS, TIMES, NUMBERS)
MOST = 60
NAMES = ["user_id", "item_id", "datetime", "price"]


@st.composite
def dialects(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(["csv", "csv", "parquet", "jsonl", "json"]))
    if kind == "csv":
        return kind, {
            "sep": draw(st.sampled_from([",", ";", "\t", "|"])),
            "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "gbk"])),
            "lineterminator": draw(st.sampled_from(["\n", "\r\n", "\r"])),
            "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
            "na_rep": draw(st.sampled_from(["", "NULL", "\\N", "<NA>"])),
            "index": draw(st.booleans()),
            "compression": draw(st.sampled_from([None, "gzip"])),
        }
    if kind == "parquet":
        return kind, {"index": draw(st.booleans())}
    return kind, {"orient": "records", "lines": kind == "jsonl"}


def write(frame: pd.DataFrame, folder: Path, kind: str, options: dict[str, Any]) -> bool:
    path = folder / f"interactions.{kind}"
    try:
        if kind == "csv":
            frame.to_csv(path, errors="strict", **options)
        elif kind == "parquet":
            frame.to_parquet(path, **options)
        else:
            frame.to_json(path, date_format="iso", **options)
    except Exception:  # what pandas cannot write is no file of anybody's
        return False
    return True


def read(folder: Path, *, drop: bool) -> pd.DataFrame | str:
    rows = "drop" if drop else "refuse"
    asked = DataSettings(source=str(folder), split="leave-last-out", malformed_rows=rows)
    try:
        return read_tables(folder, asked, needs_items=False).events
    except DataError as error:
        told = str(error)
    assert "\n" not in told
    return told


@settings(
    max_examples=MOST, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROW, max_size=6), dialect=dialects())
def test_no_table_ends_in_a_trace(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[object, ...]],
    dialect: tuple[str, dict[str, Any]],
) -> None:
    folder = tmp_path_factory.mktemp("any")
    if write(pd.DataFrame(rows, columns=NAMES), folder, *dialect):
        for drop in (False, True):
            read(folder, drop=drop)


GOOD = st.tuples(
    st.one_of(st.integers(0, 2**62), st.none(), st.sampled_from([2**53, 2**53 + 1])),
    st.sampled_from(["1", "Zoë", "a,b", "a;b", 'say "hi"', "007", "NA", "x|y"]),
    st.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2090-01-01")),
    st.one_of(st.floats(0.5, 1000, width=16), st.none()),
)


@settings(
    max_examples=MOST, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(GOOD, min_size=1, max_size=6), dialect=dialects())
def test_a_good_table_reads_to_itself(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    dialect: tuple[str, dict[str, Any]],
) -> None:
    folder = tmp_path_factory.mktemp("good")
    frame = pd.DataFrame(rows, columns=NAMES)
    frame["user_id"] = pd.array([row[0] for row in rows], dtype="Int64")
    kind, options = dialect
    if not write(frame, folder, kind, options):
        return
    events = read(folder, drop=False)
    if isinstance(events, str):
        # A single letter above ASCII leaves doubt about an encoding of single bytes.
        assert options.get("encoding") in ("cp1252", "gbk"), events
        return
    assert events["user_id"].tolist() == ["" if row[0] is None else str(row[0]) for row in rows]
    assert events["item_id"].tolist() == [row[1] for row in rows]
    moments = (pd.Series([row[2] for row in rows]) - pd.Timestamp(0)) / pd.Timedelta(days=1)
    # JSON of pandas holds milliseconds.
    np.testing.assert_allclose(events["time"], moments, rtol=0, atol=2e-8)
    prices = [np.nan if row[3] is None else row[3] for row in rows]
    np.testing.assert_allclose(events["price"], prices, rtol=1e-6)
