"""The connection to the nodes, narrowed to invited shops, with receipts for their ledgers."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from server.coordinator.ledger_receipts import LEDGER_REFUSED, ReceiptIssuer, StatedHead
from shared.errors import PrivacyError
from shared.flower.grid import PassingGrid
from shared.keys.signing import canonical
from shared.protocol import messages
from shared.protocol import messages as records
from shared.runtime.file_store import write_atomic

LOG = logging.getLogger("fedprofile.server")
REPLAYED = "replayed"
"""Refusal of an update that was sent before, for another round or by another shop."""


class InvitedGrid(PassingGrid):
    """Passes messages on; knows which node is which shop.

    A reply's shop is the one whose key its node was registered with, whatever the reply says. Each
    request carries the receipt of the shop's last head, each reply a new head to be signed. An
    update that came before, in another round or from another shop, is turned into a refusal, and so
    is a release of a ledger that does not go on from the last head.

    Args:
        grid: Flower's own.
        shops: Name by node id.
        receipts: Signs the heads of the shops' ledgers.
        seen: File that remembers the updates' digests, so that a resumed run knows them too.
    """

    def __init__(
        self,
        grid: Grid,
        shops: Mapping[int, str],
        receipts: ReceiptIssuer,
        *,
        seen: Path | None = None,
    ) -> None:
        super().__init__(grid)
        self._shops, self._receipts, self._seen_path = shops, receipts, seen
        self._seen: dict[str, list[str]] = {}
        if seen is not None and seen.exists():
            stored: dict[str, list[str]] = json.loads(seen.read_bytes())
            # Files of earlier versions do not name the record.
            self._seen = {digest: [*place, messages.UPDATE][:3] for digest, place in stored.items()}

    def replies(self) -> set[tuple[str, str, str]]:
        """Returns shop, round and array record of every update or statistic that came."""
        return {(shop, number, name) for shop, number, name in self._seen.values()}

    def get_node_ids(self) -> Iterable[int]:
        """Returns the connected nodes of invited shops."""
        return [node for node in self._grid.get_node_ids() if node in self._shops]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends requests, each with the receipt that its shop is owed."""
        owed = list(messages)
        for message in owed:
            receipt = self._receipts.last(self._shops[message.metadata.dst_node_id])
            if receipt is not None:
                record = ConfigRecord({"lines": receipt.line().decode()})
                message.content = RecordDict({**message.content, records.RECEIPTS: record})
        return self._grid.push_messages(owed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receives replies under their shops' true names."""
        replies = [
            m
            for m in self._grid.pull_messages(message_ids)
            if m.metadata.src_node_id in self._shops
        ]
        for reply in replies:
            self._look_at(reply)
        return replies

    def _look_at(self, reply: Message) -> None:
        shop = self._shops[reply.metadata.src_node_id]
        if not reply.has_content():
            return
        status = reply.content.config_records.get(messages.STATUS)
        status = ConfigRecord({}) if status is None else status
        status["shop"] = shop
        reply.content[messages.STATUS] = status
        replayed = self._replayed(reply, shop)
        if replayed:
            remedy = "send each update once"
            refusal = ConfigRecord({"shop": shop, "code": REPLAYED, "remedy": remedy})
            reply.content = RecordDict({messages.STATUS: refusal})
            return
        if not self._signed(reply, shop) and reply.content.array_records:
            remedy = "the shop's owner restores its ledger with `fedprofile node ledger restore`"
            refusal = ConfigRecord({"shop": shop, "code": LEDGER_REFUSED, "remedy": remedy})
            reply.content = RecordDict({messages.STATUS: refusal})

    def _signed(self, reply: Message, shop: str) -> bool:
        """Signs the head that came with a reply; False where the ledger does not go on from it."""
        stated = StatedHead.of(reply.content.config_records.get(records.LEDGER))
        if stated is None:
            return True
        try:
            return self._receipts.accept(shop, stated) is not None
        except PrivacyError as error:
            LOG.error("shop=%s: head not signed: %s", shop, error, extra={"shop": shop})
            return True

    def _replayed(self, reply: Message, shop: str) -> bool:
        arrays = reply.content.array_records
        if not arrays:
            return False
        state = hashlib.sha256()
        for name in sorted(arrays):
            for key in sorted(arrays[name]):
                state.update(f"{name}\x1f{key}\x1f".encode() + arrays[name][key].data)
        place = [shop, reply.metadata.group_id, min(arrays)]
        known = self._seen.setdefault(state.hexdigest(), place)
        if self._seen_path is not None and known is place:
            write_atomic(self._seen_path, canonical(self._seen), durable=True, private=True)
        return known[:2] != place[:2]
