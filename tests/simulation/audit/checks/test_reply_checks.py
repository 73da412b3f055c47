"""What a reply may hold, and that one user's effect is measured in whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.federation import client_app
from shared.protocol import messages
from simulation.audit.checks import audited_shop
from simulation.audit.checks.audited_shop import (
    ITEMS,
    AuditedShop,
    AuditUser,
    Question,
    lengths,
    questions_of,
    seeded_once,
)
from simulation.audit.checks.noise_checks import BUYERS
from simulation.audit.checks.reply_checks import check_reply, reply_faults
from simulation.audit.detection_power import audited_plan

SUBJECT = audited_plan(8.0)
Change = Callable[[Message], None]


def shop(**changes: object) -> AuditedShop:
    base = AuditedShop(SUBJECT.plan, BUYERS, seeded_once())
    return replace(base, **changes)  # type: ignore[arg-type]


def faults(question: Question, monkeypatch: pytest.MonkeyPatch, change: Change) -> list[str]:
    """What is found where a mod changes each reply on its way out."""

    def mod(message: Message, context: Context, call_next: ClientApp) -> Message:
        reply = call_next(message, context)
        change(reply)
        return reply

    real = client_app.make_client_app
    monkeypatch.setattr(
        audited_shop, "make_client_app", lambda source, **sums: real(source, mods=[mod], **sums)
    )
    (reply,) = shop().ask([question])
    return reply_faults(reply, plan=SUBJECT.plan, head=audited_shop.HEAD, shop="audit")


def nothing(reply: Message) -> None:  # noqa: ARG001
    return


def metrics(reply: Message) -> None:
    reply.content["metrics"] = MetricRecord({"num-examples": 9})


def more_status(reply: Message) -> None:
    reply.content[messages.STATUS] = ConfigRecord({"shop": "audit", "seconds": 0.3})


def other_name(reply: Message) -> None:
    reply.content[messages.STATUS] = ConfigRecord({"shop": "audit-9-users"})


def floats(reply: Message) -> None:
    numbers = reply.content["counts"]["counts"].numpy()
    reply.content["counts"] = ArrayRecord({"counts": Array(numbers.astype(np.float64))})


def longer(reply: Message) -> None:
    numbers = np.append(reply.content["counts"]["counts"].numpy(), 9)
    reply.content["counts"] = ArrayRecord({"counts": Array(numbers)})


def second_array(reply: Message) -> None:
    reply.content["counts"]["users"] = Array(np.array([9]))


def padded_bytes(reply: Message) -> None:
    array = reply.content["counts"]["counts"]
    array.data = array.data + b"9 users"


def grouped(reply: Message) -> None:
    reply.metadata.group_id = "9"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (metrics, "holds metrics"),
        (more_status, "status holds shop, seconds"),
        (other_name, "status holds shop"),
        (floats, "numbers are not int64"),
        (longer, f"holds {ITEMS + 1} numbers, not {ITEMS}"),
        (second_array, "arrays are named counts, users"),
        (padded_bytes, "bytes are not those of the release alone"),
        (grouped, "metadata holds a group 9"),
    ],
)
def test_what_hides_in_a_reply_is_listed(
    change: Change, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert text in faults("counts", monkeypatch, change)


@pytest.mark.parametrize("question", ["counts", "pairs", 1])
def test_an_honest_reply_holds_its_release_and_no_more(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults(question, monkeypatch, nothing) == []


@pytest.mark.parametrize(
    ("remedy", "text"),
    [("add users, there are 9", "status holds code, remedy"), ("{error}", "holds the text of an")],
)
def test_a_refusal_that_says_more_is_found(
    remedy: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(shop: str, error: Exception) -> RecordDict:
        said = remedy.format(error=error)
        status = ConfigRecord({"shop": shop, "code": "data", "remedy": said})
        return RecordDict({messages.STATUS: status})

    monkeypatch.setattr(client_app, "refusal", refusal)
    finding = check_reply(SUBJECT)
    assert not finding.passed
    assert text in str(finding.figures["faults"])


def test_an_error_of_flowers_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: object) -> None:
        raise ValueError("alice bought insulin")

    monkeypatch.setattr(client_app, "refusal", raising)
    finding = check_reply(SUBJECT)
    assert "is an error of Flower's" in str(finding.figures["faults"])


def test_two_shops_with_one_key_differ_by_one_user_exactly() -> None:
    asked = questions_of(SUBJECT.plan, rounds=1)
    both = shop(users=(AuditUser((3, 5, 7)), AuditUser((5,))))
    one = replace(both, users=both.users[:1])
    before, after = one.releases(asked), both.releases(asked)
    expected = np.zeros(ITEMS, np.int64)
    expected[5] = 2**20
    np.testing.assert_array_equal(after["counts"] - before["counts"], expected)
    assert not (after["pairs"] - before["pairs"]).any()  # one item makes no pair
    assert not (after[1] - before[1]).any()  # nor anything to predict


def test_releases_are_as_long_as_the_audit_expects() -> None:
    for reply in shop(accounted=True).ask(questions_of(SUBJECT.plan, rounds=2)):
        assert len(reply.numbers) == lengths(SUBJECT.plan, audited_shop.HEAD)[reply.record]
