"""`shops = "items:N"`: catalogues that share no item, packed evenly, and where users go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.errors import ConfigError
from shared.interactions.datasets.load import load_dataset
from shared.interactions.datasets.separate_catalogues import item_groups, pack_groups
from shared.interactions.events import Catalogue, Dataset
from shared.releases.pair_sums import pair_sums
from shared.settings.run_settings import DataSettings


def write(folder: Path, *, brands: list[str] | None = None, items: int = 60) -> Path:
    """Forty users with ten events each, half of them on a dozen items of the user's own."""
    rng = np.random.default_rng(1)
    rows = []
    for user in range(40):
        near = (user * 7 + np.arange(12)) % items
        bought = [*rng.choice(near, 5, replace=False), *rng.choice(items, 5, replace=False)]
        rows += [(f"u{user}", f"i{i}", place) for place, i in enumerate(bought)]
    folder.mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    table.to_csv(folder / "interactions.csv", index=False)
    catalogue = pd.DataFrame({"item_id": [f"i{i}" for i in range(items)], "title": "a thing"})
    if brands is not None:
        catalogue["brand"] = [brands[i % len(brands)] for i in range(items)]
    catalogue.to_csv(folder / "items.csv", index=False)
    return folder


def load(folder: Path, shops: str = "items:3", **changes: object) -> Dataset:
    given = {"source": str(folder), "split": "leave-last-out", "shops": shops, **changes}
    return load_dataset(DataSettings(**given), seed=1)  # type: ignore[arg-type]


def sold(data: Dataset) -> np.ndarray:
    """Masks of the catalogues, `(shops, items)`."""
    masks = [shop.sells for shop in data.shops]
    return np.stack([mask for mask in masks if mask is not None])


def test_no_two_shops_share_an_item_and_events_are_evenly_spread(tmp_path: Path) -> None:
    data = load(write(tmp_path / "data"))
    assert [shop.shop_id for shop in data.shops] == ["shop-0", "shop-1", "shop-2"]
    assert (sold(data).sum(axis=0) == 1).all()
    for shop in data.shops:
        assert shop.sells is not None
        assert shop.sells[shop.events.item].all()
    every = np.arange(len(data.catalogue))
    pairs = sum(pair_sums(shop.events, every) for shop in data.shops)
    left, right = np.triu_indices(len(every), k=1)
    home = sold(data).argmax(axis=0)
    assert pairs[home[left] != home[right]].max() == 0
    assert pairs.max() > 0
    assert not data.shops_share_items
    assert data.report["shops_share_items"] is False
    assert data.report["rows_read"] == data.report["rows_kept"] + sum(
        data.report["dropped"].values()
    )
    assert data.report["dropped"]["other_shop"] > 0


def test_a_user_goes_where_most_of_its_early_events_are(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    data = load(folder)
    rows = pd.read_csv(folder / "interactions.csv").sort_values(["user_id", "position"])
    early = rows.groupby("user_id").head(8)  # the last two are for validation and test
    home = dict(zip(data.catalogue.item_ids, sold(data).argmax(axis=0), strict=True))
    counts = pd.crosstab(early.user_id, early.item_id.map(home))
    for number, shop in enumerate(data.shops):
        for user in shop.user_ids:
            assert counts.loc[user, number] == counts.loc[user].max()
    assert sum(shop.n_users for shop in data.shops) == 40


def test_a_brand_stays_together_unless_it_is_too_large(tmp_path: Path) -> None:
    brands = ["Big", "big ", *(f"b{i}" for i in range(10))]
    data = load(write(tmp_path / "data", brands=brands), min_shop_users=1)
    home = sold(data).argmax(axis=0)
    of = np.array([brands[int(str(i)[1:]) % len(brands)] for i in data.catalogue.item_ids])
    for brand in brands[2:]:
        assert len(set(home[of == brand])) == 1
    ids = np.array([f"i{i}" for i in range(30)], dtype=object)
    table = pd.DataFrame({"brand": ["Big"] * 20 + ["a"] * 5 + [""] * 5})
    catalogue = Catalogue(ids, [""] * 30, table)
    groups = item_groups(catalogue, np.ones(30, dtype=np.int64), 3)
    assert len(set(groups[:20])) > 10
    assert len(set(groups[20:25])) == 1
    assert len(set(groups[25:])) > 1


def test_groups_by_hash_depend_on_the_item_id_alone() -> None:
    ids = np.array([f"i{i}" for i in range(50)], dtype=object)
    order = np.random.default_rng(0).permutation(50)
    one = item_groups(Catalogue(ids, [""] * 50), np.ones(50, dtype=np.int64), 2)
    two = item_groups(Catalogue(ids[order], [""] * 50), np.ones(50, dtype=np.int64), 2)
    assert (one[order] == two).all()


def test_the_largest_group_goes_into_the_emptiest_shop() -> None:
    groups, sizes = np.array([0, 0, 1, 2, 3, 4]), np.array([3, 3, 5, 4, 1, 0])
    shops = pack_groups(groups, sizes, 2)
    assert shops.tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("shops", ["items:0", "items:", "items:x", "item:3"])
def test_a_wrong_number_of_shops_is_refused(tmp_path: Path, shops: str) -> None:
    with pytest.raises(ConfigError, match="items:N with N"):
        load(write(tmp_path / "data"), shops)


def test_more_shops_than_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"items:5000 must be at most .* --shops"):
        load(write(tmp_path / "data"), "items:5000")
