"""What a simulated shop may learn from: the adapter its fit events, the pairs all but the test."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from tiny_shops import N_ITEMS, write_tiny_shops

from client.shop_node import user_counts
from server.planning import make_plan, mechanisms_of
from shared.config import DataSettings, ModelSettings, PrivacySettings, RunSettings
from shared.interactions.events import Events
from shared.interactions.splits import split_shop
from shared.releases.pairs import pair_sums
from simulation.preparation import prepare
from simulation.report.progress import Progress


def test_pair_sums_hold_the_validation_window_and_nothing_holds_the_test(tmp_path: Path) -> None:
    data = write_tiny_shops(tmp_path / "data", users=4)
    settings = RunSettings(
        data=DataSettings(source=str(data), split="leave-last-out", shop_column="shop_id"),
        model=ModelSettings(encoder=str(tmp_path / "encoder"), dim=6, rank=4, alpha=4),
        privacy=PrivacySettings(epsilon=None),
    )
    with Progress(quiet=True) as progress:
        prepared = prepare(settings, folder=tmp_path / "state", progress=progress)
    plan = make_plan(
        prepared.settings, mechanisms_of(prepared.settings), n_shops=3, n_trained=1, base_hash=""
    )
    head = np.arange(N_ITEMS)
    for number, shop in enumerate(prepared.dataset.shops):
        split = split_shop(shop, prepared.windows)
        node = prepared.source.open({"partition-id": number})
        np.testing.assert_allclose(
            node.pairs(plan=plan, head=head), pair_sums(split.known, head), atol=1e-6
        )
        np.testing.assert_allclose(
            node.counts(plan=plan), user_counts(split.fit, N_ITEMS), atol=1e-6
        )
        assert node.known is not None
        for column in fields(Events):
            stored = getattr(node.events, column.name), getattr(node.known, column.name)
            expected = getattr(split.fit, column.name), getattr(split.known, column.name)
            np.testing.assert_array_equal(stored[0], expected[0])
            np.testing.assert_array_equal(stored[1], expected[1])
            assert stored[0].dtype == expected[0].dtype
        assert len(split.known) == len(split.fit) + len(split.validation)
        assert len(split.known) + len(split.test) == len(shop.events)
