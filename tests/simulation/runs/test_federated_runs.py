"""Whole federated runs, both Flower apps in this process, over real shops on disk."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from server.federation.federated_run import FederationResult
from shared.errors import ConfigError, ModelError, RunError
from shared.protocol.messages import Arrays
from simulation.runs.training import run_federation
from tests.simulation.runs.least_squares_shops import (
    OUT,
    RANK,
    A,
    B,
    LeastSquaresSource,
    make_adapter,
    make_federation,
    make_plan,
    received,
)
from tests.simulation.runs.scripted_shops import (
    SHOPS,
    ActingNode,
    assert_same_bits,
    federation_settings,
    give,
    naive,
    run,
)


def test_a_run_equals_a_plain_loop(source: LeastSquaresSource) -> None:
    result = run(make_federation(), source)
    expected = naive(source, make_plan(), list(range(SHOPS)))
    np.testing.assert_allclose(result.adapter[B], expected[B], atol=1e-6)
    np.testing.assert_array_equal(result.adapter[A], make_adapter()[A])
    assert [info.round for info in result.rounds] == [1, 2, 3, 4, 5, 6]
    assert all((i.asked, i.good, i.refused) == (5, 5, 0) for i in result.rounds)
    arrays_up = 6 * SHOPS * (OUT * RANK * 8 + 128)
    assert result.bytes_up == arrays_up
    assert result.bytes_down > arrays_up


@pytest.mark.parametrize("aggregation", ["frozen-a", "average", "fedsvd"])
@pytest.mark.parametrize("optimizer", ["none", "momentum", "adam"])
def test_every_aggregation_learns(
    source: LeastSquaresSource, aggregation: str, optimizer: str
) -> None:
    plan = make_plan(aggregation=aggregation, noise_multiplier=0.0, rounds=8)
    settings = federation_settings(
        aggregation=aggregation,
        server_optimizer=optimizer,
        server_learning_rate=0.1 if optimizer == "adam" else 1.0,
    )
    if (aggregation, optimizer) == ("fedsvd", "adam"):
        with pytest.raises(ConfigError, match="adam"):
            make_federation(plan=plan, settings=settings)
        return
    federation = make_federation(plan=plan, settings=settings)
    result = run(federation, source)
    nodes = [source.open({"partition-id": number}) for number in range(SHOPS)]
    before = sum(node.loss(federation.adapter) for node in nodes)
    assert sum(node.loss(result.adapter) for node in nodes) < 0.7 * before
    assert (result.adapter[A] == federation.adapter[A]).all() == (aggregation == "frozen-a")


def test_public_weights(source: LeastSquaresSource) -> None:
    weights = {"shop-0000": 1.0, "shop-0001": 0.25, "shop-0002": 0.25, "shop-0003": 0.5}
    plan = make_plan(rounds=1)
    result = run(make_federation(plan=plan, weights=weights), source)
    nodes = [source.open({"partition-id": number}) for number in range(4)]
    sent = [n.train(adapter=make_adapter(), plan=plan, round=1) for n in nodes]
    updates = [received(release, plan)[B] for release in sent]
    expected = (updates[0] + 0.25 * updates[1] + 0.25 * updates[2] + 0.5 * updates[3]) / 2
    np.testing.assert_allclose(result.adapter[B], expected, atol=1e-6)
    assert [(r.shop, r.code) for r in result.refusals] == [("shop-0004", "unknown-shop")]


def test_counts_are_summed_and_asked_once(source: LeastSquaresSource, tmp_path: Path) -> None:
    asked: list[int] = []
    plan = make_plan(counts_release=True, rounds=2)

    def stop(_info: object, _adapter: Arrays) -> None:
        raise KeyboardInterrupt

    def start(**changes: object) -> FederationResult:
        federation = make_federation(
            plan=plan,
            checkpoints=tmp_path,
            on_reply=lambda number, _done, _total: asked.append(number),
            **changes,
        )
        return run(federation, source)

    with pytest.raises(KeyboardInterrupt):
        start(on_round=stop)
    result = start(resume=True)
    nodes = [source.open({"partition-id": number}) for number in range(SHOPS)]
    assert result.counts is not None
    np.testing.assert_array_equal(result.counts, sum(node.items for node in nodes))
    assert asked == [0] * SHOPS + [1] * SHOPS + [2] * SHOPS


def test_threads_do_not_change_a_bit(source: LeastSquaresSource) -> None:
    assert_same_bits(run(make_federation(), source), run(make_federation(), source, workers=3))


@dataclass
class Census:
    """Counts the shops that are open at the same time."""

    source: LeastSquaresSource
    alive: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    most: int = 0

    def open(self, node_config):  # type: ignore[no-untyped-def]
        node = ActingNode(
            self.source.open({"partition-id": int(node_config["partition-id"]) % SHOPS}),
            give(lambda update: update),
        )
        node.shop_id = f"virtual-{node_config['partition-id']}"
        self.alive.add(node)
        self.most = max(self.most, len(self.alive))
        return node


def test_many_virtual_shops_are_open_one_at_a_time(source: LeastSquaresSource) -> None:
    census = Census(source)
    federation = make_federation(plan=make_plan(rounds=1))
    result = run_federation("in-process", federation, census, num_shops=300)
    assert result.rounds[0].good == 300
    assert census.most <= 2


def test_stop_ends_the_run_at_the_next_reply(source: LeastSquaresSource) -> None:
    federation = make_federation()
    federation.on_reply = lambda number, done, _total: (
        federation.stop.set() if (number, done) == (2, 3) else None
    )
    with pytest.raises(RunError, match="stopped"):
        run(federation, source)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"settings": federation_settings(min_replies=6)}, ConfigError, "min_replies=6"),
        ({"settings": federation_settings(aggregation="average")}, ConfigError, "aggregation"),
        ({"adapter": {B: make_adapter()[B]}}, ModelError, "pairs"),
        ({"adapter": {k: v.astype("f8") for k, v in make_adapter().items()}}, ConfigError, "f.*64"),
        ({"weights": {"shop-0000": 1.5}}, ConfigError, "1.5"),
        (
            {"weights": {"a": 1.0}, "settings": federation_settings(robust="krum")},
            ConfigError,
            "krum",
        ),
        ({"plan": make_plan(counts_release=True), "n_items": 0}, ConfigError, "n_items=0"),
    ],
)
def test_settings_that_do_not_fit(
    source: LeastSquaresSource,
    changes: dict[str, object],
    error: type[Exception],
    match: str,
) -> None:
    with pytest.raises(error, match=match):
        run(make_federation(**changes), source)  # type: ignore[arg-type]
