"""Complete Journey's catalogue: an item is a distinct readable product text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.interactions.catalogue import join_texts
from shared.interactions.events import Catalogue

NOT_MERCHANDISE = (
    "FUEL",
    "COUPON",
    "CNTRL/STORE SUP",
    "MISCELLANEOUS",
    "CHARITABLE CONT",
    "PROD-WHS SALES",
)
"""Departments without goods: fuel, coupons, supplies, gift cards and key rings, donations."""

WORDS = {
    "frzn": "frozen", "frz": "frozen", "refrgratd": "refrigerated", "dnrs": "dinners",
    "chococlate": "chocolate", "sft": "soft", "drnk": "drink", "drnks": "drinks", "btr": "butter",
    "pnt": "peanut", "wtr": "water", "sndwch": "sandwich", "sald": "salad", "drsng": "dressing",
    "sprd": "spread", "fd": "food", "sply": "supply", "suppplies": "supplies", "dsh": "dish",
    "brkfst": "breakfast", "bkd": "baked", "hygn": "hygiene", "flvrd": "flavored",
    "btl": "bottle", "pk": "pack", "mxs": "mixes", "cleang": "cleaning", "gds": "goods",
}  # fmt: skip
"""Abbreviations with one sure meaning; the others stay."""

UNKNOWN, NOT_AN_ITEM = -1, -2
"""Item codes of a product that the table lacks or has no words for, and of what is not goods."""

_COLUMNS = {
    "product_category": "category",
    "product_type": "type",
    "department": "department",
    "brand": "brand",
    "package_size": "size",
}
_BRANDS = {"National": "national brand", "Private": "store brand"}


@dataclass(frozen=True, eq=False)
class Products:
    """The public table of products and the items that they are.

    Attributes:
        catalogue: Items in the order of their smallest product id, which is also their id.
        counts: For the data report.
        product_ids: All products, ascending, `(n_products,)`.
        item_of: Item code of each product, or `UNKNOWN` or `NOT_AN_ITEM`, `(n_products,)`.
    """

    catalogue: Catalogue
    counts: dict[str, Any]
    product_ids: npt.NDArray[np.int64]
    item_of: npt.NDArray[np.int32]

    def items(self, product_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Returns the item codes of products, `(n,)`."""
        position = np.searchsorted(self.product_ids, product_ids)
        found = np.append(self.product_ids, -1)[position] == product_ids
        codes: npt.NDArray[np.int32] = np.append(self.item_of, UNKNOWN)[position]
        return np.where(found, codes, UNKNOWN).astype(np.int32)


def build_products(table: pd.DataFrame) -> Products:
    """Groups products into items by their text, whether or not anybody bought them.

    Args:
        table: The products table, in any order.
    """
    table = table.sort_values("product_id", ignore_index=True)
    merchandise = ~table["department"].isin(NOT_MERCHANDISE)
    worded = table["product_category"].notna() | table["product_type"].notna()
    goods = table[merchandise & worded]
    words = goods[list(_COLUMNS)].assign(brand=goods["brand"].map(_BRANDS))
    group, items = _distinct(words.rename(columns=_COLUMNS))
    texts, truncated = join_texts(items)
    merged, unique_texts = pd.factorize(np.array(texts, dtype=object))
    group = merged[group]
    item_of = np.where(merchandise, UNKNOWN, NOT_AN_ITEM).astype(np.int32)
    item_of[goods.index] = group
    item_ids = goods["product_id"].to_numpy()[~pd.Series(group).duplicated().to_numpy()]
    attributes = items[~pd.Series(merged).duplicated()].reset_index(drop=True)
    catalogue = Catalogue(item_ids.astype(str).astype(object), list(unique_texts), attributes)
    counts = {
        "read": len(table),
        "kept": len(catalogue),
        "not_merchandise": int((~merchandise).sum()),
        "without_text": int((merchandise & ~worded).sum()),
        "merged_by_text": len(goods) - len(catalogue),
        "truncated_text": truncated,
        "text_columns": list(_COLUMNS.values()),
    }
    return Products(catalogue, counts, table["product_id"].to_numpy(), item_of)


def readable(text: str) -> str:
    """Returns a text in lower case with the sure abbreviations written out."""
    return re.sub(r"[a-z]+", lambda word: WORDS.get(word[0], word[0]), text.lower())


def _distinct(words: pd.DataFrame) -> tuple[npt.NDArray[np.int64], pd.DataFrame]:
    """Returns the code of each row's readable words, and the distinct rows in order."""
    coded = {}
    group = np.zeros(len(words), dtype=np.int64)
    for column in words.columns:
        codes, unique = pd.factorize(words[column])
        merged, texts = pd.factorize(np.array([*map(readable, unique), ""], dtype=object))
        coded[column] = texts[merged[codes]]
        group = group * len(texts) + merged[codes]
    codes = pd.factorize(group)[0]
    first = ~pd.Series(codes).duplicated().to_numpy()
    return codes, pd.DataFrame({name: texts[first] for name, texts in coded.items()})
