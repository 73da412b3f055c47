"""Flower's two apps in this process: without server, ports, start-up time or Flower's output."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from itertools import count

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import ServerApp
from flwr.supercore import telemetry
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from shared.flower.grid import RunGrid
from shared.flower.patches import QUIET_ENVIRONMENT, patch_attribute

ENGINE_ENVIRONMENT = {
    **QUIET_ENVIRONMENT,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
"""Environment of the engines and of the processes that they start."""

RUN_ID = 1
FIRST_NODE_ID = SUPERLINK_NODE_ID + 1
"""Node ids follow the partitions, so that their order is the order of the shops."""


@contextmanager
def quiet_engine() -> Iterator[None]:
    """Sets the environment, mutes Flower's logger and puts everything back at the end.

    Flower: reads `FLWR_TELEMETRY_ENABLED` when it is imported, which has happened here already, and
    sends an event for each simulation. Here: its copy of the value is replaced too. Flower's errors
    are not lost: they end the run as exceptions.

    Raises:
        RunError: The installed Flower has other names.
    """
    logger, before = logging.getLogger("flwr"), dict(os.environ)
    level, telemetry_before = logger.level, telemetry.FLWR_TELEMETRY_ENABLED
    os.environ.update(ENGINE_ENVIRONMENT)
    patch_attribute(telemetry, FLWR_TELEMETRY_ENABLED="0")
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        patch_attribute(telemetry, FLWR_TELEMETRY_ENABLED=telemetry_before)
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def run_in_process(
    server_app: ServerApp, client_app: ClientApp, *, num_shops: int, workers: int = 1
) -> None:
    """Runs a ServerApp against one ClientApp for each simulated shop.

    Args:
        server_app: The federation's server.
        client_app: Answers for every shop; what it keeps between requests it keeps on disk.
        num_shops: Partitions 0 to `num_shops - 1`.
        workers: Shops that work at once, each in a thread; more than 1 needs a thread-safe node.
    """
    with quiet_engine(), InProcessGrid(client_app, num_shops=num_shops, workers=workers) as grid:
        server_app(grid=grid, context=_context(SUPERLINK_NODE_ID, {}))


class InProcessGrid(RunGrid):
    """Flower's `Grid` over function calls.

    A request runs when its reply is pulled, so that at most `workers` shops are open at a time,
    however many there are. Replies come in order of the nodes. Messages are copied on both ways, as
    a network would.

    Args:
        client_app: Runs for every node.
        num_shops: Number of nodes.
        workers: Threads; 1 runs in the caller's own.
    """

    def __init__(self, client_app: ClientApp, *, num_shops: int, workers: int = 1) -> None:
        super().__init__(Run.create_empty(RUN_ID))
        TaskIdentity.task_id = TaskIdentity.run_id = RUN_ID
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        self._app = client_app
        self._num_shops = num_shops
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self._ids = count(1)
        self._pending: deque[Message] = deque()
        self._running: deque[Future[Message]] = deque()

    def __enter__(self) -> InProcessGrid:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def get_node_ids(self) -> Iterable[int]:
        """Returns one id a shop, in order of the partitions."""
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self._num_shops)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queues requests in order of their nodes; requests left from before are dropped."""
        queued = sorted(messages, key=lambda message: message.metadata.dst_node_id)
        for message in queued:
            message.metadata.__dict__["_message_id"] = str(next(self._ids))
        for future in self._running:
            future.cancel()
        self._running.clear()
        self._pending = deque(queued)
        return [message.metadata.message_id for message in queued]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Runs the next request and returns its reply, alone in a list; empty when none is left."""
        waiting = set(message_ids)
        while reply := self._next_reply():
            if reply.metadata.reply_to_message_id in waiting:
                return [reply]
        return []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Returns all replies; `timeout` is ignored, since nothing here waits for a network."""
        del timeout
        ids = list(self.push_messages(messages))
        return [reply for _ in ids for reply in self.pull_messages(ids)]

    def _next_reply(self) -> Message | None:
        if self._pool is None:
            return self._answer(self._pending.popleft()) if self._pending else None
        while self._pending and len(self._running) < self._workers:
            self._running.append(self._pool.submit(self._answer, self._pending.popleft()))
        return self._running.popleft().result() if self._running else None

    def _answer(self, request: Message) -> Message:
        node_id = request.metadata.dst_node_id
        config = {"partition-id": node_id - FIRST_NODE_ID, "num-partitions": self._num_shops}
        message = deepcopy(request)
        try:
            reply = self._app(message, _context(node_id, config))
        except Exception:
            reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION), reply_to=message)
        reply.metadata.__dict__["_message_id"] = f"reply-{message.metadata.message_id}"
        return deepcopy(reply)


def _context(node_id: int, node_config: dict[str, int]) -> Context:
    return Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config={**node_config},
        state=RecordDict(),
        run_config={},
    )
