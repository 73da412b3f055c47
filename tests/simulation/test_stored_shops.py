"""What a simulated shop may learn from: all but the test, or all before the validation window."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from tiny_shops import N_ITEMS, write_tiny_shops

from client.shop_node import user_counts
from server.planning import make_plan, mechanisms_of
from shared.config import DataSettings, ModelSettings, PrivacySettings, RunSettings
from shared.interactions.events import Events
from shared.interactions.splits import Windows, split_shop
from shared.releases.pairs import pair_sums
from simulation.preparation import Prepared, prepare
from simulation.report.progress import Progress
from simulation.stored_shops import StoredShops, store_shops

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
    plan = make_plan(settings, mechanisms_of(settings), n_shops=3, n_trained=1, base_hash="")
    head = np.arange(N_ITEMS)
    for number, shop in enumerate(dataset.shops):
        split = split_shop(shop, windows)
        assert min(map(len, (split.fit, split.validation, split.test))) > 0
        assert len(split.known) == len(split.fit) + len(split.validation)
        node = StoredShops(tmp_path).open({"partition-id": number})
        expected = getattr(split, learned)
        pairs = node.pairs(plan=plan, head=head)
        np.testing.assert_allclose(pairs, pair_sums(split.known, head), atol=1e-6)
        counts = node.counts(plan=plan)
        np.testing.assert_allclose(counts, user_counts(expected, N_ITEMS), atol=1e-6)
        assert node.known is not None
        for column in fields(Events):
            for stored, held in ((node.events, expected), (node.known, split.known)):
                found, asked = getattr(stored, column.name), getattr(held, column.name)
                np.testing.assert_array_equal(found, asked)
                assert found.dtype == asked.dtype
