"""Ids and times are spelled by one rule, in columns as one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shared.interactions.ids import MISSING_WORDS, normal_id, normal_ids, spelled_id
from shared.interactions.times import days_of_texts, moment

IDS = {
    "17": "17",
    "17.0": "17",
    "-3.00": "-3",
    "0.0": "0",
    "007": "007",
    "007.0": "007.0",
    "1.10": "1.10",
    "NA": "NA",
    "Zoë": "Zoë",
    "9007199254740993": "9007199254740993",
}
NO_IDS = ["1.2E+15", "9.007199254740992e+15", "9007199254740993.0", "a\nb", "a\x00", "x" * 201]


@pytest.mark.parametrize("text", [*IDS, *NO_IDS, *sorted(MISSING_WORDS)])
def test_an_id_reads_the_same_alone_and_in_a_column(text: str) -> None:
    ids, wrong = normal_ids(pd.Series(["a", text, "5.0"], dtype="str"))
    assert (ids[0], ids[2]) == ("a", "5")
    if text in IDS:
        assert ids[1] == normal_id(text) == IDS[text]
        assert not wrong.any()
        return
    with pytest.raises(ValueError, match=r"expected an id|missing id"):
        normal_id(text)
    assert ids[1] == "" if text in MISSING_WORDS else wrong[1]


def test_what_is_looked_up_may_be_a_word_of_older_data() -> None:
    assert [spelled_id(text) for text in ("17.0", "null", " x")] == ["17", "null", " x"]


NOON = 19_874.5
TIMES = {
    "2024-05-31T12:00": NOON,
    "2024-05-31 12:00:00 UTC": NOON,
    "2024-05-31 12:00:00 +0000 UTC": NOON,
    "2024-05-31 14:00:00 +0200 CEST": NOON,
    "2024-05-31T14:00:00+02:00[Europe/Paris]": NOON,
    "2024-05-31 14:00:00 Europe/Paris": NOON,
    "2024-05-31 12:00 PM": NOON,
    "2024-05-31 12:00:00 am": NOON - 0.5,
    "2024/05/31 12:00": NOON,
    "2024-05-31 12.00.00": NOON,
    "20240531": NOON - 0.5,
    "20240531T120000Z": NOON,
    "2024053112": NOON,
    "2024053112.0": NOON,
    "202405311200": NOON,
    "20240531120000": NOON,
    "1717156800": NOON,
    "1717156800.0": NOON,
    "1.7171568E9": NOON,
    "1717156800000": NOON,
    "1717156800000000": NOON,
    "1717156800000000000": NOON,
}
NO_TIMES = [
    *("2024", "2024-05", "45292", "45292.5", "202405", "17", "31/05/2024", "05/31/2024", "soon"),
    *("2024-05-31 12:00:00 EST", "2024-05-31 (Fri)", "2024-05-31 13:00 PM", "1.71716e+09"),
    *("2024-10-27 02:30:00 Europe/Paris", "2024-05-31 12:00 Mars/Base", "2024999999", "12:00"),
    "\u0662\u0660\u0662\u0664-05-31",
]


@pytest.mark.parametrize("text", [*TIMES, *NO_TIMES])
def test_a_time_reads_the_same_alone_and_in_a_column(text: str) -> None:
    column = pd.Series(["2024-05-31", text, "1717156800"], dtype="str")
    days, wrong = days_of_texts(column, np.zeros(3, dtype=bool))
    assert (days[0], days[2]) == (NOON - 0.5, NOON)
    if text in TIMES:
        assert days[1] == pytest.approx(TIMES[text], abs=1e-9)
        assert moment(text).timestamp() == pytest.approx(TIMES[text] * 86_400, abs=1e-3)
        assert not wrong.any()
        return
    assert list(wrong) == [False, True, False]
    with pytest.raises(ValueError, match="expected an ISO 8601 date"):
        moment(text)


def test_a_day_that_no_calendar_has_is_a_date_all_the_same() -> None:
    column = pd.Series(["2021-02-30", "20210230"], dtype="str")
    days, wrong = days_of_texts(column, np.zeros(2, dtype=bool))
    assert np.isnan(days).all()
    assert not wrong.any()
