"""The embedded data set gives the published protocol's owners, items and windows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shared.interactions.datasets.complete_journey import (
    NOT_AN_ITEM,
    UNKNOWN,
    _most_visited,
    build_products,
    readable,
)
from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import Dataset
from shared.interactions.splits import Windows, resolve_windows, split_shop
from shared.settings.run_settings import DataSettings


@pytest.fixture(scope="module")
def areas() -> Dataset:
    return load_dataset(DataSettings(), seed=1)


def test_areas_have_the_documented_sizes(areas: Dataset) -> None:
    sizes = sorted(shop.n_users for shop in areas.shops)
    assert (len(sizes), sizes[0], sizes[-1], sum(sizes)) == (19, 47, 311, 2312)
    assert areas.shops[0].shop_id == "r19-0"
    assert {shop.shop_id.split("-")[0] for shop in areas.shops} == {"r19"}


@pytest.mark.slow
@pytest.mark.parametrize(("shops", "owners"), [("r10", 10), ("store", 57)])
def test_other_owners_have_the_documented_numbers(shops: str, owners: int) -> None:
    assert len(load_dataset(DataSettings(shops=shops), seed=1).shops) == owners


@pytest.mark.slow
def test_a_thousand_virtual_shops_share_all_households() -> None:
    dataset = load_dataset(DataSettings(shops="virtual:1000"), seed=1)
    sizes = {shop.n_users for shop in dataset.shops}
    assert len(dataset.shops) == 1000
    assert sizes == {2, 3}
    assert "other_shop" not in dataset.report["dropped"]


def test_catalogue_is_public_and_scored_items_are_marked(areas: Dataset) -> None:
    assert len(areas.catalogue) == len(set(areas.catalogue.texts)) == 20_603
    assert all(areas.catalogue.texts)
    assert int(areas.scored.sum()) == 7_202
    assert areas.catalogue.item_ids[0] == "25671"
    expected = "frozen ice, ice - crushed/cubed, grocery, national brand, 22 lb"
    assert areas.catalogue.texts[0] == expected
    assert areas.catalogue.attributes.loc[0].to_dict() == {
        "category": "frozen ice",
        "type": "ice - crushed/cubed",
        "department": "grocery",
        "brand": "national brand",
        "size": "22 lb",
    }


def test_windows_are_the_published_weeks(areas: Dataset) -> None:
    windows = resolve_windows(DataSettings(), areas)
    assert windows == Windows("time", 17_441.0, 17_469.0, 17_497.0)
    weeks = DataSettings(validation_start="41", test_start="45", test_end="49")
    assert resolve_windows(weeks, areas) == windows
    dates = DataSettings(validation_start="2017-10-02", test_start="2017-10-30")
    assert resolve_windows(dates, areas) == windows


def test_every_household_has_ten_scored_items_to_learn_from(areas: Dataset) -> None:
    windows = resolve_windows(DataSettings(), areas)
    for shop in areas.shops:
        fit = split_shop(shop, windows).fit
        seen = pd.DataFrame({"user": fit.user, "item": fit.item})[areas.scored[fit.item]]
        assert seen.groupby("user")["item"].nunique().reindex(range(shop.n_users)).min() >= 10


def test_every_row_is_accounted_for(areas: Dataset) -> None:
    report = areas.report
    assert report["rows_read"] == 1_469_307
    assert report["rows_kept"] == sum(len(shop.events) for shop in areas.shops)
    assert report["rows_read"] == report["rows_kept"] + sum(report["dropped"].values())
    for shop in areas.shops:
        assert report["shops"][shop.shop_id]["rows_kept"] == len(shop.events)
    assert areas.users.loc["1", "age"] == "65+"


def test_prices_sessions_and_quantities_are_sane(areas: Dataset) -> None:
    for shop in areas.shops[:3]:
        events = shop.events
        assert events.quantity.min() >= 1
        assert events.price.min() >= 0
        assert np.median(events.price) < 10
        carts = pd.DataFrame({"user": events.user, "session": events.session})
        assert carts.groupby("session")["user"].nunique().max() == 1


def test_products_become_items_by_their_text() -> None:
    table = pd.DataFrame(
        {
            "product_id": [7, 3, 5, 9, 11],
            "department": ["GROCERY", "GROCERY", "GROCERY", "FUEL", "GROCERY"],
            "brand": ["Private"] * 5,
            "product_category": ["FRZN PEAS", "FROZEN PEAS", "TEA", "FUEL", None],
            "product_type": [None, None, "GREEN", "GAS", None],
            "package_size": ["1 LB", "1 LB", None, None, "1 LB"],
        }
    )
    products = build_products(table)
    assert list(products.catalogue.item_ids) == ["3", "5"]
    assert list(products.catalogue.texts) == [
        "frozen peas, grocery, store brand, 1 lb",
        "tea, green, grocery, store brand",
    ]
    asked = np.array([7, 3, 5, 9, 11, 8, 99])
    expected = [0, 0, 1, NOT_AN_ITEM, UNKNOWN, UNKNOWN, UNKNOWN]
    assert list(products.items(asked)) == expected


def test_abbreviations_are_written_out_as_whole_words() -> None:
    assert readable("PNT BTR/JELLY & BTRSCOTCH") == "peanut butter/jelly & btrscotch"


def test_most_visited_counts_baskets_and_breaks_ties_downwards() -> None:
    visits = pd.DataFrame(
        {
            "member": [0, 0, 0, 0, 1, 1],
            "r19": [5, 5, 5, 2, 9, 4],
            "basket": [1, 1, 1, 2, 3, 4],
        }
    )
    assert list(_most_visited(visits, "r19", 3)) == [2, 4, -1]
