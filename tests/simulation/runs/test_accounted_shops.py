"""A node releases nothing that its ledger has not paid for, on every engine."""

import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.federation.client_app import make_client_app
from client.federation.node_interface import PlanRules, plan_mechanisms
from client.federation.outgoing_releases import AccountedNode, AccountedSource
from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.shop_files import digest_arrays
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.ledger.reporting.verify import verify_all
from shared.privacy.noise import GRID
from shared.protocol import messages
from simulation.runs.training import run_federation
from tests.simulation.runs.least_squares_shops import (
    ITEMS,
    B,
    LeastSquaresSource,
    make_adapter,
    make_federation,
    make_plan,
    write_shops,
)

LIMITS = LifetimeLimits(epsilon=8.0, delta=1e-5)
PLAN = make_plan(noise_multiplier=4.0, counts_release=True, counts_noise_multiplier=6.0)
NO_CANDIDATES = np.zeros(0, dtype=np.int64)


@dataclass
class Counting:
    """A node that counts how often it was asked to compute."""

    asked: list[int] = field(default_factory=list)
    shop_id: str = "north"
    fails: bool = False
    n_items: int = 4

    def train(self, *, adapter, plan, round, candidates):  # type: ignore[no-untyped-def]  # noqa: A002, ARG002
        self.asked.append(round)
        if self.fails:
            raise ValueError("alice bought insulin")
        return {B: adapter[B].astype(np.int64) + len(self.asked)}

    def item_counts(self, *, plan):  # type: ignore[no-untyped-def]  # noqa: ARG002
        self.asked.append(0)
        return np.ones(ITEMS, dtype=np.int64)


def accounted(folder: Path, node: Counting, **options: object) -> AccountedNode:
    ledger = Ledger.open_or_create(folder / "ledgers", shop="north", limits=LIMITS)
    return AccountedNode(node, ledger, **options)  # type: ignore[arg-type]


def train(node: AccountedNode, number: int, plan=PLAN, **changes: object):  # type: ignore[no-untyped-def]
    adapter = make_adapter() | changes
    return node.train(adapter=adapter, plan=plan, round=number, candidates=NO_CANDIDATES)


def test_reserves_the_plan_then_computes_then_commits(tmp_path) -> None:
    node = accounted(tmp_path, Counting())
    counts = node.item_counts(plan=PLAN)
    update = train(node, 1)
    chain, _ = read_ledger(tmp_path / "ledgers" / "north.jsonl")
    (reserved,) = chain.reservations.values()
    assert reserved.body.mechanisms == plan_mechanisms(PLAN)
    assert reserved.body.mechanisms[0] == Mechanism("dp-sgd", 4.0, 1.0, 12, 1.0, grid=GRID)
    assert reserved.body.plan_digest == PLAN.digest()
    assert reserved.body.base_hash == PLAN.base_hash
    assert [body.mechanism.steps for body in chain.bodies.values()] == [1, 2]
    digests = [digest_arrays({messages.COUNTS: counts}), digest_arrays(update)]
    assert [d for ds in chain.commits.values() for d in ds] == digests


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"private": False}, "nothing without noise"),
        ({"noise_multiplier": 0.05}, "must be at least 0.1"),
        ({"noise_multiplier": 0.0}, "must be at least 0.1"),
        ({"counts_noise_multiplier": 0.0}, "must be at least 0.1 in item-counts"),
        ({"noise_multiplier": 0.5}, "lifetime limit of 8"),
        ({"rounds": 200}, "lifetime limit of 8"),
        ({"sample_rate": 0.9}, "sample_rate=0.9 must be at most 0.5"),
        ({"max_grad_norm": 3.0}, "max_grad_norm=3 must be at most 2"),
        ({"local_steps": 60}, "local_steps=360 must be at most 300"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused_before_anything_is_computed(
    tmp_path, change, message
) -> None:
    shop = Counting()
    strict = PlanRules(max_sample_rate=0.5, max_steps=300, max_grad_norm=2.0)
    rules = strict if set(change) & {"sample_rate", "max_grad_norm", "local_steps"} else PlanRules()
    plan = PLAN.model_copy(update=({"sample_rate": 0.5} if rules is strict else {}) | change)
    node = accounted(tmp_path, shop, rules=rules)
    with pytest.raises(PrivacyError, match=message):
        train(node, 1, plan)
    assert shop.asked == []
    assert len(read_ledger(tmp_path / "ledgers" / "north.jsonl")[0].line_hashes) == 1


def test_rounds_outside_the_plan_and_unplanned_counts_are_refused(tmp_path) -> None:
    shop = Counting()
    node = accounted(tmp_path, shop)
    for number in (0, 7):
        with pytest.raises(PrivacyError, match=f"round={number} must be between 1 and rounds=6"):
            train(node, number)
    with pytest.raises(PrivacyError, match="counts_release=False"):
        node.item_counts(plan=PLAN.model_copy(update={"counts_release": False}))
    with pytest.raises(PrivacyError, match="candidates=9 to 9 must be from 0 to 3"):
        node.train(adapter=make_adapter(), plan=PLAN, round=1, candidates=np.array([9]))
    assert shop.asked == []
    assert len(read_ledger(tmp_path / "ledgers" / "north.jsonl")[0].line_hashes) == 1


def test_a_round_that_failed_stays_spent(tmp_path) -> None:
    shop = Counting(fails=True)
    node = accounted(tmp_path, shop)
    with pytest.raises(ValueError, match="insulin"):
        train(node, 1)
    shop.fails = False
    with pytest.raises(PrivacyError, match="spent already"):
        train(node, 1)
    train(node, 2)
    assert shop.asked == [1, 2]


def test_a_node_asked_again_sends_its_kept_copy_and_computes_nothing(tmp_path) -> None:
    shop = Counting()
    node = accounted(tmp_path, shop, releases=tmp_path)
    first = train(node, 1)
    lines = len(node.ledger.chain.line_hashes)
    again = train(accounted(tmp_path, shop, releases=tmp_path), 1)
    np.testing.assert_array_equal(first[B], again[B])
    assert shop.asked == [1]
    assert len(read_ledger(tmp_path / "ledgers" / "north.jsonl")[0].line_hashes) == lines
    with pytest.raises(PrivacyError, match="spent already"):
        train(node, 1, **{B: np.ones_like(make_adapter()[B])})
    shutil.rmtree(tmp_path / "releases")
    with pytest.raises(PrivacyError, match="spent already"):
        train(node, 1)
    assert shop.asked == [1]


def test_a_simulated_round_repeats_and_is_committed_again_only_if_it_differs(tmp_path) -> None:
    shop = Counting()
    node = accounted(tmp_path, shop, repeatable=True)
    train(node, 1)
    epsilon = node.ledger.spent().bound
    train(node, 1)
    assert shop.asked == [1, 1]
    assert node.ledger.spent().bound == epsilon
    (digests,) = node.ledger.chain.commits.values()
    assert len(digests) == 2  # this node's second answer differs, which the ledger shows


def test_a_refusal_tells_the_server_a_code_and_nothing_else(tmp_path) -> None:
    write_shops(tmp_path, num_shops=1)
    source = AccountedSource(LeastSquaresSource(tmp_path), tmp_path / "ledgers", LIMITS)
    app = make_client_app(source)
    plan = PLAN.model_copy(update={"rounds": 500})
    content = RecordDict(
        {
            messages.ADAPTER: messages.to_record(make_adapter()),
            messages.PLAN: ConfigRecord({**plan.to_record(), messages.ROUND: 1}),
            messages.CANDIDATES: messages.codes_record(NO_CANDIDATES),
        }
    )
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    context = Context(1, 2, {"partition-id": 0}, RecordDict(), {})
    reply = app(Message(content, 2, "train"), context)
    assert set(reply.content) == {messages.STATUS}
    assert reply.content[messages.STATUS]["code"] == "privacy"
    assert "epsilon" not in str(reply.content)


@pytest.mark.parametrize(
    ("engine", "workers"),
    [
        ("in-process", 1),
        ("in-process", 3),
        pytest.param("ray", 2, marks=pytest.mark.slow),
    ],
)
def test_engines_give_what_they_give_without_a_ledger_and_every_ledger_holds(
    tmp_path, engine, workers
) -> None:
    source = write_shops(tmp_path, num_shops=4)
    paid = AccountedSource(
        source, tmp_path / "run" / "ledgers", LIMITS, repeatable=True, releases=tmp_path / "run"
    )
    assert pickle.loads(pickle.dumps(paid)) == paid
    found = run_federation(engine, make_federation(plan=PLAN), paid, num_shops=4, workers=workers)
    plain = run_federation("in-process", make_federation(plan=PLAN), source, num_shops=4)
    assert found.refusals == ()
    np.testing.assert_array_equal(found.adapter[B], plain.adapter[B])
    verdicts = verify_all(tmp_path / "run" / "ledgers", EvidenceSources())
    assert [verdict.ok for verdict in verdicts] == [True] * 4
    assert all("digests of 7 released files" in verdict.checked for verdict in verdicts)
    assert {verdict.lines for verdict in verdicts} == {2 + 2 * 7}
