"""Columns of an items table by their usual names, and cells that cannot be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared.interactions.catalogue import build_catalogue
from shared.interactions.item_columns import item_columns, names_of, web_address


def table(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype="str")


def test_usual_names_are_read() -> None:
    columns, unreadable = item_columns(
        table(
            Name=["Tea  green", ""],
            link=["https://s.example/1", "no address"],
            img=["https://s.example/1.jpg|https://s.example/2.jpg", "javascript:x"],
            categories=["drinks | tea", '["a", "b"]'],
            tags=["new, organic", ""],
            currency=["eur", "Euro"],
            quantity=["3", "500 g"],
            availability=["https://schema.org/OutOfStock", "in_stock"],
            valid_from=["2024-01-01", ""],
            valid_until=["2024-01-31", "2024-01-31T12:00"],
        )
    )
    values: dict[str, Any] = {name: column.tolist() for name, column in columns.items()}
    assert values["title"] == ["Tea green", ""]
    assert values["url"] == ["https://s.example/1", ""]
    assert values["image"] == ["https://s.example/1.jpg", ""]
    assert values["categories"] == [("drinks", "tea"), ("a", "b")]
    assert values["labels"] == [("new", "organic"), ()]
    assert values["currency"] == ["EUR", ""]
    assert values["in_stock"] == [False, True]
    np.testing.assert_equal(values["stock"], [3.0, np.nan])
    np.testing.assert_equal(values["valid_from"], [19723.0, np.nan])
    assert values["valid_to"] == [19754.0, 19753.5]  # a date alone counts to its end
    assert unreadable == {"url": 1, "image": 1, "currency": 1, "stock": 1}


@pytest.mark.parametrize(
    "wrong",
    ["ftp://a.example/", "//a.example", "http:///x", "https://a.example/\t", "data:image/png;x"],
)
def test_an_address_is_http_or_nothing(wrong: str) -> None:
    with pytest.raises(ValueError, match="http or https"):
        web_address(wrong + "x")
    assert web_address("  ") == ""


def test_names_are_different_and_bounded() -> None:
    assert names_of("a;b;a;") == ("a", "b")
    assert len(names_of(",".join(map(str, range(99))))) == 50


def test_links_dates_and_currency_are_no_text() -> None:
    items = table(
        item_id=["a", "b"],
        title=["tea", "soap"],
        image_link=["https://s.example/1.jpg"] * 2,
        currency=["EUR"] * 2,
        valid_from=["2024-01-01"] * 2,
        labels=["new", ""],
    )
    catalogue, counts = build_catalogue(items)
    assert catalogue.texts == ["tea, new", "soap"]
    assert counts["text_columns"] == ["title", "labels"]
    assert catalogue.attributes["currency"].tolist() == ["EUR", "EUR"]
