"""What a simulated shop may learn from: all but the test, or all before the validation window."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from server.federation.public_plan import make_plan, mechanisms_of
from shared.interactions.events import Events
from shared.interactions.persons import by_person
from shared.interactions.splits import Windows, split_shop
from shared.releases.item_counts import grid_user_counts
from shared.releases.pair_sums import grid_pair_sums
from shared.settings.run_settings import DataSettings, ModelSettings, PrivacySettings, RunSettings
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import Prepared, prepare
from simulation.runs.run_folder import StoredShops, store_shops
from tests.simulation.tiny_shops import N_ITEMS, write_tiny_shops

ORDER = Windows("leave-last-out", None, None, None)
TIME = Windows("time", 5.0, 6.0, 7.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("stored")
    data = write_tiny_shops(folder / "data", users=4)
    settings = RunSettings(
        data=DataSettings(source=str(data), split="leave-last-out", shop_column="shop_id"),
        model=ModelSettings(encoder=str(folder / "encoder"), dim=6, rank=4, alpha=4),
        privacy=PrivacySettings(epsilon=None),
    )
    with Progress(quiet=True) as progress:
        return prepare(settings, folder=folder / "state", progress=progress)


@pytest.mark.parametrize(("windows", "learned"), [(ORDER, "known"), (TIME, "fit")])
def test_pairs_hold_the_validation_window_the_rest_in_order_data_and_nothing_the_test(
    prepared: Prepared, tmp_path: Path, windows: Windows, learned: str
) -> None:
    settings, dataset = prepared.settings, prepared.dataset
    vectors = prepared.item_vectors
    store_shops(
        tmp_path,
        dataset,
        windows,
        item_vectors=vectors,
        base=prepared.base,
        settings=settings.model,
    )
    plan = make_plan(settings, mechanisms_of(settings), n_shops=3, n_trained=1, base_hash="0" * 64)
    head = np.arange(N_ITEMS)
    for number, shop in enumerate(dataset.shops):
        split = split_shop(shop, windows)
        assert min(map(len, (split.fit, split.validation, split.test))) > 0
        assert len(split.known) == len(split.fit) + len(split.validation)
        node = StoredShops(tmp_path).open({"partition-id": number})
        expected = getattr(split, learned)
        pairs = node.pair_sums(plan=plan, head=head)
        np.testing.assert_array_equal(pairs, grid_pair_sums(split.known, head))
        counts = node.item_counts(plan=plan)
        np.testing.assert_array_equal(counts, grid_user_counts(expected, N_ITEMS))
        assert node.all_events is not None
        for column in fields(Events):
            for stored, held in ((node.events, expected), (node.all_events, split.known)):
                found, asked = getattr(stored, column.name), getattr(held, column.name)
                np.testing.assert_array_equal(found, asked)
                assert found.dtype == asked.dtype


def test_what_leaves_a_simulated_shop_goes_by_person(prepared: Prepared, tmp_path: Path) -> None:
    dataset, windows = prepared.dataset, prepared.windows
    shop = dataset.shops[0]
    persons = (np.arange(shop.n_users) // 2).astype(np.int32)
    store_shops(
        tmp_path,
        replace(dataset, shops=(replace(shop, persons=persons),)),
        windows,
        item_vectors=prepared.item_vectors,
        base=prepared.base,
        settings=prepared.settings.model,
    )
    node = StoredShops(tmp_path).open({"partition-id": 0})
    split = split_shop(shop, windows)
    assert node.n_users == (shop.n_users + 1) // 2
    for stored, by_id in ((node.events, split.known), (node.all_events, split.known)):
        assert stored is not None
        expected = by_person(by_id, persons)
        for column in fields(Events):
            np.testing.assert_array_equal(
                getattr(stored, column.name), getattr(expected, column.name)
            )
