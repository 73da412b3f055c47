"""Pair sums from shops to sum: order, resumption, ledgers, engines, and shared noise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.federation.node_interface import PlanRules, plan_mechanisms
from client.federation.outgoing_releases import AccountedNode, AccountedSource
from server.federation.federated_run import FederationResult
from server.federation.strategy import ProfileStrategy
from shared.errors import ConfigError, PrivacyError, RunError
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.shop_files import digest_arrays
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.ledger.reporting.verify import verify_all
from shared.protocol import messages
from shared.protocol.messages import Plan
from shared.settings.run_settings import FederationSettings
from simulation.runs.training import run_federation
from tests.simulation.runs.least_squares_shops import (
    ITEMS,
    A,
    B,
    LeastSquaresNode,
    LeastSquaresSource,
    make_adapter,
    make_federation,
    make_plan,
    write_shops,
)

SHOPS = 4
LIMITS = LifetimeLimits(epsilon=8.0, delta=1e-5)
RELEASES = {"counts_release": True, "pairs_release": True, "head_items": 3, "rounds": 2}
PLAN = make_plan(
    **RELEASES,
    noise_multiplier=4.0,
    counts_noise_multiplier=6.0,
    pairs_noise_multiplier=5.0,
)
SHARED = PLAN.model_copy(update={"noise_shops": SHOPS, "local_steps": 1})
NO_CANDIDATES = np.zeros(0, dtype=np.int64)


@pytest.fixture
def source(tmp_path: Path) -> LeastSquaresSource:
    return write_shops(tmp_path, num_shops=SHOPS)


def run(source: Any, plan: Plan, **changes: object) -> FederationResult:
    return run_federation(
        "in-process", make_federation(plan=plan, **changes), source, num_shops=SHOPS
    )


def nodes(source: LeastSquaresSource) -> list[LeastSquaresNode]:
    return [source.open({"partition-id": number}) for number in range(SHOPS)]


def test_pairs_are_summed_over_the_items_of_largest_summed_count(
    source: LeastSquaresSource,
) -> None:
    result = run(source, make_plan(**RELEASES))
    counts = sum(node.items for node in nodes(source))
    head = sorted(np.argsort(-counts, kind="stable")[:3])
    assert result.head is not None
    assert result.head.tolist() == head
    expected = [sum(n.items[i] * n.items[j] for n in nodes(source)) for i, j in
                combinations(head, 2)]  # fmt: skip
    np.testing.assert_array_equal(result.pairs, np.array(expected, np.float32))
    asked = [(info.round, info.kind) for info in result.rounds]
    assert asked == [(0, "counts"), (0, "pairs"), (1, "train"), (2, "train")]


def test_statistics_alone_train_nothing_and_leave_the_first_adapter(
    source: LeastSquaresSource,
) -> None:
    result = run(source, make_plan(**{**RELEASES, "rounds": 0}))
    assert [info.kind for info in result.rounds] == ["counts", "pairs"]
    for name, array in make_adapter().items():
        assert result.adapter[name].tobytes() == array.tobytes()
    alone = run(source, make_plan(rounds=2))
    assert (alone.counts, alone.head, alone.pairs) == (None, None, None)
    assert [info.kind for info in alone.rounds] == ["train", "train"]


def test_a_plan_of_pairs_without_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="pairs_release=True needs counts_release=True"):
        make_plan(pairs_release=True)


@pytest.mark.parametrize("after", ["counts", "pairs", "train"])
def test_a_run_killed_after_any_request_goes_on_bit_for_bit(
    source: LeastSquaresSource, tmp_path: Path, after: str
) -> None:
    def kill(info, _adapter) -> None:  # type: ignore[no-untyped-def]
        if info.kind == after:
            raise KeyboardInterrupt

    expected = run(source, PLAN)
    folder = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        run(source, PLAN, checkpoints=folder, on_round=kill)
    asked: list[int] = []
    result = run(
        source,
        PLAN,
        checkpoints=folder,
        resume=True,
        on_reply=lambda number, _done, _total: asked.append(number),
    )
    for name in (A, B):
        assert result.adapter[name].tobytes() == expected.adapter[name].tobytes()
    for mine, whole in ((result.pairs, expected.pairs), (result.head, expected.head)):
        assert mine is not None
        assert whole is not None
        assert (mine.tobytes(), mine.dtype) == (whole.tobytes(), whole.dtype)
    assert [i.kind for i in result.rounds] == [i.kind for i in expected.rounds]
    left = {"counts": [0, 1, 2], "pairs": [1, 2], "train": [2]}[after]
    assert sorted(set(asked)) == left
    assert len(asked) == SHOPS * len(left)


def test_a_shop_whose_pairs_do_not_count_is_named_for_that_request(
    source: LeastSquaresSource,
) -> None:
    class Short(LeastSquaresNode):
        def pair_sums(self, *, plan: Plan, head: Any) -> Any:
            return super().pair_sums(plan=plan, head=head)[:-1]

    class Mixed:
        def open(self, node_config: Any) -> LeastSquaresNode:
            node = source.open(node_config)
            short = int(node_config["partition-id"]) == 1
            return Short(node.shop_id, node.X, node.Y, node.items) if short else node

    result = run(Mixed(), PLAN)
    assert [(r.round, r.kind, r.shop, r.code) for r in result.refusals] == [
        (0, "pairs", "shop-0001", "shape")
    ]
    assert [(info.kind, info.good) for info in result.rounds[:2]] == [("counts", 4), ("pairs", 3)]


def accounted(folder: Path, source: LeastSquaresSource, **options: Any) -> AccountedNode:
    ledger = Ledger.open_or_create(folder / "ledgers", shop="shop-0000", limits=LIMITS)
    return AccountedNode(source.open({"partition-id": 0}), ledger, **options)


def lines_of(folder: Path) -> int:
    return len(read_ledger(folder / "ledgers" / "shop-0000.jsonl")[0].line_hashes)


def test_pairs_are_reserved_committed_and_spent_once(
    source: LeastSquaresSource, tmp_path: Path
) -> None:
    node, head = accounted(tmp_path, source), np.array([0, 2, 3])
    node.item_counts(plan=PLAN)
    pairs = node.pair_sums(plan=PLAN, head=head)
    chain, _ = read_ledger(tmp_path / "ledgers" / "shop-0000.jsonl")
    (reserved,) = chain.reservations.values()
    assert reserved.body.mechanisms == plan_mechanisms(PLAN)
    assert [body.mechanism.name for body in chain.bodies.values()] == ["item-counts", "pair-sums"]
    assert [body.round for body in chain.bodies.values()] == [0, 0]
    assert [d for ds in chain.commits.values() for d in ds][1] == digest_arrays(
        {messages.PAIRS: pairs}
    )
    before = lines_of(tmp_path)
    for again in (head, np.array([0, 1, 3])):
        with pytest.raises(PrivacyError, match=r"round=0 .* pair-sums is spent already"):
            node.pair_sums(plan=PLAN, head=again)
    assert lines_of(tmp_path) == before


def test_pairs_of_a_simulation_repeat_with_the_same_head_alone(
    source: LeastSquaresSource, tmp_path: Path
) -> None:
    node, head = accounted(tmp_path, source, repeatable=True), np.array([0, 2, 3])
    first = node.pair_sums(plan=PLAN, head=head)
    np.testing.assert_array_equal(node.pair_sums(plan=PLAN, head=head), first)
    with pytest.raises(PrivacyError, match=r"spent already .* with other inputs"):
        node.pair_sums(plan=PLAN, head=np.array([0, 1, 3]))


def test_a_kept_copy_answers_the_same_head_at_no_cost(
    source: LeastSquaresSource, tmp_path: Path
) -> None:
    node, head = accounted(tmp_path, source, releases=tmp_path), np.array([0, 2, 3])
    first, before = node.pair_sums(plan=PLAN, head=head), lines_of(tmp_path)
    np.testing.assert_array_equal(node.pair_sums(plan=PLAN, head=head), first)
    assert lines_of(tmp_path) == before
    (verdict,) = verify_all(tmp_path / "ledgers", EvidenceSources(releases=tmp_path))
    assert verdict.ok
    shutil.rmtree(tmp_path / "releases")
    with pytest.raises(PrivacyError, match="spent already"):
        node.pair_sums(plan=PLAN, head=head)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ([0, 1, 2, 3], "head_items=3"),
        ([2, 1], "ascending"),
        ([1, 1], "ascending"),
        ([0, ITEMS], "within the catalogue's 5 items"),
        ([], "head_items=3"),
    ],
)
def test_a_head_that_is_none_is_refused_before_anything_is_reserved(
    source: LeastSquaresSource, tmp_path: Path, head: list[int], message: str
) -> None:
    node = accounted(tmp_path, source)
    with pytest.raises(PrivacyError, match=message):
        node.pair_sums(plan=PLAN, head=np.array(head, dtype=np.int64))
    with pytest.raises(PrivacyError, match="pairs_release=False"):
        node.pair_sums(plan=PLAN.model_copy(update={"pairs_release": False}), head=np.array([0, 1]))
    assert lines_of(tmp_path) == 1


@pytest.mark.parametrize(
    ("engine", "plan"),
    [
        ("in-process", PLAN),
        ("in-process", SHARED),
        pytest.param("ray", PLAN, marks=pytest.mark.slow),
    ],
)
def test_engines_and_ledgers_do_not_change_the_pairs(
    source: LeastSquaresSource, tmp_path: Path, engine: Any, plan: Plan
) -> None:
    paid = AccountedSource(
        source,
        tmp_path / "run" / "ledgers",
        LIMITS,
        rules=PlanRules(allow_shared=True),
        repeatable=True,
        releases=tmp_path / "run",
    )
    found = run_federation(engine, make_federation(plan=plan), paid, num_shops=SHOPS, workers=2)
    plain = run(source, plan)
    assert found.refusals == ()
    assert found.pairs is not None
    assert plain.pairs is not None
    assert found.pairs.tobytes() == plain.pairs.tobytes()
    np.testing.assert_array_equal(found.head, plain.head)
    assert (found.bytes_up, found.bytes_down) == (plain.bytes_up, plain.bytes_down)
    for verdict in verify_all(tmp_path / "run" / "ledgers", EvidenceSources()):
        assert verdict.ok
        chain, _ = read_ledger(Path(verdict.ledger))
        names = [body.mechanism.name for body in chain.bodies.values()]
        assert names == ["item-counts", "pair-sums", "dp-sgd", "dp-sgd"]
        (reserved,) = chain.reservations.values()
        assert {m.shared_by for m in reserved.body.mechanisms} == {plan.noise_shops}


def test_a_shop_refuses_a_head_longer_than_its_owner_allows(
    source: LeastSquaresSource, tmp_path: Path
) -> None:
    node = accounted(tmp_path, source, rules=PlanRules(max_head_items=2))
    with pytest.raises(PrivacyError, match="head_items=3 must be at most 2"):
        node.item_counts(plan=PLAN)  # the whole plan is refused, before anything is reserved
    assert lines_of(tmp_path) == 1
    node.rules.check(PLAN.model_copy(update={"head_items": 2}))
    node.rules.check(PLAN.model_copy(update={"pairs_release": False}))
    with pytest.raises(PrivacyError, match="head_items=50000 must be at most 5000"):
        PlanRules().check(PLAN.model_copy(update={"head_items": 50_000}))


def test_a_shop_refuses_shared_noise_by_default(source: LeastSquaresSource, tmp_path: Path) -> None:
    node = accounted(tmp_path, source)
    for ask in (
        lambda: node.item_counts(plan=SHARED),
        lambda: node.pair_sums(plan=SHARED, head=np.array([0, 1])),
        lambda: node.train(adapter=make_adapter(), plan=SHARED, round=1, candidates=NO_CANDIDATES),
    ):
        with pytest.raises(PrivacyError, match=r"noise_shops=4 must be 1 .* secure aggregation"):
            ask()
    assert lines_of(tmp_path) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local_steps": 2}, "local_steps=2 must be 1 where noise_shops=4"),
        (
            {"noise_multiplier": 0.9},
            r"noise_multiplier=0\.9 \(shared by 4 shops\) must be .* dp-sgd",
        ),
        (
            {"pairs_noise_multiplier": 0.9},
            r"noise_multiplier=0\.9 \(shared by 4 shops\) must be .* pair",
        ),
    ],
)
def test_a_shop_that_allows_shared_noise_looks_at_that_of_the_sum(
    source: LeastSquaresSource, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    rules = PlanRules(min_noise_multiplier=1.0, allow_shared=True)
    node = accounted(tmp_path, source, rules=rules)
    with pytest.raises(PrivacyError, match=message):
        node.item_counts(plan=SHARED.model_copy(update=change))
    assert lines_of(tmp_path) == 1


def test_shared_noise_needs_every_shop(source: LeastSquaresSource) -> None:
    class OneFails:
        def open(self, node_config: Any) -> LeastSquaresNode:
            if int(node_config["partition-id"]) == 2:
                raise ConfigError("no data")
            return source.open(node_config)

    assert run(OneFails(), PLAN).rounds[0].good == 3
    with pytest.raises(
        RunError,
        match=r"good replies=3 must be .* in a sum=4; .*each shop add",
    ):
        run(OneFails(), SHARED)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": FederationSettings(robust="median")},
        {"settings": FederationSettings(max_update_norm=1.0)},
        {"weights": {"shop-0000": 1.0}},
    ],
)
def test_shared_noise_protects_the_plain_sum_alone(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does not go with noise_shops=4"):
        make_federation(plan=SHARED, **changes)
    make_federation(plan=PLAN, **changes)


def test_pairs_are_not_asked_before_the_counts() -> None:
    from server.federation.server_state import ServerState

    federation = make_federation(plan=PLAN)
    strategy = ProfileStrategy(federation, state=ServerState(0, dict(federation.adapter)))
    with pytest.raises(RunError, match="counts=none must be there before pair sums are asked for"):
        strategy.configure_pairs(None)  # type: ignore[arg-type]  # fails before it asks anybody


def test_mechanisms_of_a_plan_come_in_the_order_of_the_calibration() -> None:
    assert [m.name for m in plan_mechanisms(PLAN)] == ["dp-sgd", "item-counts", "pair-sums"]
    idle = PLAN.model_copy(update={"rounds": 0})
    assert [m.name for m in plan_mechanisms(idle)] == ["item-counts", "pair-sums"]
    assert plan_mechanisms(SHARED)[1] == replace(plan_mechanisms(PLAN)[1], shared_by=SHOPS)
