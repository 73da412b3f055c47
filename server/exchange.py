"""Sends one request to every connected shop and receives the replies as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event

from flwr.app import Error, Message
from flwr.serverapp import Grid

from server.replies import REPLY_UNAVAILABLE
from shared.errors import RunError

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two looks for replies; the pause doubles while nothing comes."""


@dataclass
class Traffic:
    """Bytes of arrays in one round, without Flower's framing."""

    down: int = 0
    up: int = 0


def connected_nodes(
    grid: Grid, *, wanted: int, minimum: int, timeout: float, stop: Event
) -> list[int]:
    """Waits for `wanted` nodes, and at the end of `timeout` is content with `minimum`.

    Args:
        grid: Flower's connection to the nodes.
        wanted: Nodes at which the wait ends.
        minimum: Nodes without which there is no round.
        timeout: Seconds.
        stop: Ends the wait.

    Returns:
        Node ids in ascending order.

    Raises:
        RunError: Fewer than `minimum` nodes came, or the run was stopped.
    """
    end, pause = time.monotonic() + timeout, SHORTEST_PAUSE
    while len(nodes := sorted(grid.get_node_ids())) < wanted and time.monotonic() < end:
        _sleep(pause, stop)
        pause = min(2 * pause, LONGEST_PAUSE)
    if len(nodes) < minimum:
        raise RunError(
            f"nodes={len(nodes)} must be at least min_replies={minimum} after {timeout:g} s; "
            "start more nodes, or lower min_replies"
        )
    return nodes


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    *,
    timeout: float,
    stop: Event,
    traffic: Traffic,
    on_reply: Callable[[int, int], None] | None = None,
) -> Iterator[Message]:
    """Sends messages, at most one a node, and yields one reply for each; others are left out.

    Args:
        grid: Flower's connection to the nodes.
        messages: Requests.
        timeout: Seconds for all replies; a node that did not answer by then gets an error reply.
        stop: Ends the exchange.
        traffic: Receives the number of bytes.
        on_reply: Called with replies so far and requests sent.

    Yields:
        Replies in the order in which they come.

    Raises:
        RunError: The run was stopped.
    """
    requests = {message.metadata.dst_node_id: message for message in messages}
    traffic.down += sum(_array_bytes(message) for message in requests.values())
    total, end, pause = len(requests), time.monotonic() + timeout, SHORTEST_PAUSE
    waiting = set(grid.push_messages(requests.values()))
    while waiting and time.monotonic() < end:
        replies = list(grid.pull_messages(sorted(waiting)))
        for reply in replies:
            if reply.metadata.reply_to_message_id not in waiting:
                continue  # of an earlier exchange, or a second one
            waiting.discard(reply.metadata.reply_to_message_id)
            requests.pop(reply.metadata.src_node_id, None)
            traffic.up += _array_bytes(reply)
            yield reply
            if on_reply is not None:
                on_reply(total - len(requests), total)
        pause = SHORTEST_PAUSE if replies else min(2 * pause, LONGEST_PAUSE)
        _sleep(0.0 if replies else pause, stop)
    for request in requests.values():
        yield Message(Error(code=REPLY_UNAVAILABLE[0], reason="no reply"), reply_to=request)


def _array_bytes(message: Message) -> int:
    if not message.has_content():
        return 0
    records = message.content.array_records.values()
    return sum(len(array.data) for record in records for array in record.values())


def _sleep(seconds: float, stop: Event) -> None:
    if stop.wait(seconds):
        raise RunError("the run was stopped; continue it with --resume")
