"""Runs whose sums come by secure aggregation: the numbers of the plain sum, whatever fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.common.constant import ErrorCode

from client.federation.node_interface import PlanRules
from client.federation.outgoing_releases import AccountedSource
from server.federation.federated_run import FederationResult
from shared.errors import PrivacyError, RunError
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.verify import verify
from shared.protocol import messages
from shared.protocol.messages import Plan
from shared.settings.run_settings import FederationSettings
from simulation.runs.rosters import signed_by_all
from simulation.runs.training import run_federation
from tests.simulation.runs.least_squares_shops import (
    A,
    B,
    make_federation,
    make_plan,
    write_shops,
)

SHOPS = 4
LIMITS = LifetimeLimits(epsilon=8.0, delta=1e-5)
STAGES = ("query.keys", "query.shares", "query.counts", "query.confirm", "query.open")
"""Types of the five messages, of the run's first sum where there are several."""
PLAN = make_plan(
    counts_release=True,
    pairs_release=True,
    head_items=3,
    rounds=2,
    local_steps=1,
    noise_multiplier=4.0,
    counts_noise_multiplier=6.0,
    pairs_noise_multiplier=5.0,
    noise_shops=2,
)


@dataclass
class SecureRun:
    """Four shops under a roster; one may be missing and one may help the server."""

    folder: Path
    mods: list[Mod] = field(default_factory=list)

    def __post_init__(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        self.shops = write_shops(data, num_shops=SHOPS)
        self.source = AccountedSource(
            self.shops,
            self.folder / "ledgers",
            LIMITS,
            rules=PlanRules(),
            repeatable=True,
            releases=self.folder / "kept",
            states=self.folder / "states",
        )
        ledgers = [self.source.ledger(f"shop-{number:04d}") for number in range(SHOPS)]
        self.source = replace(self.source, roster=signed_by_all(ledgers))
        assert self.source.roster is not None
        self.roster = self.source.roster.roster

    @property
    def plan(self) -> Plan:
        return PLAN.model_copy(update={"roster": self.roster.digest()})

    def run(self, plan: Plan | None = None, **changes: Any) -> FederationResult:
        federation = make_federation(
            plan=plan or self.plan,
            roster=self.roster,
            checkpoints=self.folder / "checkpoints",
            resume=True,
            **changes,
        )
        return run_federation(
            "in-process",
            federation,
            self.source,
            num_shops=SHOPS,
            mods=self.mods,
            sums=self.source,
        )

    def kinds(self, number: int) -> list[str]:
        path = self.folder / "ledgers" / f"shop-{number:04d}.jsonl"
        return [json.loads(line)["body"]["kind"] for line in path.read_text().splitlines()]


def ideal(folder: Path, *, without: tuple[int, ...] = (), plan: Plan = PLAN) -> FederationResult:
    """What the plain sum gives, over the shops that take part."""
    data = folder / "ideal"
    data.mkdir(exist_ok=True)
    shops = write_shops(data, num_shops=SHOPS)

    class Present:
        def open(self, node_config: Any) -> Any:
            if int(node_config["partition-id"]) in without:
                raise PrivacyError("away")
            return shops.open(node_config)

    return run_federation("in-process", make_federation(plan=plan), Present(), num_shops=SHOPS)


def same(mine: FederationResult, other: FederationResult) -> None:
    for name in (A, B):
        assert mine.adapter[name].tobytes() == other.adapter[name].tobytes()
    for found, expected in ((mine.counts, other.counts), (mine.pairs, other.pairs)):
        assert found is not None
        assert expected is not None
        assert found.tobytes() == expected.tobytes()


def node_of(context: Context) -> int:
    return int(context.node_config["partition-id"])


@dataclass
class Fails:
    """A node that loses one message, before it acts on it or after."""

    stage: str
    nodes: tuple[int, ...]
    when: Literal["before", "after"]
    times: int = 1_000

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if message.metadata.message_type != self.stage or node_of(context) not in self.nodes:
            return call_next(message, context)
        if self.times == 0:
            return call_next(message, context)
        self.times -= 1
        if self.when == "after":
            call_next(message, context)
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION), reply_to=message)


@dataclass
class KillsServer:
    """Ends the server's process at a message, before the shop acts on it or after."""

    stage: str
    when: Literal["before", "after"]
    at: int
    killed: bool = False

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        here = message.metadata.message_type == self.stage and node_of(context) == self.at
        if here and self.when == "after":
            reply = call_next(message, context)
        if here and not self.killed:
            self.killed = True
            raise KeyboardInterrupt
        return reply if here and self.when == "after" else call_next(message, context)


def test_the_protocol_gives_the_numbers_of_the_sum(tmp_path: Path) -> None:
    secure = SecureRun(tmp_path)
    result = secure.run()
    same(result, ideal(tmp_path))
    everyone = tuple(sorted(secure.roster.keys))
    assert [(info.kind, info.good, info.shops) for info in result.rounds] == [
        ("counts", 4, everyone),
        ("pairs", 4, everyone),
        ("train", 4, everyone),
        ("train", 4, everyone),
    ]


@pytest.mark.slow
def test_so_it_does_on_ray(tmp_path: Path) -> None:
    secure = SecureRun(tmp_path)
    federation = make_federation(plan=secure.plan, roster=secure.roster)
    result = run_federation(
        "ray", federation, secure.source, num_shops=SHOPS, workers=2, sums=secure.source
    )
    same(result, ideal(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_shop_that_dies_at_any_message_stops_nothing(
    tmp_path: Path, stage: str, when: Literal["before", "after"]
) -> None:
    secure = SecureRun(tmp_path, mods=[Fails(stage, (2,), when)])
    result = secure.run()
    present = stage in ("query.confirm", "query.open")
    counted = result.rounds[0]
    assert ("shop-0002" in counted.shops) == present
    expected = ideal(tmp_path, without=() if present else (2,))
    assert result.counts is not None
    assert expected.counts is not None
    assert result.counts.tobytes() == expected.counts.tobytes()
    assert [info.good for info in result.rounds[1:]] == [
        4 if stage in ("query.counts", *STAGES[3:]) else 3
    ] * 3


@pytest.mark.parametrize("stage", STAGES)
def test_two_dead_shops_stop_the_run_which_goes_on_when_they_are_back(
    tmp_path: Path, stage: str
) -> None:
    fails = Fails(stage, (1, 2), "after")
    secure = SecureRun(tmp_path, mods=[fails])
    with pytest.raises(RunError, match=r"must be at least 3, the least number of shops in a sum"):
        secure.run()
    fails.times = 0
    same(secure.run(), ideal(tmp_path))
    spent = [json.loads(line)["body"] for line in _lines(tmp_path, 0)]
    assert sum(body["kind"] == "reservation" for body in spent) == 1


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stage", [*STAGES, "query.pairs", "train", "query.end"])
def test_a_server_that_dies_at_any_message_goes_on_to_the_same_sum(
    tmp_path: Path, stage: str, when: Literal["before", "after"]
) -> None:
    secure = SecureRun(tmp_path, mods=[KillsServer(stage, when, at=1)])
    with pytest.raises(KeyboardInterrupt):
        secure.run()
    same(secure.run(), ideal(tmp_path))
    for number in range(SHOPS):
        kinds = secure.kinds(number)
        assert [kinds.count(kind) for kind in ("round", "commit", "set", "opened")] == [4] * 4


def test_nothing_secret_is_left_and_no_release_leaves_without_masks(tmp_path: Path) -> None:
    sent: list[dict[str, bytes]] = []

    def watch(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        for name, record in reply.content.array_records.items():
            (array,) = record.values()
            sent.append({name: array.data})
        return reply

    secure = SecureRun(tmp_path, mods=[watch])
    secure.run()
    assert len(sent) == 4 * SHOPS
    assert {name for reply in sent for name in reply} == {messages.MASKED}
    for state in sorted((tmp_path / "states").glob("*/*")):
        assert sorted(path.name for path in state.iterdir()) == ["ended", "terms"]
    secure.source.open({"partition-id": 0})
    for number in range(SHOPS):
        verdict = verify(tmp_path / "ledgers" / f"shop-{number:04d}.jsonl", Evidence())
        assert verdict.ok, verdict.fault
        assert secure.kinds(number) == [
            "genesis",
            "aggregation",
            "reservation",
            *["round", "commit", "set", "opened"] * 4,
        ]


def test_a_paid_release_is_no_part_of_a_second_set_up(tmp_path: Path) -> None:
    """Masked anew with other shops, the difference of two sums would be one shop's vector."""
    secure = SecureRun(tmp_path)
    secure.run()
    for path in sorted((tmp_path / "states").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for path in sorted((tmp_path / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    before = [len(_lines(tmp_path, number)) for number in range(SHOPS)]
    with pytest.raises(RunError, match=r"survivors=0 must be at least 3.*: privacy"):
        secure.run()
    assert [len(_lines(tmp_path, number)) for number in range(SHOPS)] == before


def _lines(folder: Path, number: int) -> list[str]:
    return (folder / "ledgers" / f"shop-{number:04d}.jsonl").read_text().splitlines()


def test_an_answer_in_another_shops_name_is_refused(tmp_path: Path) -> None:
    keys: list[ConfigRecord] = []

    def replay(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        if message.metadata.message_type == "query.keys":
            if node_of(context) == 2:
                reply.content[messages.AGGREGATION] = keys[0]
            keys.append(reply.content.config_records[messages.AGGREGATION])
        return reply

    result = SecureRun(tmp_path, mods=[replay]).run()
    same(result, ideal(tmp_path, without=(2,)))
    assert {(refusal.shop, refusal.code) for refusal in result.refusals} == {
        ("shop-0002", "protocol")
    }


def _asked(secure: SecureRun, name: str) -> Callable[[], object]:
    node = secure.source.open({"partition-id": 0})
    return {
        "plain": lambda: node.item_counts(plan=secure.plan),
        "other roster": lambda: secure.source.secure_sums({"partition-id": 0}).publish_keys(
            secure.plan.model_copy(update={"roster": "ab" * 32})
        ),
        "other shares": lambda: secure.source.secure_sums({"partition-id": 0}).publish_keys(
            secure.plan.model_copy(update={"noise_shops": 3})
        ),
        "no roster": lambda: replace(secure.source, roster=None).secure_sums({"partition-id": 0}),
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain", r"release=counts leaves under masks alone in a run under a roster"),
        ("other roster", r"roster=abab\S+ must be .*, which this shop has signed"),
        ("other shares", r"noise_shops=3 must be 2 as all shops signed it"),
        ("no roster", r"shop=shop-0000 has signed no roster"),
    ],
)
def test_what_a_shop_refuses_costs_nothing(tmp_path: Path, name: str, message: str) -> None:
    secure = SecureRun(tmp_path)
    with pytest.raises(PrivacyError, match=message):
        _asked(secure, name)()
    assert len(_lines(tmp_path, 0)) == 1


def test_the_owner_bounds_what_holds_if_all_others_help_the_server(tmp_path: Path) -> None:
    secure = SecureRun(tmp_path)
    secure.source = replace(secure.source, rules=PlanRules(max_own_epsilon=1.0))
    with pytest.raises(RunError, match=r"survivors=0 must be at least 3.*: privacy"):
        secure.run()
    assert "round" not in secure.kinds(0)
    secure.source = replace(secure.source, rules=PlanRules(max_own_epsilon=8.0))
    other = secure.plan.model_copy(update={"seed": 2})
    settings = FederationSettings(aggregation=other.aggregation, server_momentum=0.5)
    for path in sorted((tmp_path / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert secure.run(other, settings=settings).rounds[0].good == SHOPS


def test_a_sum_that_no_honest_shops_can_make_ends_the_run(tmp_path: Path) -> None:
    secure = SecureRun(tmp_path)
    path = tmp_path / "data" / "2.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{**arrays, "items": arrays["items"] + 1e6})
    settings = FederationSettings(
        aggregation=PLAN.aggregation, server_momentum=0.5, max_shop_users=50
    )
    with pytest.raises(RunError, match=r"sum of 4 shops is longer .* --noise shop --only adapter"):
        secure.run(settings=settings)
