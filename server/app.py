"""Flower's ServerApp: item counts, pair sums, rounds, checkpoints, final adapter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from flwr.app import ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp

from server.checkpoint import Checkpoints
from server.exchange import Traffic, exchange
from server.federation import Federation, FederationResult, RequestKind, RoundInfo
from server.state import ServerState
from server.strategy import ProfileStrategy
from shared.errors import RunError
from shared.messages import to_record


def make_server_app(federation: Federation) -> ServerApp:
    """Builds the ServerApp of one federated run.

    Args:
        federation: What to run; its `result` is filled in at the end.

    Returns:
        An app whose main raises `FedprofileError` where the run cannot go on.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
        federation.result = federate(grid, federation)

    return app


def federate(grid: Grid, federation: Federation) -> FederationResult:
    """Runs what is left of a federated run and returns its result.

    A run that was interrupted repeats the request that had no checkpoint yet, with the very same
    content: a shop that keys its noise by plan and round, or keeps its own ledger, answers with the
    same release and pays for it once.

    Raises:
        RunError: Too few good replies, a stop, or a checkpoint that cannot be written or used.
    """
    started = time.perf_counter()
    checkpoints = None
    if federation.checkpoints is not None:
        checkpoints = Checkpoints(federation.checkpoints, digest=federation.digest())
    found = checkpoints.load(resume=federation.resume) if checkpoints is not None else None
    strategy = ProfileStrategy(federation, state=found or ServerState(0, dict(federation.adapter)))
    strategy.summary()
    for info in _steps(grid, strategy):
        strategy.state = replace(strategy.state, rounds=(*strategy.state.rounds, info))
        if checkpoints is not None:
            checkpoints.save(strategy.state)
        if federation.on_round is not None:
            federation.on_round(info, dict(strategy.state.adapter))
    state = strategy.state
    return FederationResult(
        adapter=state.final_adapter(),
        counts=state.counts,
        rounds=state.rounds,
        refusals=state.refusals,
        seconds=time.perf_counter() - started,
        head=state.head,
        pairs=state.pairs,
    )


def _steps(grid: Grid, strategy: ProfileStrategy) -> Iterator[RoundInfo]:
    """Does what is left, one request to all shops at a time."""
    plan = strategy.federation.plan
    if plan.counts_release and strategy.state.counts is None:
        step = _Step(grid, strategy, number=0, kind="counts")
        _, metrics = strategy.aggregate_counts(step.ask(strategy.configure_counts(grid)))
        yield step.info(metrics)
    if plan.pairs_release and strategy.state.pairs is None:
        step = _Step(grid, strategy, number=0, kind="pairs")
        _, metrics = strategy.aggregate_pairs(step.ask(strategy.configure_pairs(grid)))
        yield step.info(metrics)
    for number in range(strategy.state.round + 1, plan.rounds + 1):
        step = _Step(grid, strategy, number=number)
        arrays = to_record(strategy.state.adapter)
        config = ConfigRecord(plan.to_record())
        requests = strategy.configure_train(number, arrays, config, grid)
        _, metrics = strategy.aggregate_train(number, step.ask(requests))
        yield step.info(metrics)


class _Step:
    """Clock and counters of one request to all shops."""

    def __init__(
        self, grid: Grid, strategy: ProfileStrategy, *, number: int, kind: RequestKind = "train"
    ) -> None:
        self._grid, self._federation = grid, strategy.federation
        self._number, self._kind = number, kind
        self._traffic, self._asked, self._started = Traffic(), 0, time.perf_counter()

    def ask(self, requests: list[Message]) -> Iterator[Message]:
        self._asked = len(requests)
        return exchange(
            self._grid,
            requests,
            timeout=self._federation.settings.round_timeout,
            stop=self._federation.stop,
            traffic=self._traffic,
            on_reply=self._count,
        )

    def info(self, metrics: MetricRecord) -> RoundInfo:
        return RoundInfo(
            round=self._number,
            asked=self._asked,
            good=cast(int, metrics["good"]),
            refused=cast(int, metrics["refused"]),
            update_norm=cast(float, metrics["update-norm"]),
            bytes_down=self._traffic.down,
            bytes_up=self._traffic.up,
            seconds=time.perf_counter() - self._started,
            kind=self._kind,
        )

    def _count(self, done: int, total: int) -> None:
        if self._federation.on_reply is not None:
            self._federation.on_reply(self._number, done, total)


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
    """Refuses: an app that was started without a federation has nothing to run.

    Raises:
        RunError: Always.
    """
    raise RunError("federation=none: start a run with the fedprofile command, not this app alone")
