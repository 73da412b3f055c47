"""Whole federated runs, both Flower apps in this process, over real shops on disk."""

import hashlib
import json
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from least_squares_shops import (
    OUT,
    RANK,
    A,
    B,
    LeastSquaresNode,
    LeastSquaresSource,
    make_adapter,
    make_federation,
    make_plan,
    write_shops,
)

from server.exchange import connected_nodes
from server.federation import Federation, FederationResult
from shared.config import FederationSettings
from shared.errors import ConfigError, DataError, ModelError, RunError, RunExistsError
from shared.messages import Arrays, CodesArray
from shared.plan import Plan
from simulation.engines import run_federation
from simulation.engines.in_process import InProcessGrid

SHOPS = 5
Behaviour = Callable[[LeastSquaresNode, Arrays, Plan, int], Arrays]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LeastSquaresSource:
    return write_shops(tmp_path_factory.mktemp("shops"), num_shops=SHOPS)


def run(federation: Federation, source: object, *, workers: int = 1) -> FederationResult:
    return run_federation(
        "in-process",
        federation,
        source,  # type: ignore[arg-type]
        num_shops=SHOPS,
        workers=workers,
    )


def federation_settings(**changes: object) -> FederationSettings:
    return FederationSettings(**({"server_momentum": 0.5} | changes))  # type: ignore[arg-type]


@dataclass
class Acting:
    """Opens real shops, some of which act in their own way."""

    source: LeastSquaresSource
    acts: dict[int, Behaviour] = field(default_factory=dict)
    name: Callable[[str], str] = str

    def open(self, node_config):  # type: ignore[no-untyped-def]
        node = self.source.open(node_config)
        node.shop_id = self.name(node.shop_id)
        act = self.acts.get(int(node_config["partition-id"]))
        return node if act is None else ActingNode(node, act)


class ActingNode:
    def __init__(self, node: LeastSquaresNode, act: Behaviour) -> None:
        self.shop_id, self._node, self._act = node.shop_id, node, act

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray | None = None,  # noqa: ARG002
    ) -> Arrays:
        return self._act(self._node, adapter, plan, round)

    def counts(self, *, plan: Plan) -> np.ndarray:
        return self._node.counts(plan=plan)


def fail(error: BaseException) -> Behaviour:
    def act(_node: LeastSquaresNode, _adapter: Arrays, _plan: Plan, _number: int) -> Arrays:
        raise error

    return act


def give(change: Callable[[Arrays], Arrays]) -> Behaviour:
    def act(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Arrays:
        return change(node.train(adapter=adapter, plan=plan, round=number))

    return act


def naive(source: LeastSquaresSource, plan: Plan, shops: list[int]) -> Arrays:
    """The same federation as one plain loop: momentum 0.5, mean of the last half."""
    nodes = [source.open({"partition-id": number}) for number in shops]
    adapter, momentum, last = make_adapter(), 0.0, []
    for number in range(1, plan.rounds + 1):
        updates = [n.train(adapter=adapter, plan=plan, round=number)[B] for n in nodes]
        momentum = 0.5 * momentum + np.mean(updates, axis=0)
        adapter = {**adapter, B: (adapter[B] + momentum).astype(np.float32)}
        last.append(adapter[B])
    return {A: adapter[A], B: np.mean(last[plan.rounds // 2 :], axis=0)}


def assert_same_bits(one: FederationResult, other: FederationResult) -> None:
    for name in (A, B):
        assert one.adapter[name].tobytes() == other.adapter[name].tobytes()


def test_a_run_equals_a_plain_loop(source: LeastSquaresSource) -> None:
    result = run(make_federation(), source)
    expected = naive(source, make_plan(), list(range(SHOPS)))
    np.testing.assert_allclose(result.adapter[B], expected[B], atol=1e-6)
    np.testing.assert_array_equal(result.adapter[A], make_adapter()[A])
    assert [info.round for info in result.rounds] == [1, 2, 3, 4, 5, 6]
    assert all((i.asked, i.good, i.refused) == (5, 5, 0) for i in result.rounds)
    arrays_up = 6 * SHOPS * (OUT * RANK * 4 + 128)
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


BAD: dict[str, tuple[Behaviour, str]] = {
    "nan": (give(lambda u: {B: u[B] * np.float32(np.nan)}), "non-finite"),
    "frozen matrix too": (give(lambda u: {**u, A: np.zeros((3, 6), np.float32)}), "keys"),
    "shape": (give(lambda u: {B: u[B][:, :1]}), "shape"),
    "huge": (give(lambda u: {B: np.full_like(u[B], 1e30)}), "magnitude"),
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
        bad = Acting(source, dict.fromkeys(range(SHOPS), BAD["nan"][0]))
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


def test_public_weights(source: LeastSquaresSource) -> None:
    weights = {"shop-0000": 1.0, "shop-0001": 0.25, "shop-0002": 0.25, "shop-0003": 0.5}
    plan = make_plan(rounds=1)
    result = run(make_federation(plan=plan, weights=weights), source)
    nodes = [source.open({"partition-id": number}) for number in range(4)]
    updates = [n.train(adapter=make_adapter(), plan=plan, round=1)[B] for n in nodes]
    expected = (updates[0] + 0.25 * updates[1] + 0.25 * updates[2] + 0.5 * updates[3]) / 2
    np.testing.assert_allclose(result.adapter[B], expected, atol=1e-6)
    assert [(r.shop, r.code) for r in result.refusals] == [("shop-0004", "unknown-shop")]


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


def test_a_shop_cannot_reach_the_others_through_its_copy(source: LeastSquaresSource) -> None:
    def vandal(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Arrays:
        update = node.train(adapter=adapter, plan=plan, round=number)
        for array in adapter.values():
            array[:] = 99
        return update

    acting = Acting(source, dict.fromkeys(range(SHOPS), vandal))
    assert_same_bits(run(make_federation(), source), run(make_federation(), acting))


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


def test_slow_shops_are_left_behind(source: LeastSquaresSource) -> None:
    def slow(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Arrays:
        time.sleep(0.15)
        return node.train(adapter=adapter, plan=plan, round=number)

    settings = federation_settings(round_timeout=0.25)
    federation = make_federation(plan=make_plan(rounds=2), settings=settings)
    result = run(federation, Acting(source, dict.fromkeys(range(SHOPS), slow)))
    assert [info.good for info in result.rounds] == [2, 2]
    assert [r.code for r in result.refusals] == ["timeout"] * 6
    assert result.rounds[1].seconds < 1


def test_a_round_does_not_wait_for_ever_for_nodes(source: LeastSquaresSource) -> None:
    from client.app import make_client_app

    grid = InProcessGrid(make_client_app(source), num_shops=2)
    stop = threading.Event()
    assert len(connected_nodes(grid, wanted=9, minimum=2, timeout=0.1, stop=stop)) == 2
    with pytest.raises(RunError, match="nodes=2 must be at least min_replies=3"):
        connected_nodes(grid, wanted=9, minimum=3, timeout=0.1, stop=stop)
    stop.set()
    with pytest.raises(RunError, match="stopped"):
        connected_nodes(grid, wanted=9, minimum=2, timeout=60, stop=stop)


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


@dataclass
class Diary:
    """Writes down each release: shop, round and what was received; interrupts at one of them."""

    source: LeastSquaresSource
    interrupt_at: tuple[int, int] | None = None
    releases: list[str] = field(default_factory=list)

    def open(self, node_config):  # type: ignore[no-untyped-def]
        partition = int(node_config["partition-id"])

        def act(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Arrays:
            if self.interrupt_at == (number, partition):
                raise KeyboardInterrupt
            received = hashlib.sha256(adapter[A].tobytes() + adapter[B].tobytes()).hexdigest()
            self.releases.append(json.dumps([number, partition, received]))
            return node.train(adapter=adapter, plan=plan, round=number)

        return ActingNode(self.source.open(node_config), act)


VARIANTS = [("frozen-a", "momentum"), ("average", "adam"), ("fedsvd", "momentum")]


@pytest.mark.parametrize(("aggregation", "optimizer"), VARIANTS)
@pytest.mark.parametrize("interrupt_at", [(1, 0), (1, 3), (4, 0), (6, 4)])
def test_a_run_killed_within_a_round_goes_on_bit_for_bit(
    source: LeastSquaresSource,
    tmp_path: Path,
    aggregation: str,
    optimizer: str,
    interrupt_at: tuple[int, int],
) -> None:
    def start(diary: Diary, **changes: object) -> FederationResult:
        settings = federation_settings(aggregation=aggregation, server_optimizer=optimizer)
        plan = make_plan(aggregation=aggregation)
        return run(make_federation(plan=plan, settings=settings, **changes), diary)

    whole = Diary(source)
    expected = start(whole)
    first, second = Diary(source, interrupt_at), Diary(source)
    with pytest.raises(KeyboardInterrupt):
        start(first, checkpoints=tmp_path)
    result = start(second, checkpoints=tmp_path, resume=True)
    assert_same_bits(result, expected)
    assert [info.round for info in result.rounds] == [1, 2, 3, 4, 5, 6]
    # Nothing was released that an uninterrupted run does not release.
    assert set(first.releases) | set(second.releases) == set(whole.releases)
    assert len(second.releases) == (6 - interrupt_at[0] + 1) * SHOPS


@pytest.mark.parametrize("killed_after", [1, 3, 6])
def test_a_run_killed_between_rounds_goes_on_bit_for_bit(
    source: LeastSquaresSource, tmp_path: Path, killed_after: int
) -> None:
    def kill(info, _adapter: Arrays) -> None:  # type: ignore[no-untyped-def]
        if info.round == killed_after:
            raise KeyboardInterrupt

    expected = run(make_federation(), source)
    with pytest.raises(KeyboardInterrupt):
        run(make_federation(checkpoints=tmp_path, on_round=kill), source)
    resumed = make_federation(checkpoints=tmp_path, resume=True, on_round=kill)
    assert_same_bits(run(resumed, source), expected)


def test_a_torn_newest_checkpoint_costs_one_round(
    source: LeastSquaresSource, tmp_path: Path
) -> None:
    expected = run(make_federation(checkpoints=tmp_path), source)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-50])
    rounds: list[int] = []
    resumed = make_federation(
        checkpoints=tmp_path, resume=True, on_round=lambda info, _adapter: rounds.append(info.round)
    )
    assert_same_bits(run(resumed, source), expected)
    assert rounds == [6]


def test_only_the_same_run_may_go_on(source: LeastSquaresSource, tmp_path: Path) -> None:
    run(make_federation(checkpoints=tmp_path), source)
    changed = make_adapter()
    changed[A][0, 0] += 1
    for other in (
        make_federation(plan=make_plan(seed=2), checkpoints=tmp_path, resume=True),
        make_federation(settings=federation_settings(server_momentum=0.6)),
        make_federation(adapter=changed),
    ):
        other.checkpoints, other.resume = tmp_path, True
        with pytest.raises(RunError, match="belongs to another run"):
            run(other, source)
    with pytest.raises(RunExistsError):
        run(make_federation(checkpoints=tmp_path), source)
