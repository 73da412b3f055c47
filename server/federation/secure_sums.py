"""The server's side of secure aggregation in a run: one set-up, then three messages a sum.

The protocol is `shared.secure_aggregation.server`; here it meets Flower's messages. Whatever is
asked a second time, after a crash or for a shop that was away, is the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from server.aggregation.update_checks import ARRAY_HEADER_BYTES, UpdateRefusedError
from server.federation.exchange import Traffic, connected_nodes, exchange, read_replies
from server.federation.federated_run import Federation, Refusal
from server.federation.whole_sums import Shapes, WholeSum, size_of, split
from shared.errors import PrivacyError, RunError
from shared.flower.reply_codes import RefusalCode
from shared.protocol import messages
from shared.protocol.messages import RequestKind
from shared.protocol.secure_sums import (
    asked_of,
    message_in,
    message_record,
    sum_name,
    terms_of,
)
from shared.runtime.file_store import make_folder
from shared.secure_aggregation.decisions import FolderDecisions, MemoryDecisions
from shared.secure_aggregation.masked_sum import MaskedSum
from shared.secure_aggregation.masks import NUMBER_BYTES
from shared.secure_aggregation.messages import (
    Confirmation,
    DealtShares,
    OpenedShares,
    ShopKeys,
)
from shared.secure_aggregation.messages import Message as ProtocolMessage
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.server import ServerSide

LOG = logging.getLogger("fedprofile.server")
STATE = "secure-sums"
"""Folder beside the checkpoints: what must never be asked in two ways."""
Answer = TypeVar("Answer", ShopKeys, DealtShares, Confirmation, OpenedShares)
"""What a shop answers in its own name."""


class Asks(Protocol):
    """Sends requests, and counts time and bytes; see `server.federation.rounds`."""

    number: int
    kind: RequestKind

    def ask(
        self, requests: list[Message], *, enough: Callable[[], bool] | None = None
    ) -> Iterator[Message]:
        """Sends requests and yields a reply for each."""
        ...


class SecureSums:
    """The sums of one run.

    Args:
        grid: Flower's connection to the nodes.
        federation: The run.
        roster: Its roster.
    """

    def __init__(self, grid: Grid, federation: Federation, roster: Roster) -> None:
        self._grid, self._federation, self._roster = grid, federation, roster
        folder = federation.checkpoints
        decisions = MemoryDecisions() if folder is None else _decisions(folder)
        self._side = ServerSide(roster, terms_of(federation.plan), decisions)
        self._nodes: dict[int, str] = {}
        """Shop by node: who showed the keys of the run."""
        self._dealers: tuple[str, ...] | None = None
        self._refusals: list[Refusal] = []
        """Of the set-up, until the next sum tells them."""

    def set_up(self, step: Asks) -> None:
        """Asks for keys and shares, once a run; later for the keys of nodes that came back.

        Raises:
            RunError: Fewer shops than every sum needs.
        """
        refusals = self._refusals
        try:
            self._ask_keys(step, refusals)
            if self._dealers is None:
                self._ask_shares(step, refusals)
        except PrivacyError as error:
            raise self._too_few(step, error, refusals) from error

    def total(self, step: Asks, requests: list[Message], shapes: Shapes) -> WholeSum:
        """Adds up what the shops answer; goes on where an earlier process stopped.

        Args:
            step: Sends.
            requests: Without their part of the protocol; all ask the same.
            shapes: Of the arrays that a shop answers with.

        Raises:
            RunError: Fewer shops answered, confirmed or opened than every sum needs.
        """
        name = sum_name(step.kind, step.number)
        refusals, self._refusals = self._refusals, []
        asked, size = asked_of(requests[0].content, step.kind), size_of(shapes)
        masked = self._side.masked_sum(name, asked=asked, size=size)
        try:
            if not masked.is_fixed:
                self._add_inputs(step, masked, requests, size, refusals)
            self._confirm(step, masked, refusals)
            self._open(step, masked, refusals)
            numbers = masked.total()
        except PrivacyError as error:
            raise self._too_few(step, error, refusals) from error
        return WholeSum(split(numbers, shapes), masked.survivors, refusals)

    def end(self) -> None:
        """Lets the shops forget the run's secrets; one that is away does so at its next run."""
        online = set(self._grid.get_node_ids())
        nodes = [node for node in self._nodes if node in online]
        replies = exchange(
            self._grid,
            [self._request(node, messages.END_QUERY) for node in nodes],
            timeout=self._federation.settings.round_timeout,
            stop=self._federation.stop,
            traffic=Traffic(),
            enough=lambda: True,
        )
        for _ in replies:
            pass

    def _ask_keys(self, step: Asks, refusals: list[Refusal]) -> None:
        federation, roster = self._federation, self._roster
        first = self._dealers is None
        nodes = connected_nodes(
            self._grid,
            wanted=federation.nodes or (roster.size if first else roster.threshold),
            minimum=roster.threshold,
            timeout=federation.settings.round_timeout,
            stop=federation.stop,
        )
        unknown = [node for node in nodes if node not in self._nodes]
        requests = [self._request(node, messages.KEYS_QUERY) for node in unknown]
        for node, keys in self._answers(step, requests, ShopKeys, refusals, self._side.add_keys):
            self._nodes[node] = keys.shop

    def _ask_shares(self, step: Asks, refusals: list[Refusal]) -> None:
        listed = self._side.key_list()
        shops = {keys.shop for keys in listed.keys}
        requests = [
            self._request(node, messages.SHARES_QUERY, listed)
            for node, shop in self._nodes.items()
            if shop in shops
        ]
        for _ in self._answers(step, requests, DealtShares, refusals, self._side.add_shares):
            pass
        self._dealers = self._side.fix_dealers()

    def _add_inputs(
        self,
        step: Asks,
        masked: MaskedSum,
        requests: list[Message],
        size: int,
        refusals: list[Refusal],
    ) -> None:
        name, addressed = sum_name(step.kind, step.number), []
        for request in requests:
            shop = self._nodes.get(request.metadata.dst_node_id, "")
            if shop in (self._dealers or ()):
                letters = message_record(self._side.input_request(shop, name))
                request.content = RecordDict({**request.content, messages.AGGREGATION: letters})
                addressed.append(request)
        replies = read_replies(
            step.ask(addressed),
            lambda content: _masked_in(content, NUMBER_BYTES * size),
            round=step.number,
            refusals=refusals,
            kind=step.kind,
        )
        for node, shop, numbers in replies:
            self._take(shop, step, refusals, partial(masked.add, self._nodes[node], numbers))

    def _confirm(self, step: Asks, masked: MaskedSum, refusals: list[Refusal]) -> None:
        request, count = masked.confirm_request(), _Count(self._roster.threshold)
        requests = self._to(masked.survivors, messages.CONFIRM_QUERY, request)

        def take(answer: Confirmation) -> None:
            masked.add_signature(answer.shop, answer.signature)
            count.done += 1

        for _ in self._answers(step, requests, Confirmation, refusals, take, enough=count.enough):
            pass

    def _open(self, step: Asks, masked: MaskedSum, refusals: list[Refusal]) -> None:
        request, count = masked.open_request(), _Count(self._roster.threshold)
        requests = self._to(masked.survivors, messages.OPEN_QUERY, request)

        def take(answer: OpenedShares) -> None:
            masked.add_shares(answer)
            count.done += 1

        waiting = set(request.signatures)
        for _, opened in self._answers(
            step, requests, OpenedShares, refusals, take, enough=count.enough
        ):
            waiting.discard(opened.shop)
            if not waiting:
                break  # who has not confirmed is gone for now, and would be waited for again

    def _answers(
        self,
        step: Asks,
        requests: list[Message],
        kind: type[Answer],
        refusals: list[Refusal],
        take: Callable[[Answer], None],
        *,
        enough: Callable[[], bool] | None = None,
    ) -> Iterator[tuple[int, Answer]]:
        """Yields node and answer of each reply that the protocol took in."""
        replies = read_replies(
            step.ask(requests, enough=enough),
            lambda content: message_in(content, kind),
            round=step.number,
            refusals=refusals,
            kind=step.kind,
        )
        for node, shop, answer in replies:
            if self._take(shop, step, refusals, partial(_take_as, shop, answer, take)):
                yield node, answer

    def _take(
        self, shop: str, step: Asks, refusals: list[Refusal], take: Callable[[], None]
    ) -> bool:
        """Takes an answer in, or notes that the protocol refuses it."""
        try:
            take()
        except PrivacyError as error:
            LOG.warning("round=%d shop=%s: %s", step.number, shop, error)
            code = str(RefusalCode.PROTOCOL)
            refusals.append(Refusal(step.number, shop, code, error.message[:200], step.kind))
            return False
        return True

    def _to(self, shops: tuple[str, ...], query: str, request: ProtocolMessage) -> list[Message]:
        return [
            self._request(node, query, request)
            for node, shop in self._nodes.items()
            if shop in shops
        ]

    def _request(self, node: int, query: str, message: ProtocolMessage | None = None) -> Message:
        content = RecordDict({messages.PLAN: ConfigRecord(self._federation.plan.to_record())})
        if message is not None:
            content[messages.AGGREGATION] = message_record(message)
        return Message(
            content,
            dst_node_id=node,
            message_type=f"{MessageType.QUERY}.{query}",
            group_id=query,
            ttl=self._federation.settings.round_timeout,
        )

    def _too_few(self, step: Asks, error: PrivacyError, refusals: list[Refusal]) -> RunError:
        if self._federation.on_refused is not None:
            self._federation.on_refused(refusals)
        first = f"; first refusal: {refusals[0].shop}: {refusals[0].code}" if refusals else ""
        return RunError(
            f"{error.message}{first}",
            name="round",
            value=step.number,
            remedy="start the shops that are missing, then continue with --resume",
        )


@dataclass
class _Count:
    """Says when as many answers came as open a sum."""

    least: int
    done: int = 0

    def enough(self) -> bool:
        return self.done >= self.least


def _take_as(shop: str, answer: Answer, take: Callable[[Answer], None]) -> None:
    """Takes an answer in, where the shop gave it in its own name."""
    if answer.shop != shop:
        raise PrivacyError(
            "must be in the name of the shop that sent it",
            name="shop",
            value=answer.shop,
            remedy=f"look at the node of {shop}",
        )
    take(answer)


def _decisions(checkpoints: Path) -> FolderDecisions:
    make_folder(checkpoints)
    return FolderDecisions(make_folder(checkpoints / STATE))


def _masked_in(content: RecordDict, size: int) -> bytes:
    """Reads masked numbers of `size` bytes."""
    if set(content.array_records) != {messages.MASKED}:
        raise UpdateRefusedError(RefusalCode.MALFORMED, f"expected one record: {messages.MASKED}")
    record = content.array_records[messages.MASKED]
    if set(record) != {messages.MASKED}:
        raise UpdateRefusedError(RefusalCode.KEYS, "expected one array")
    array = record[messages.MASKED]
    if array.stype != "numpy.ndarray" or array.dtype != "uint8" or tuple(array.shape) != (size,):
        raise UpdateRefusedError(RefusalCode.SHAPE, f"expected {size} bytes")
    if not size < len(array.data) <= size + ARRAY_HEADER_BYTES:
        raise UpdateRefusedError(RefusalCode.SIZE, f"expected {size} bytes and a header")
    return array.data[-size:] if size else b""
