"""The option that splits the budget."""

from __future__ import annotations

import pytest

from shared.commands.options import parse_budget
from shared.errors import ConfigError


def test_parts_that_are_not_named_get_nothing() -> None:
    assert parse_budget("counts=0.2, pairs=0.6 ,adapter=0.2") == {
        "privacy.counts_share": 0.2,
        "privacy.pairs_share": 0.6,
        "privacy.adapter_share": 0.2,
    }
    assert parse_budget("adapter=1") == {
        "privacy.counts_share": 0.0,
        "privacy.pairs_share": 0.0,
        "privacy.adapter_share": 1.0,
    }
    assert parse_budget(None) == {}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("pears=1", "part must be one of counts, pairs, adapter"),
        ("", "part must be one of"),
        ("counts=0.5,adapter=0.6", r"shares add up to 1\.1, must be 1"),
        ("counts=0.5,adapter=half", "adapter=half: share must be a number from 0 to 1"),
        ("counts=-1,adapter=2", "counts=-1: share must be"),
        ("counts=nan,adapter=1", "counts=nan: share must be"),
        ("counts", "counts=: share must be"),
        ("counts=0.5,counts=0.5", "counts is named twice"),
    ],
)
def test_a_split_that_is_none_is_one_clear_line(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as refused:
        parse_budget(text)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2
