"""What secure aggregation needs to know of a plan, and how its messages are packed for Flower."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeVar, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from shared.errors import PrivacyError
from shared.privacy.ledger.log.shop_files import digest_arrays
from shared.protocol import messages
from shared.protocol.messages import Arrays, CodesArray, Plan, RequestKind
from shared.secure_aggregation.messages import MAX_RELEASES, Message, Terms, read_message

CONTENT = "content"
Kind = TypeVar("Kind", bound=Message)


def sum_names(plan: Plan) -> tuple[str, ...]:
    """Names the sums of a plan, in the order in which they are asked for."""
    statistics = (("counts", plan.counts_release), ("pairs", plan.pairs_release))
    named = [name for name, released in statistics if released]
    return (*named, *(update_name(number) for number in range(1, plan.rounds + 1)))


def sum_name(kind: RequestKind, number: int) -> str:
    """Names the sum of a request: of its kind, and of its round, from 1."""
    return update_name(number) if kind == "train" else kind


def update_name(number: int) -> str:
    """Names the sum of a round, from 1."""
    return f"adapter-{number}"


def terms_of(plan: Plan) -> Terms:
    """Returns what a run under a plan with a roster is about.

    Raises:
        PrivacyError: The plan has no release, or more than one set-up holds.
    """
    names = sum_names(plan)
    if not 1 <= len(names) <= MAX_RELEASES:
        raise PrivacyError(
            f"must be between 1 and {MAX_RELEASES} with secure aggregation",
            name="releases of the plan",
            value=len(names),
            remedy="train fewer rounds",
        )
    return Terms(
        run=plan.digest()[:16],
        plan=plan.digest(),
        roster=plan.roster,
        noise_shops=plan.noise_shops,
        releases=names,
    )


def counts_asked() -> str:
    """Returns the digest of a request for item counts."""
    return digest_arrays({}, "counts")


def pairs_asked(head: CodesArray) -> str:
    """Returns the digest of a request for pair sums over a head, int64 `(h,)`."""
    return digest_arrays({messages.HEAD: head}, "pairs")


def update_asked(adapter: Arrays, candidates: CodesArray, number: int) -> str:
    """Returns the digest of a request for a round's update.

    Args:
        adapter: The global matrices, float32.
        candidates: The round's candidates, int64 `(n,)`.
        number: Of the round, from 1.
    """
    return digest_arrays({**adapter, messages.CANDIDATES: candidates}, "train", number)


def asked_of(content: RecordDict, kind: RequestKind) -> str:
    """Returns the digest of what a request asks, as sender and shop both compute it.

    Raises:
        KeyError: A record is missing.
    """
    if kind == "counts":
        return counts_asked()
    if kind == "pairs":
        record = content.array_records[messages.HEAD]
        return pairs_asked(messages.from_codes(record, name=messages.HEAD))
    return update_asked(
        messages.from_record(content.array_records[messages.ADAPTER]),
        messages.from_codes(content.array_records[messages.CANDIDATES]),
        cast(int, content.config_records[messages.PLAN][messages.ROUND]),
    )


def asked_in(setup: str, asked: str) -> str:
    """Binds what was asked to a set-up: a paid answer in one set-up is none in another."""
    return hashlib.sha256(f"fedprofile masked input\n{setup}\n{asked}".encode()).hexdigest()


def message_record(message: Message) -> ConfigRecord:
    """Packs a message of the protocol."""
    return ConfigRecord({CONTENT: message.content()})


def message_in(content: RecordDict, kind: type[Kind]) -> Kind:
    """Reads a message of the protocol.

    Raises:
        PrivacyError: There is none of this kind.
    """
    record = content.config_records.get(messages.AGGREGATION)
    packed = None if record is None else record.get(CONTENT)
    return read_message(kind, packed if isinstance(packed, bytes) else b"")


def masked_record(masked: bytes) -> ArrayRecord:
    """Packs masked numbers."""
    return ArrayRecord({messages.MASKED: Array(np.frombuffer(masked, dtype=np.uint8))})


def masked_arrays(masked: bytes) -> Mapping[str, np.ndarray]:
    """Returns masked numbers as the arrays whose digest a ledger commits to."""
    return {messages.MASKED: np.frombuffer(masked, dtype=np.uint8)}
