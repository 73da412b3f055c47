"""What a reply holds beside its numbers, and what one user does to the numbers: both exactly."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from client.federation.client_app import LOG, REFUSALS
from client.federation.node_interface import NodeConfig, NodeSource
from client.federation.shop_node import ShopNode
from shared.errors import DataError
from shared.flower.sent_objects import sent_objects
from shared.flower.simulation.in_process import FIRST_NODE_ID
from shared.privacy.noise import GRID, Integers
from shared.protocol import messages
from shared.protocol.messages import Plan
from simulation.audit.checks.audited_shop import (
    HEAD,
    POISONED,
    AuditedShop,
    AuditUser,
    Question,
    SentReply,
    audit_adapter,
    audited_head,
    exchange,
    in_words,
    lengths,
    questions_of,
    seeded_once,
)
from simulation.audit.checks.noise_checks import BUYERS, ROUNDS
from simulation.audit.checks.result import Finding
from simulation.audit.checks.subject import Subject

PRIVATE_TEXT = "alice bought insulin"
NAMED = 3
"""Faults that a finding spells out; all are among its figures."""
BATCH = 3
"""Users in memory at once while every place of three batches is tested."""
LARGEST_BATCH = 512
"""Largest batch of a plan whose border is tested as it is."""
CROWD, CROWD_TOLERANCE = 1000, 0.1
"""Users who are all alike, so that their sum is known: one in a thousand that weighs a tenth of the
norm more shows. Far above what rounding in batches of other sizes does."""


def check_reply(subject: Subject) -> Finding:
    """Tests that a reply holds the release and the shop's name, and a refusal a code: no more.

    The bytes must be those of a reply that is built anew from the parsed numbers, so that nothing
    hides beside them; how many users there are must not show in what a refusal says.
    """
    faults: dict[str, list[str]] = {}
    for users, rounds in ((BUYERS, ROUNDS), (BUYERS[:1], 1)):
        shop = AuditedShop(
            subject.plan,
            users,
            subject.randomness,
            head=audited_head(subject),
            device=subject.device,
            accounted=True,
        )
        for reply in shop.ask(questions_of(subject.plan, rounds=rounds)):
            beside = reply_faults(reply, plan=shop.plan, head=shop.head, shop=shop.shop_id)
            faults.setdefault(f"reply to {reply.question}", []).extend(beside)
    with _muted():
        for name, replies in _refusals(subject).items():
            faults[f"refusal: {name}"] = refusal_faults(replies)
    figures = {"looked_at": len(faults), "faults": {k: v for k, v in faults.items() if v}}
    texts = [f"{name}: {text}" for name, found in faults.items() for text in dict.fromkeys(found)]
    if texts:
        return Finding(False, "; ".join(texts[:NAMED]), figures)
    return Finding(True, f"{len(faults)} kinds of replies hold what they should, no more", figures)


def reply_faults(reply: SentReply, *, plan: Plan, head: int, shop: str) -> list[str]:
    """Lists what is wrong with a reply beside the size of its noise."""
    content = reply.message.content if reply.message.has_content() else RecordDict()
    faults = _unexpected(content, {reply.record, messages.STATUS})
    if reply.record not in content.array_records or messages.STATUS not in content.config_records:
        return [*faults, "holds no release"]
    status = dict(content.config_records[messages.STATUS])
    if status != {"shop": shop}:
        faults.append(f"status holds {', '.join(map(str, status))}")
    arrays: dict[str, Any] = {**messages.from_record(content.array_records[reply.record])}
    names = {reply.record}
    if isinstance(reply.question, int):
        names = set(messages.trainable_names(audit_adapter(), aggregation=plan.aggregation))
    if set(arrays) != names:
        return [*faults, f"arrays are named {', '.join(sorted(arrays))}"]
    if any(array.dtype != np.int64 for array in arrays.values()):
        return [*faults, "numbers are not int64"]
    length = lengths(plan, head)[reply.record]
    if sum(array.size for array in arrays.values()) != length:
        faults.append(f"holds {sum(a.size for a in arrays.values())} numbers, not {length}")
    built = RecordDict(
        {
            reply.record: messages.release_record(arrays),
            messages.STATUS: ConfigRecord({"shop": shop}),
        }
    )
    if _beside_message(reply.objects) != sent_objects(built):
        faults.append("bytes are not those of the release alone")
    metadata = reply.message.metadata
    if metadata.group_id:
        faults.append(f"metadata holds a group {metadata.group_id}")
    return faults


def refusal_faults(replies: Sequence[tuple[dict[str, bytes], Message]]) -> list[str]:
    """Lists what is wrong with refusals of one request, of shops that differ in their users."""
    allowed = {(code, remedy) for _, code, remedy in REFUSALS}
    faults = []
    for objects, message in replies:
        if not message.has_content():
            faults.append("is an error of Flower's, whose text may hold anything")
            continue
        content = message.content
        faults += _unexpected(content, {messages.STATUS})
        status: dict[str, Any] = dict(content.config_records.get(messages.STATUS, {}))
        shop = status.pop("shop", None)
        if set(status) != {"code", "remedy"} or (status["code"], status["remedy"]) not in allowed:
            faults.append(f"status holds {', '.join(map(str, status)) or 'nothing'}")
        built = RecordDict({messages.STATUS: ConfigRecord({"shop": shop, **status})})
        if not faults and _beside_message(objects) != sent_objects(built):
            faults.append("bytes are not those of code and remedy alone")
        if any(PRIVATE_TEXT.encode() in part for part in objects.values()):
            faults.append("holds the text of an error")
    if len({frozenset(_beside_message(objects)) for objects, _ in replies}) > 1:
        faults.append("depends on the shop's users")
    return faults


def _unexpected(content: RecordDict, names: set[str]) -> list[str]:
    return [f"holds {name}" for name in content if name not in names]


def _beside_message(objects: dict[str, bytes]) -> dict[str, bytes]:
    """Leaves out the message's own object, which holds ids and times of Flower's."""
    return dict(list(objects.items())[:-1])


@dataclass(frozen=True)
class _FailingSource:
    error: Exception

    def open(self, node_config: NodeConfig) -> ShopNode:  # noqa: ARG002
        raise self.error


def _refusals(subject: Subject) -> dict[str, list[tuple[dict[str, bytes], Message]]]:
    """Provokes refusals of every kind, each of two shops that differ in their users."""
    plan = subject.plan
    changes: dict[str, dict[str, Any]] = {
        "a plan without privacy": {"private": False},
        "a plan with an unknown field": {"surprise": 1},
        "a round beyond the plan": {messages.ROUND: plan.rounds + 1},
        "a request without adapter": {messages.ROUND: 1},
    }
    refused: dict[str, list[tuple[dict[str, bytes], Message]]] = {}
    for users in (BUYERS, BUYERS[:1]):
        shop = AuditedShop(plan, users, subject.randomness, accounted=True)
        for name, change in changes.items():
            with shop.source() as source:
                refused.setdefault(name, []).append(exchange(source, _bare(plan, change)))
    for error in (DataError(PRIVATE_TEXT), ValueError(PRIVATE_TEXT)):
        failing: NodeSource = _FailingSource(error)
        name = f"the shop fails with {type(error).__name__}"
        refused[name] = [exchange(failing, _bare(plan, {}))]
    return refused


def _bare(plan: Plan, change: dict[str, Any]) -> Callable[[], Message]:
    """A request to train with a changed plan; the adapter is there where the round is asked for."""
    record = {**plan.to_record(), messages.ROUND: 0, **change}

    def request() -> Message:
        content = RecordDict({messages.PLAN: ConfigRecord(record)})
        if record[messages.ROUND] != 1:
            content[messages.ADAPTER] = messages.to_record(audit_adapter())
            content[messages.CANDIDATES] = messages.codes_record(np.arange(8))
        return Message(content, FIRST_NODE_ID, "train")

    return request


@contextmanager
def _muted() -> Iterator[None]:
    """A shop logs why it refuses; here it is asked to."""
    level = LOG.level
    LOG.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        LOG.setLevel(level)


HEAVY = {
    "a user of one item": AuditUser((7,)),
    "a user of five items": AuditUser(tuple(range(5))),
    "a user of seventeen items": AuditUser(tuple(range(17))),
    "a user of all head items, each twice": AuditUser(tuple(range(HEAD)) * 2),
    "a user of all items": AuditUser(tuple(range(POISONED.start))),
    "a user of visits": AuditUser(tuple(range(60)), visit=6),
    **{f"a user of poisoned item {item}": AuditUser((3, item)) for item in POISONED},
}
"""Users who join a shop, whatever they have."""


def check_one_user(subject: Subject) -> Finding:
    """Tests in whole numbers that no user moves a release by more than the grid.

    Two shops with the same key of the noise differ in one user; so do their releases, by what this
    user adds. Every place in a batch, both sides of its border, light and heavy users, users whose
    gradient is not finite, and both kinds of adapters.
    """
    effects = {
        f"{who}: {in_words(question)}": _square(difference)
        for who, question, difference in _effects(subject)
    }
    crowd = {in_words(question): _norm(rest) for question, rest in _crowd(subject).items()}
    worst = max(effects, key=lambda name: effects[name])
    above = {name: square for name, square in effects.items() if square > GRID**2}
    reach = [_root(s) for name, s in effects.items() if "place" in name and "round" in name]
    figures = {
        "largest_effect": _root(effects[worst]),
        "compared": len(effects),
        "least_effect_of_a_buyer_in_training": min(reach, default=None),
        "squares_above_grid": above,
        "crowd_beyond_its_sum": crowd,
    }
    if above:
        text = f"{worst} moves by {_root(effects[worst]):.4g} of the norm, square {effects[worst]}"
        return Finding(False, f"{text}; at most {GRID**2} is covered by noise", figures)
    if max(crowd.values()) > CROWD_TOLERANCE:
        who = max(crowd, key=lambda name: crowd[name])
        text = (
            f"of {CROWD} equal users some weigh more: {who} move by {crowd[who]:.4g} norms beyond"
        )
        return Finding(False, text, figures)
    text = f"{len(effects)} comparisons: one user moves at most {_root(effects[worst]):.6f} norms"
    return Finding(True, f"{text}, and {CROWD} equal users each the same", figures)


def _effects(subject: Subject) -> Iterator[tuple[str, Question, Integers]]:
    """Yields who changed, what was asked, and the difference in what left."""
    own, key = subject.plan, seeded_once()
    plan = own.model_copy(update={"local_steps": 1, "sample_rate": 1.0, "physical_batch": BATCH})
    asked = questions_of(plan, rounds=1)
    rounds = [question for question in asked if isinstance(question, int)]
    shop = AuditedShop(plan, BUYERS, key, head=audited_head(subject), device=subject.device)
    yield from _differences(
        shop,
        {
            **{f"place {i}": _without(BUYERS, i) for i in range(len(BUYERS))},
            **{who: (*BUYERS, user) for who, user in HEAVY.items()},
        },
        asked,
    )
    every = questions_of(plan, rounds=ROUNDS)
    yield from _differences(shop, {"place 0, every round": _without(BUYERS, 0)}, every)
    if not rounds:
        return
    other = "average" if plan.aggregation != "average" else "frozen-a"
    yield from _differences(
        replace(shop, plan=plan.model_copy(update={"aggregation": other})),
        {f"place {i} with {other}": _without(BUYERS, i) for i in (0, len(BUYERS) - 1)},
        rounds,
    )
    batch = min(own.physical_batch, LARGEST_BATCH)
    many = tuple(AuditUser((i, i + 1)) for i in range(batch + 2))
    yield from _differences(
        replace(shop, users=many, plan=plan.model_copy(update={"physical_batch": batch})),
        {f"place {i} of {len(many)}": _without(many, i) for i in {0, batch - 1, batch, batch + 1}},
        rounds,
    )


def _differences(
    shop: AuditedShop, changed: dict[str, Sequence[AuditUser]], asked: Sequence[Question]
) -> Iterator[tuple[str, Question, Integers]]:
    before = shop.releases(asked)
    for who, users in changed.items():
        after = replace(shop, users=users).releases(asked)
        for question in asked:
            yield who, question, after[question] - before[question]


def _crowd(subject: Subject) -> dict[Question, Integers]:
    """Returns what many equal users add beyond so many times what one of them adds."""
    key = seeded_once()
    plan = subject.plan.model_copy(update={"local_steps": 1, "sample_rate": 1.0})
    asked = questions_of(plan, rounds=1)
    none, one, many = (
        AuditedShop(
            plan, (AuditUser((0, 1)),) * n, key, head=audited_head(subject), device=subject.device
        ).releases(asked)
        for n in (0, 1, CROWD)
    )
    return {q: many[q] - none[q] - CROWD * (one[q] - none[q]) for q in asked}


def _without(users: Sequence[AuditUser], place: int) -> tuple[AuditUser, ...]:
    """Takes a user's history away, not its place: all others are computed as before."""
    return (*users[:place], AuditUser(), *users[place + 1 :])


def _square(numbers: Integers) -> int:
    """Returns the square norm without rounding or overflow."""
    return sum(number * number for number in numbers[numbers != 0].tolist())


def _root(square: int) -> float:
    return math.sqrt(square) / GRID


def _norm(numbers: Integers) -> float:
    return _root(_square(numbers))
