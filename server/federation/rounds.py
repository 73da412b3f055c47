"""A federated run from its newest checkpoint to its end: item counts, pair sums, rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

from flwr.app import ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp

from server.federation.exchange import Traffic, exchange
from server.federation.federated_run import Federation, FederationResult, RoundInfo
from server.federation.secure_sums import SecureSums
from server.federation.server_state import Checkpoints, ServerState
from server.federation.strategy import ProfileStrategy
from shared.protocol.messages import RequestKind, to_record


def make_server_app(federation: Federation) -> ServerApp:
    """Builds the ServerApp of one federated run.

    Args:
        federation: What to run; its `result` is filled in at the end.

    Returns:
        An app whose main raises `FedprofileError` where the run cannot go on.
    """
    server_app = ServerApp()

    @server_app.main()
    def run(grid: Grid, context: Context) -> None:  # noqa: ARG001
        federation.result = federate(grid, federation)

    return server_app


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
    saved = checkpoints.load(resume=federation.resume) if checkpoints is not None else None
    strategy = ProfileStrategy(federation, state=saved or ServerState(0, dict(federation.adapter)))
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
    federation = strategy.federation
    sums = None if federation.roster is None else SecureSums(grid, federation, federation.roster)
    for kind, number in _left(strategy):
        step = _Step(grid, strategy, number=number, kind=kind)
        if sums is None:
            replies = step.ask(_requests(strategy, kind, number, grid))
            yield step.info(strategy.aggregate(kind, number, replies))
        else:
            sums.set_up(step)
            requests = _requests(strategy, kind, number, grid)
            total = sums.total(step, requests, strategy.shapes(kind))
            yield step.info(strategy.take_sum(kind, number, total), shops=total.shops)
    if sums is not None:
        sums.end()


def _left(strategy: ProfileStrategy) -> Iterator[tuple[RequestKind, int]]:
    """Yields kind and round of each request that is left; reads the state as it then is."""
    plan = strategy.federation.plan
    if plan.counts_release and strategy.state.counts is None:
        yield "counts", 0
    if plan.pairs_release and strategy.state.pairs is None:
        yield "pairs", 0
    for number in range(strategy.state.round + 1, plan.rounds + 1):
        yield "train", number


def _requests(
    strategy: ProfileStrategy, kind: RequestKind, number: int, grid: Grid
) -> list[Message]:
    if kind == "counts":
        return strategy.configure_counts(grid)
    if kind == "pairs":
        return strategy.configure_pairs(grid)
    config = ConfigRecord(strategy.federation.plan.to_record())
    return strategy.configure_train(number, to_record(strategy.state.adapter), config, grid)


class _Step:
    """Clock and counters of one request to all shops."""

    def __init__(
        self, grid: Grid, strategy: ProfileStrategy, *, number: int, kind: RequestKind
    ) -> None:
        self._grid, self._federation = grid, strategy.federation
        self.number, self.kind = number, kind
        self._traffic, self._asked, self._started = Traffic(), 0, time.perf_counter()

    def ask(
        self, requests: list[Message], *, enough: Callable[[], bool] | None = None
    ) -> Iterator[Message]:
        """Sends requests and yields a reply for each; see `server.federation.exchange`."""
        self._asked = max(self._asked, len(requests))
        return exchange(
            self._grid,
            requests,
            timeout=self._federation.settings.round_timeout,
            stop=self._federation.stop,
            traffic=self._traffic,
            on_reply=self._count,
            enough=enough,
        )

    def info(self, metrics: MetricRecord, *, shops: tuple[str, ...] = ()) -> RoundInfo:
        return RoundInfo(
            round=self.number,
            asked=self._asked,
            good=cast(int, metrics["good"]),
            refused=cast(int, metrics["refused"]),
            update_norm=cast(float, metrics["update-norm"]),
            bytes_down=self._traffic.down,
            bytes_up=self._traffic.up,
            seconds=time.perf_counter() - self._started,
            kind=self.kind,
            shops=shops,
        )

    def _count(self, done: int, total: int) -> None:
        if self._federation.on_reply is not None:
            self._federation.on_reply(self.number, done, total)
