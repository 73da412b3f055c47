"""Federated runs with shops that fail, lie or are slow: they are named, and the rest go on."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from server.federation.exchange import connected_nodes
from shared.errors import DataError, RunError
from shared.flower.simulation.in_process import InProcessGrid
from shared.protocol.messages import Arrays, Plan, Release
from tests.simulation.runs.least_squares_shops import (
    A,
    B,
    LeastSquaresNode,
    LeastSquaresSource,
    make_adapter,
    make_federation,
    make_plan,
)
from tests.simulation.runs.scripted_shops import (
    SHOPS,
    Acting,
    Behaviour,
    assert_same_bits,
    fail,
    federation_settings,
    give,
    naive,
    run,
)

BAD: dict[str, tuple[Behaviour, str]] = {
    "least": (give(lambda u: {B: np.full_like(u[B], -(2**63))}), "magnitude"),
    "frozen matrix too": (give(lambda u: {**u, A: np.zeros((3, 6), np.int64)}), "keys"),
    "shape": (give(lambda u: {B: u[B][:, :1]}), "shape"),
    "huge": (give(lambda u: {B: np.full_like(u[B], 2**62)}), "magnitude"),
    "crash": (fail(ValueError("bob's basket")), "internal"),
    "own refusal": (fail(DataError("bob's basket")), "data"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_shop_is_named_and_the_rest_go_on(source: LeastSquaresSource, kind: str) -> None:
    act, code = BAD[kind]
    result = run(make_federation(), Acting(source, {2: act}))
    expected = naive(source, make_plan(), [0, 1, 3, 4])
    np.testing.assert_allclose(result.adapter[B], expected[B], atol=1e-6)
    assert [(r.round, r.shop, r.code) for r in result.refusals] == [
        (number, "shop-0002", code) for number in range(1, 7)
    ]
    assert not any("bob" in refusal.remedy for refusal in result.refusals)
    assert all((info.good, info.refused) == (4, 1) for info in result.rounds)


def test_a_round_below_min_replies_fails_the_run(source: LeastSquaresSource) -> None:
    bad = Acting(source, dict.fromkeys(range(1, SHOPS), BAD["crash"][0]))
    with pytest.raises(RunError, match=r"round=1: good replies=1 .* min_replies=2.*shop-0001"):
        run(make_federation(), bad)


def test_a_round_that_aggregates_nothing_fails_the_run(source: LeastSquaresSource) -> None:
    for robust in ("none", "median"):
        settings = federation_settings(min_replies=1, robust=robust)
        bad = Acting(source, dict.fromkeys(range(SHOPS), BAD["least"][0]))
        with pytest.raises(RunError, match="good replies=0"):
            run(make_federation(settings=settings), bad)


def test_updates_are_clipped_to_the_bound(source: LeastSquaresSource) -> None:
    settings = federation_settings(max_update_norm=0.01, server_optimizer="none", average_last=0.1)
    loud = Acting(source, {0: give(lambda u: {B: 1000 * u[B]})})
    result = run(make_federation(settings=settings), loud)
    assert all(info.update_norm <= 0.01 * (1 + 1e-5) for info in result.rounds)
    assert np.linalg.norm(result.adapter[B]) <= 6 * 0.01 * (1 + 1e-5)


def test_robust_aggregation_withstands_a_hostile_shop(source: LeastSquaresSource) -> None:
    hostile = Acting(source, {4: give(lambda u: {B: -1000 * u[B]})})
    nodes = [source.open({"partition-id": number}) for number in range(4)]

    def loss(adapter: Arrays) -> float:
        return sum(node.loss(adapter) for node in nodes)

    for robust in ("median", "trimmed-mean", "krum"):
        federation = make_federation(settings=federation_settings(robust=robust))
        assert loss(run(federation, hostile).adapter) < 0.7 * loss(make_adapter())
    assert loss(run(make_federation(), hostile).adapter) > 10 * loss(make_adapter())


def test_a_round_with_too_few_good_updates_for_a_robust_method_fails(
    source: LeastSquaresSource,
) -> None:
    federation = make_federation(settings=federation_settings(robust="trimmed-mean"))
    bad = Acting(source, {4: BAD["crash"][0]})
    with pytest.raises(RunError, match=r"good replies=4 .* the least of robust=trimmed-mean=5"):
        run(federation, bad)


def test_one_name_counts_once(source: LeastSquaresSource) -> None:
    twins = Acting(source, name=lambda shop: "shop-0000" if shop == "shop-0001" else shop)
    result = run(make_federation(), twins)
    expected = naive(source, make_plan(), [0, 2, 3, 4])
    np.testing.assert_allclose(result.adapter[B], expected[B], atol=1e-6)
    assert {(r.shop, r.code) for r in result.refusals} == {("shop-0000", "duplicate")}


def test_a_shops_name_cannot_write_into_the_log(source: LeastSquaresSource) -> None:
    rude = Acting(source, {1: BAD["crash"][0]}, name=lambda s: s + "\n\x1b[2Jfake line" + 500 * "x")
    names = {r.shop for r in run(make_federation(), rude).refusals}
    assert all(name.isprintable() and len(name) <= 100 for name in names)
    assert any(name.startswith("shop-0001[2Jfake line") for name in names)


def test_a_shop_cannot_reach_the_others_through_its_copy(source: LeastSquaresSource) -> None:
    def vandal(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Release:
        update = node.train(adapter=adapter, plan=plan, round=number)
        for array in adapter.values():
            array[:] = 99
        return update

    acting = Acting(source, dict.fromkeys(range(SHOPS), vandal))
    assert_same_bits(run(make_federation(), source), run(make_federation(), acting))


def test_slow_shops_are_left_behind(source: LeastSquaresSource) -> None:
    def slow(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Release:
        time.sleep(0.15)
        return node.train(adapter=adapter, plan=plan, round=number)

    settings = federation_settings(round_timeout=0.25)
    federation = make_federation(plan=make_plan(rounds=2), settings=settings)
    result = run(federation, Acting(source, dict.fromkeys(range(SHOPS), slow)))
    assert [info.good for info in result.rounds] == [2, 2]
    assert [r.code for r in result.refusals] == ["timeout"] * 6
    assert result.rounds[1].seconds < 1


def test_a_round_does_not_wait_for_ever_for_nodes(source: LeastSquaresSource) -> None:
    from client.federation.client_app import make_client_app

    grid = InProcessGrid(make_client_app(source), num_shops=2)
    stop = threading.Event()
    assert len(connected_nodes(grid, wanted=9, minimum=2, timeout=0.1, stop=stop)) == 2
    with pytest.raises(RunError, match="nodes=2 must be at least min_replies=3"):
        connected_nodes(grid, wanted=9, minimum=3, timeout=0.1, stop=stop)
    stop.set()
    with pytest.raises(RunError, match="stopped"):
        connected_nodes(grid, wanted=9, minimum=2, timeout=60, stop=stop)
