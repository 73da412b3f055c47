"""How ids of users, items, shops and visits are spelled: one rule for files and for HTTP.

An id is text. Programs that know numbers alone write the id 17 as 17.0 where a column has gaps, and
each database has its own word for an empty cell; both are undone here, cell by cell, so that no row
decides how another is read.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute

MISSING_WORDS = frozenset(
    {
        "", "nan", "NaN", "-nan", "-NaN", "NaT", "null", "NULL", "None", "\\N", "<NA>", "<null>",
        "<NULL>", "(null)", "(NULL)", "[null]", "[NULL]", "#N/A", "#NA", "N/A", "n/a", "undefined",
    }
)  # fmt: skip
"""Texts of an empty cell: of pandas, Hive, MySQL, PostgreSQL, Oracle, Excel and JavaScript.

`NA` is not among them: it is a country, and an id that people give.
"""

MAX_ID = 200
"""Characters of an id at most."""

EXPECTED_ID = f"an id of at most {MAX_ID} characters on one line, not a rounded number"
"""What an id must be, in words."""

_WHOLE = r"^(0|-?[1-9]\d*)\.0+$"
_ROUNDED = r"^-?\d+(\.\d+)?[eE]\+\d+$"
_LARGEST_WHOLE = 2**53


def is_missing(values: pd.Series[str]) -> npt.NDArray[np.bool_]:
    """Marks cells that are empty or say so, `(n,)`."""
    cells = _arrow(values)
    words = pa.array(sorted(MISSING_WORDS), cells.type)
    missing: npt.NDArray[np.bool_] = pa.compute.is_in(cells, value_set=words).to_numpy(
        zero_copy_only=False
    )
    return missing


def normal_ids(values: pd.Series[str]) -> tuple[pd.Series[str], npt.NDArray[np.bool_]]:
    """Spells ids as all parts know them.

    Args:
        values: Trimmed text, `(n,)`.

    Returns:
        The ids, "" where one is missing, and a mask of the cells that can be no id: a control
        character or line feed in it, too long, or a number that a program has rounded (1.2E+15).
    """
    missing = is_missing(values)
    if missing.any():
        values = values.mask(missing, "")
    cells = _arrow(values)
    wrong = np.zeros(len(values), dtype=bool)
    sizes = pa.compute.max(pa.compute.binary_length(cells)).as_py() or 0
    if sizes > MAX_ID:
        wrong |= pa.compute.greater(pa.compute.utf8_length(cells), MAX_ID).to_numpy(
            zero_copy_only=False
        )
    letters = _letters(cells)
    if (letters < 0x20).any() or (letters == 0x7F).any():
        wrong |= _matches(cells, r"[\x00-\x1f\x7f]")
    if (letters == ord("+")).any():
        wrong |= _matches(cells, _ROUNDED)
    if (letters == ord(".")).any():
        whole = _matches(cells, _WHOLE)
        numbers = values[whole].str.replace(_WHOLE, r"\1", regex=True)
        wrong[whole] |= pd.to_numeric(numbers).abs().to_numpy() >= _LARGEST_WHOLE
        values = values.copy()
        values[whole] = numbers
    return values, wrong


def normal_id(text: str) -> str:
    """Spells one id as `normal_ids` does.

    Raises:
        ValueError: It stands for a missing id, or can be none.
    """
    text = text.strip()
    if text in MISSING_WORDS:
        raise ValueError(f"{text!r} stands for a missing id")
    whole = re.match(_WHOLE, text)
    rounded = abs(int(whole[1])) >= _LARGEST_WHOLE if whole else re.match(_ROUNDED, text)
    if rounded or len(text) > MAX_ID or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"found {text[:40]!r}, expected {EXPECTED_ID}")
    return whole[1] if whole else text


def optional_id(value: object) -> object:
    """Returns None for a word that stands for a missing id, and any other value as it is."""
    missing = isinstance(value, str) and value != "" and value.strip() in MISSING_WORDS
    return None if missing else value


def spelled_id(text: str) -> str:
    """Spells a number that is looked up; other texts stay, as older data may hold any."""
    whole = re.match(_WHOLE, text)
    return whole[1] if whole else text


def _arrow(values: pd.Series[str]) -> pa.Array:
    cells = pa.array(values, from_pandas=True)
    return cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells


def _letters(cells: pa.Array) -> npt.NDArray[np.uint8]:
    """Returns the bytes of all cells together: much faster to look through than cell by cell."""
    data = cells.buffers()[2]
    return np.zeros(0, np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)


def _matches(cells: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    matching: npt.NDArray[np.bool_] = pa.compute.match_substring_regex(cells, pattern).to_numpy(
        zero_copy_only=False
    )
    return matching
