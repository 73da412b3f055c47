"""An audited shop in secure sums, of which the auditor plays the server and all other shops.

The others add zeros, so what a sum opens to is what the shop sent below its masks. The shop answers
by the messages of production, as always; what the auditor plays needs no messages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from shared.errors import ModelError
from shared.flower.sent_objects import SentObjects
from shared.flower.simulation.in_process import FIRST_NODE_ID
from shared.keys.signing import SigningKey
from shared.privacy.noise import Integers
from shared.protocol import messages
from shared.protocol.messages import RequestKind
from shared.protocol.secure_sums import (
    asked_of,
    message_in,
    message_record,
    sum_name,
    terms_of,
)
from shared.secure_aggregation.decisions import MemoryDecisions
from shared.secure_aggregation.masked_sum import MaskedSum
from shared.secure_aggregation.messages import (
    Confirmation,
    DealtShares,
    OpenedShares,
    ShopKeys,
)
from shared.secure_aggregation.messages import Message as ProtocolMessage
from shared.secure_aggregation.roster import SignedRoster, make_roster, sign_roster
from shared.secure_aggregation.server import ServerSide
from shared.secure_aggregation.shop import Contribution, ShopSide
from simulation.audit.checks.audited_shop import (
    PAIRS,
    AuditedShop,
    Question,
    exchange,
    lengths,
    record_of,
)

Kind = TypeVar("Kind", bound=ProtocolMessage)


@dataclass(frozen=True, eq=False)
class ProtocolReply:
    """One of the shop's answers that hold no numbers, as it left.

    Attributes:
        name: Of the query.
        objects: Its bytes.
        answer: What they hold.
    """

    name: str
    objects: SentObjects
    answer: ProtocolMessage


@dataclass(frozen=True, eq=False)
class MaskedReply:
    """A release as it left under masks, and what the auditor found below them.

    Attributes:
        question: What was asked.
        objects: Its bytes.
        again: The bytes of the answer to the same request, sent once more.
        masked: Six bytes a number.
        numbers: What the masks hid, `(n,)`.
    """

    question: Question
    objects: SentObjects
    again: SentObjects
    masked: bytes
    numbers: Integers


@dataclass(frozen=True, eq=False)
class SecureReplies:
    """All that a shop answered in one run.

    Attributes:
        releases: By question.
        others: Its other answers, in order.
    """

    releases: Mapping[Question, MaskedReply]
    others: Sequence[ProtocolReply]


def ask_under_masks(shop: AuditedShop, questions: Sequence[Question]) -> SecureReplies:
    """Runs secure sums to their end, one a question.

    Args:
        shop: Its plan says among how many shops, `n`, the noise is divided: the roster has one
            more, which may help the server.
        questions: What is asked.

    Raises:
        ModelError: The shop refuses an answer.
        PrivacyError: What it answers is not of the protocol, or no sum opens.
    """
    with tempfile.TemporaryDirectory(prefix="fedprofile-audit-") as folder:
        run = _SecureRun(shop, Path(folder))
        run.set_up()
        return SecureReplies({q: run.ask(q) for q in questions}, run.replies)


class _SecureRun:
    """One run: the audited shop, the others, and the server."""

    def __init__(self, shop: AuditedShop, folder: Path) -> None:
        source = shop.accounted_source(folder)
        others = {f"other-{n:03}": SigningKey.generate() for n in range(shop.plan.noise_shops)}
        keys = {shop.shop_id: source.ledger(shop.shop_id).signing_key, **others}
        signed = _signed_by_all(keys)
        plan = shop.plan.model_copy(update={"roster": signed.roster.digest()})
        self._shop = replace(shop, plan=plan)
        self._source = replace(source, roster=signed, states=folder / "sums")
        self._others = [
            ShopSide(name, key, signed, MemoryDecisions()) for name, key in others.items()
        ]
        self._server = ServerSide(signed.roster, terms_of(plan), MemoryDecisions())
        self.replies: list[ProtocolReply] = []

    def set_up(self) -> None:
        """Exchanges keys and shares."""
        self._server.add_keys(self._answer(messages.KEYS_QUERY, ShopKeys))
        for other in self._others:
            self._server.add_keys(other.publish_keys(self._server.terms))
        listed = self._server.key_list()
        self._server.add_shares(self._answer(messages.SHARES_QUERY, DealtShares, listed))
        for other in self._others:
            self._server.add_shares(other.deal_shares(listed))
        self._server.fix_dealers()

    def ask(self, question: Question) -> MaskedReply:
        """Asks for a release, twice, and opens the sum."""
        kind = _kind(question)
        name = sum_name(kind, question if isinstance(question, int) else 0)
        objects, reply = exchange(self._source, partial(self._input, question, name))
        again, _ = exchange(self._source, partial(self._input, question, name))
        record = _content(reply, messages.MASKED).array_records[messages.MASKED]
        masked = messages.from_record(record)[messages.MASKED].tobytes()
        length = lengths(self._shop.plan, self._shop.head)[record_of(question)]
        asked = asked_of(self._shop.content(question), kind)
        total = self._server.masked_sum(name, asked=asked, size=length)
        total.add(self._shop.shop_id, masked)
        nothing = Contribution(name, asked, lambda _: np.zeros(length, dtype=np.int64))
        for other in self._others:
            request = self._server.input_request(other.shop, name)
            total.add(other.shop, other.mask(request, nothing))
        return MaskedReply(question, objects, again, masked, self._open(total))

    def _open(self, total: MaskedSum) -> Integers:
        confirm = total.confirm_request()
        mine = self._answer(messages.CONFIRM_QUERY, Confirmation, confirm)
        total.add_signature(mine.shop, mine.signature)
        for other in self._others:
            total.add_signature(other.shop, other.confirm(confirm))
        request = total.open_request()
        total.add_shares(self._answer(messages.OPEN_QUERY, OpenedShares, request))
        for other in self._others:
            total.add_shares(other.open_shares(request))
        return total.total()

    def _input(self, question: Question, name: str) -> Message:
        request = self._shop.request(question)
        letters = self._server.input_request(self._shop.shop_id, name)
        request.content[messages.AGGREGATION] = message_record(letters)
        return request

    def _answer(self, query: str, kind: type[Kind], request: ProtocolMessage | None = None) -> Kind:
        objects, reply = exchange(self._source, partial(self._query, query, request))
        answer = message_in(_content(reply, messages.AGGREGATION), kind)
        self.replies.append(ProtocolReply(query, objects, answer))
        return answer

    def _query(self, query: str, request: ProtocolMessage | None) -> Message:
        record = {**self._shop.plan.to_record(), messages.ROUND: 0}
        content = RecordDict({messages.PLAN: ConfigRecord(record)})
        if request is not None:
            content[messages.AGGREGATION] = message_record(request)
        return Message(content, FIRST_NODE_ID, f"query.{query}")


def _signed_by_all(keys: Mapping[str, SigningKey]) -> SignedRoster:
    roster = make_roster(
        {shop: key.public for shop, key in keys.items()}, max_missing=0, max_colluding=1
    )
    signatures = {shop: sign_roster(key, roster) for shop, key in keys.items()}
    return SignedRoster(roster=roster, signatures=signatures)


def _kind(question: Question) -> RequestKind:
    if isinstance(question, int):
        return "train"
    return "pairs" if question == PAIRS else "counts"


def _content(reply: Message, record: str) -> RecordDict:
    """Returns what a reply holds.

    Raises:
        ModelError: It does not hold this record.
    """
    content = reply.content if reply.has_content() else RecordDict()
    if record not in content:
        status = content.config_records.get(messages.STATUS, ConfigRecord())
        raise ModelError(
            f"holds no {record}", name="reply", value=status.get("code"), remedy="see the log"
        )
    return content
