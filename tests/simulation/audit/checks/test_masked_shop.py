"""A shop that the audit asks in secure sums: what opens, and what hides beside its answers."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable

from client.federation import client_app
from shared.errors import ModelError
from shared.protocol import messages
from shared.secure_aggregation.masks import NUMBER_BYTES
from simulation.audit.checks import audited_shop
from simulation.audit.checks.audited_shop import ITEMS, AuditedShop, Question, seeded_once
from simulation.audit.checks.masked_shop import ask_under_masks
from simulation.audit.checks.masks_check import check_masks, shared_plan
from simulation.audit.checks.noise_checks import BUYERS
from simulation.audit.detection_power import audited_plan

SUBJECT = audited_plan(8.0)
PLAN = shared_plan(SUBJECT.plan)


def shop() -> AuditedShop:
    return AuditedShop(PLAN, BUYERS, seeded_once())


def intercept(monkeypatch: pytest.MonkeyPatch, kind: str, change: object) -> None:
    """Lets a mod change each reply to one kind of message on its way out."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        if message.metadata.message_type == kind:
            change(reply)  # type: ignore[operator]
        return reply

    real = client_app.make_client_app
    monkeypatch.setattr(
        audited_shop, "make_client_app", lambda source, **sums: real(source, mods=[mod], **sums)
    )


@pytest.mark.parametrize("question", ["counts", "pairs", 1])
def test_what_opens_is_what_leaves_without_masks(question: Question) -> None:
    asked = shop()
    run = ask_under_masks(asked, [question])
    reply = run.releases[question]
    np.testing.assert_array_equal(reply.numbers, asked.releases([question])[question])
    assert len(reply.masked) == NUMBER_BYTES * len(reply.numbers)
    assert [answered.name for answered in run.others] == ["keys", "shares", "confirm", "open"]


def test_the_shared_plan_is_within_its_bounds() -> None:
    long = SUBJECT.plan.model_copy(update={"noise_shops": 55, "rounds": 5000, "local_steps": 3})
    plan = shared_plan(long)
    assert (plan.noise_shops, plan.rounds, plan.local_steps) == (10, 4, 1)
    assert shared_plan(SUBJECT.plan).noise_shops == 2


def more_status(reply: Message) -> None:
    reply.content[messages.STATUS] = ConfigRecord({"shop": "audit", "users": 9})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("query.counts", "the item counts: bytes are not those of the masked numbers alone"),
        ("query.keys", "keys: bytes are not those of the protocol's answer alone"),
        ("query.open", "open: bytes are not those of the protocol's answer alone"),
    ],
)
def test_what_hides_beside_an_answer_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: str, text: str
) -> None:
    intercept(monkeypatch, kind, more_status)
    finding = check_masks(SUBJECT)
    assert not finding.passed
    assert text in finding.figures["faults"]


def test_an_answer_that_is_new_each_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Message] = []

    def other_bytes(reply: Message) -> None:
        if messages.MASKED not in reply.content:
            return
        asked.append(reply)
        if len(asked) % 2 == 0:
            array = reply.content[messages.MASKED][messages.MASKED]
            array.data = array.data[:-1] + bytes([array.data[-1] ^ 1])

    intercept(monkeypatch, "query.counts", other_bytes)
    finding = check_masks(SUBJECT)
    assert finding.figures["faults"] == ["the item counts: asked again, other bytes leave"]
    assert len(asked) == 4


def test_a_shop_that_refuses_ends_the_check_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(reply: Message) -> None:
        reply.content[messages.STATUS] = ConfigRecord({"shop": "audit", "code": "privacy"})
        del reply.content[messages.AGGREGATION]

    intercept(monkeypatch, "query.shares", refuse)
    with pytest.raises(ModelError, match=r"reply=privacy holds no aggregation"):
        ask_under_masks(shop(), ["counts"])


def test_items_are_as_many_as_the_audit_asks_for() -> None:
    assert len(ask_under_masks(shop(), ["counts"]).releases["counts"].numbers) == ITEMS
