"""Federated runs that were killed go on bit for bit, and release nothing twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.federation.federated_run import FederationResult
from shared.errors import RunError, RunExistsError
from shared.protocol.messages import Arrays, Plan
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
    ActingNode,
    assert_same_bits,
    federation_settings,
    run,
)


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
