"""Flower's connection to the nodes, narrowed to invited shops and their true names."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from pydantic import ValidationError

from shared import messages
from shared.deploy import records
from shared.deploy.owner_files import write_owner_file
from shared.errors import PrivacyError
from shared.privacy.ledger.entries import canonical
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.receipts import Receipt, keep_receipts, read_receipts, sign_head
from shared.privacy.ledger.shop_files import file_stem

LOG = logging.getLogger("fedprofile.server")
REPLAYED = "replayed"
"""Refusal of an update that was sent before, for another round or by another shop."""


def last_receipt(folder: Path, shop: str) -> Receipt | None:
    """Returns the newest receipt of a shop in a folder of receipts."""
    path = _receipts_of(folder, shop)
    found = read_receipts(path) if path.exists() else ()
    return max(found, key=lambda receipt: receipt.entry, default=None)


def _receipts_of(folder: Path, shop: str) -> Path:
    return folder / f"{file_stem(shop)}.jsonl"


class HeadBook:
    """Signs the heads of the shops' ledgers and remembers the last one of each.

    Args:
        folder: One file of receipts a shop.
        key: The server's.
    """

    def __init__(self, folder: Path, key: SigningKey) -> None:
        self._folder, self._key = folder, key

    def last(self, shop: str) -> Receipt | None:
        """Returns the newest receipt of a shop."""
        return last_receipt(self._folder, shop)

    def accept(self, shop: str, *, entry: int, head: str) -> Receipt | None:
        """Signs a head, unless the ledger went back or was rewritten.

        Raises:
            PrivacyError: The receipts cannot be read or written.
        """
        last = self.last(shop)
        if last is not None and (
            entry < last.entry or (entry == last.entry) != (head == last.head)
        ):
            LOG.error(
                "ledger of shop=%s went from line %d to %d: it was replaced by an older copy; its "
                "head is not signed",
                shop,
                last.entry,
                entry,
                extra={"shop": shop},
            )
            return None
        if last is not None and entry == last.entry:
            return last
        try:
            receipt = sign_head(self._key, shop=shop, entry=entry, head=head)
        except ValidationError:
            return None
        keep_receipts(self._path(shop), [receipt])
        return receipt

    def _path(self, shop: str) -> Path:
        return _receipts_of(self._folder, shop)


class InvitedGrid(Grid):
    """Passes messages on; knows which node is which shop.

    A reply's shop is the one whose key its node was registered with, whatever the reply says. Each
    request carries the receipt of the shop's last head, each reply a new head to be signed. An
    update that came before, in another round or from another shop, is turned into a refusal.

    Args:
        grid: Flower's own.
        shops: Name by node id.
        heads: Signs heads.
        seen: File that remembers the updates' digests, so that a resumed run knows them too.
    """

    def __init__(
        self, grid: Grid, shops: Mapping[int, str], heads: HeadBook, *, seen: Path | None = None
    ) -> None:
        self._grid, self._shops, self._heads, self._seen_path = grid, shops, heads, seen
        self._seen: dict[str, list[str]] = {}
        if seen is not None and seen.exists():
            kept: dict[str, list[str]] = json.loads(seen.read_bytes())
            # Files of earlier versions do not name the record.
            self._seen = {digest: [*place, messages.UPDATE][:3] for digest, place in kept.items()}

    def replies(self) -> set[tuple[str, str, str]]:
        """Returns shop, round and array record of every update or statistic that came."""
        return {(shop, number, name) for shop, number, name in self._seen.values()}

    def set_run(self, run: Run) -> None:
        """Sets the run's description."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Creates a request, as Flower's older interface asks."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Returns the connected nodes of invited shops."""
        return [node for node in self._grid.get_node_ids() if node in self._shops]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends requests, each with the receipt that its shop is owed."""
        owed = list(messages)
        for message in owed:
            receipt = self._heads.last(self._shops[message.metadata.dst_node_id])
            if receipt is not None:
                line = canonical(receipt.model_dump()).decode()
                record = ConfigRecord({"lines": line})
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

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Sends and waits; `server.exchange` does it with its own clock instead."""
        return self._grid.send_and_receive(messages, timeout=timeout)

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
        self._sign(reply, shop)

    def _sign(self, reply: Message, shop: str) -> None:
        ledger = reply.content.config_records.get(records.LEDGER)
        if ledger is None or not isinstance(ledger.get("entry"), int):
            return
        entry, head = int(str(ledger["entry"])), str(ledger.get("head"))
        try:
            self._heads.accept(shop, entry=entry, head=head)
        except PrivacyError as error:
            LOG.error("shop=%s: head not signed: %s", shop, error, extra={"shop": shop})

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
            write_owner_file(self._seen_path, canonical(self._seen))
        return known[:2] != place[:2]
