"""Real shops of a small federation, some of which act in their own way, and its naive oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from server.federation.federated_run import Federation, FederationResult
from shared.privacy.noise import Integers
from shared.protocol.messages import Arrays, CodesArray, Plan, Release
from shared.settings.run_settings import FederationSettings
from simulation.runs.training import run_federation
from tests.simulation.runs.least_squares_shops import (
    A,
    B,
    LeastSquaresNode,
    LeastSquaresSource,
    make_adapter,
    received,
)

SHOPS = 5
Behaviour = Callable[[LeastSquaresNode, Arrays, Plan, int], Release]


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
    ) -> Release:
        return self._act(self._node, adapter, plan, round)

    def item_counts(self, *, plan: Plan) -> Integers:
        return self._node.item_counts(plan=plan)


def fail(error: BaseException) -> Behaviour:
    def act(_node: LeastSquaresNode, _adapter: Arrays, _plan: Plan, _number: int) -> Release:
        raise error

    return act


def give(change: Callable[[Release], Release]) -> Behaviour:
    def act(node: LeastSquaresNode, adapter: Arrays, plan: Plan, number: int) -> Release:
        return change(node.train(adapter=adapter, plan=plan, round=number))

    return act


def naive(source: LeastSquaresSource, plan: Plan, shops: list[int]) -> Arrays:
    """The same federation as one plain loop: momentum 0.5, mean of the last half."""
    nodes = [source.open({"partition-id": number}) for number in shops]
    adapter, momentum, last = make_adapter(), 0.0, []
    for number in range(1, plan.rounds + 1):
        sent = [n.train(adapter=adapter, plan=plan, round=number) for n in nodes]
        updates = [received(release, plan)[B] for release in sent]
        momentum = 0.5 * momentum + np.mean(updates, axis=0)
        adapter = {**adapter, B: (adapter[B] + momentum).astype(np.float32)}
        last.append(adapter[B])
    return {A: adapter[A], B: np.mean(last[plan.rounds // 2 :], axis=0)}


def assert_same_bits(one: FederationResult, other: FederationResult) -> None:
    for name in (A, B):
        assert one.adapter[name].tobytes() == other.adapter[name].tobytes()
