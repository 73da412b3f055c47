"""Sends one request to every connected shop, receives the replies as they come, and reads them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from flwr.app import ArrayRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from server.aggregation.update_checks import (
    UpdateRefusedError,
    check_arrays,
    check_norm,
    check_numbers,
)
from server.federation.federated_run import Refusal
from shared.errors import PrivacyError, RunError
from shared.flower.reply_codes import REPLY_UNAVAILABLE, RefusalCode
from shared.privacy.noise import GRID
from shared.protocol.messages import STATUS, Arrays, Release, RequestKind

Answer = TypeVar("Answer")


def accepted_replies(
    replies: Iterable[Message],
    *,
    key: str,
    shapes: Mapping[str, tuple[int, ...]],
    round: int,  # noqa: A002
    refusals: list[Refusal],
    kind: RequestKind = "train",
    bound: float | None = None,
    scale: float = 1 / GRID,
) -> Iterator[tuple[str, Arrays]]:
    """Yields shop and checked arrays of each good reply, one at a time.

    Args:
        replies: As received, in any order.
        key: Name of the array record.
        shapes: Expected shape by array name.
        round: Number for the refusals.
        refusals: Receives the replies that do not count.
        kind: What was asked for, for the refusals.
        bound: Largest L2 norm of an honest reply, None for none.
        scale: What a step of the grid is worth.

    Yields:
        The name that the shop gave itself, and its arrays.
    """

    def read(content: RecordDict) -> Arrays:
        arrays = check_arrays(_only(content, key), shapes=shapes, scale=scale)
        check_norm(arrays, bound=bound)
        return arrays

    for _, shop, arrays in read_replies(replies, read, round=round, refusals=refusals, kind=kind):
        yield shop, arrays


def accepted_numbers(
    replies: Iterable[Message],
    *,
    key: str,
    shapes: Mapping[str, tuple[int, ...]],
    round: int,  # noqa: A002
    refusals: list[Refusal],
    kind: RequestKind,
) -> Iterator[tuple[str, Release]]:
    """Yields shop and whole numbers of each good reply, as `accepted_replies`."""

    def read(content: RecordDict) -> Release:
        return check_numbers(_only(content, key), shapes=shapes)

    for _, shop, numbers in read_replies(replies, read, round=round, refusals=refusals, kind=kind):
        yield shop, numbers


def read_replies(
    replies: Iterable[Message],
    read: Callable[[RecordDict], Answer],
    *,
    round: int,  # noqa: A002
    refusals: list[Refusal],
    kind: RequestKind,
) -> Iterator[tuple[int, str, Answer]]:
    """Yields node, shop and what was read of each good reply; one a shop.

    Args:
        replies: As received, in any order.
        read: Reads a reply's content; what it refuses, by `UpdateRefusedError` or `PrivacyError`,
            does not count.
        round: Number for the refusals.
        refusals: Receives the replies that do not count.
        kind: What was asked for, for the refusals.
    """
    seen: set[str] = set()
    for message in replies:
        shop = _shop(message)
        try:
            answer = read(_content(message))
            if shop in seen:
                raise UpdateRefusedError(
                    RefusalCode.DUPLICATE, "give every node its own shop's name"
                )
            seen.add(shop)
            yield message.metadata.src_node_id, shop, answer
        except _ShopRefusedError as refused:
            refusals.append(Refusal(round, shop, refused.code, refused.remedy, kind))
        except UpdateRefusedError as refused:
            refusals.append(Refusal(round, shop, str(refused.code), refused.remedy, kind))
        except PrivacyError as error:
            remedy = _line(error, 200)
            refusals.append(Refusal(round, shop, str(RefusalCode.PROTOCOL), remedy, kind))


class _ShopRefusedError(Exception):
    """The shop itself said no."""

    def __init__(self, *, code: str, remedy: str) -> None:
        super().__init__(code)
        self.code, self.remedy = code, remedy


def _content(message: Message) -> RecordDict:
    if message.has_error():
        if message.error.code in REPLY_UNAVAILABLE:
            raise UpdateRefusedError(RefusalCode.TIMEOUT, "raise round_timeout or look at the node")
        raise UpdateRefusedError(
            RefusalCode.NODE_ERROR, f"Flower's code {message.error.code}; see the node's own log"
        )
    content: RecordDict = message.content
    status = content.config_records.get(STATUS)
    if status is None:
        raise UpdateRefusedError(RefusalCode.MALFORMED, f"record {STATUS} is missing")
    if "code" in status:
        raise _ShopRefusedError(
            code=_code(status["code"]), remedy=_line(status.get("remedy", ""), 200)
        )
    return content


def _only(content: RecordDict, key: str) -> ArrayRecord:
    if set(content.array_records) != {key}:
        raise UpdateRefusedError(RefusalCode.MALFORMED, f"expected one array record: {key}")
    record: ArrayRecord = content.array_records[key]
    return record


def _shop(message: Message) -> str:
    node = f"node-{message.metadata.src_node_id}"
    status = message.content.config_records.get(STATUS) if message.has_content() else None
    return _line(status.get("shop", node), 100) or node if status is not None else node


def _code(value: object) -> str:
    text = str(value)
    return text if re.fullmatch("[a-z-]{1,40}", text) else str(RefusalCode.REFUSED)


def _line(value: object, length: int) -> str:
    """Makes a shop's text fit for a log: printable characters, one line, cut."""
    return "".join(c for c in str(value)[: 4 * length] if c.isprintable())[:length]


SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two looks for replies; the pause doubles while nothing comes."""
GRACE = 10.0
"""Seconds for which more replies are waited for where those that came are enough."""


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
            f"must be at least min_replies={minimum} after {timeout:g} s",
            name="nodes",
            value=len(nodes),
            remedy="start more nodes, or lower min_replies",
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
    enough: Callable[[], bool] | None = None,
) -> Iterator[Message]:
    """Sends messages, at most one a node, and yields one reply for each; others are left out.

    Args:
        grid: Flower's connection to the nodes.
        messages: Requests.
        timeout: Seconds for all replies; a node that did not answer by then gets an error reply.
        stop: Ends the exchange.
        traffic: Receives the number of bytes.
        on_reply: Called with replies so far and requests sent.
        enough: Says whether what came is enough: others are then waited for `GRACE` seconds more.

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
        if replies and enough is not None and enough():
            end = min(end, time.monotonic() + GRACE)
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
        raise RunError("the run was stopped", remedy="continue with --resume")
