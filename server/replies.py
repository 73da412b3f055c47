"""Reads what shops answer: either arrays that passed the checks, or a reason why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from flwr.app import Message, RecordDict

from server.checks import RefusalCode, UpdateRefusedError, check_arrays, check_norm
from server.federation import Refusal, RequestKind
from shared.messages import STATUS, Arrays

REPLY_UNAVAILABLE = (3, 4)
"""Flower's error codes for a message or reply that expired."""


def accepted_replies(
    replies: Iterable[Message],
    *,
    key: str,
    shapes: Mapping[str, tuple[int, ...]],
    round: int,  # noqa: A002
    refusals: list[Refusal],
    kind: RequestKind = "train",
    bound: float | None = None,
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

    Yields:
        The name that the shop gave itself, and its arrays.
    """
    seen: set[str] = set()
    for message in replies:
        shop = _shop(message)
        try:
            arrays = _arrays(message, key=key, shapes=shapes)
            check_norm(arrays, bound=bound)
            if shop in seen:
                raise UpdateRefusedError(
                    RefusalCode.DUPLICATE, "give every node its own shop's name"
                )
            seen.add(shop)
            yield shop, arrays
        except _ShopRefusedError as no:
            refusals.append(Refusal(round, shop, no.code, no.remedy, kind))
        except UpdateRefusedError as no:
            refusals.append(Refusal(round, shop, str(no.code), no.remedy, kind))


class _ShopRefusedError(Exception):
    """The shop itself said no."""

    def __init__(self, *, code: str, remedy: str) -> None:
        super().__init__(code)
        self.code, self.remedy = code, remedy


def _arrays(message: Message, *, key: str, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
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
    if set(content.array_records) != {key}:
        raise UpdateRefusedError(RefusalCode.MALFORMED, f"expected one array record: {key}")
    return check_arrays(content.array_records[key], shapes=shapes)


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
