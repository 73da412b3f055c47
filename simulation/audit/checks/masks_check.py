"""Does a shop under masks send what it sends without them, with its share of the noise, once?

The auditor plays the server and all other shops, and so sees what an honest server cannot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from shared.flower.sent_objects import SentObjects, sent_objects
from shared.privacy.noise import Integers
from shared.protocol import messages
from shared.protocol.messages import Plan
from shared.protocol.secure_sums import masked_record, message_record
from simulation.audit.checks.audited_shop import (
    AuditedShop,
    AuditUser,
    Question,
    audited_head,
    in_words,
    questions_of,
    record_of,
    seeded_once,
)
from simulation.audit.checks.masked_bytes import (
    MaskedNumbers,
    masked_p_values,
    shared_mask_p_values,
)
from simulation.audit.checks.masked_shop import SecureReplies, ask_under_masks
from simulation.audit.checks.noise_checks import ALARM, BUYERS
from simulation.audit.checks.residual_tests import (
    Residual,
    named,
    noise_p_values,
    pooled_p_values,
    smallest,
)
from simulation.audit.checks.result import Finding
from simulation.audit.checks.subject import Subject
from simulation.runs.saved_releases import planned_variance

ROUNDS = 4
"""Rounds of the audited run."""
LEAST_SHARES, MOST_SHARES = 2, 10
"""Shops among which the noise is divided: what the plan says within these bounds."""
NAMED = 3
"""Faults that the finding spells out; all are among its figures."""


def check_masks(subject: Subject) -> Finding:
    """Compares a shop's releases under masks with those without, and tests noise and masks.

    With one key of the noise both are the same whole numbers; with the node's own noise, what is
    left of a release without its clean sum has the variance of one share.
    """
    plan = shared_plan(subject.plan)
    asked = questions_of(plan, rounds=ROUNDS)
    shop = AuditedShop(
        plan, BUYERS, seeded_once(), head=audited_head(subject), device=subject.device
    )
    plain = shop.releases(asked)
    quiet = replace(shop, users=(AuditUser(),) * len(BUYERS)).releases(asked)
    seeded = ask_under_masks(shop, asked)
    own = ask_under_masks(replace(shop, randomness=subject.randomness), asked)
    faults = [
        *_differences(seeded, plain),
        *dict.fromkeys(f for run in (seeded, own) for f in _reply_faults(run, shop.shop_id)),
    ]
    residuals = [
        _residual(plan, question, reply.numbers - (plain[question] - quiet[question]))
        for question, reply in own.releases.items()
    ]
    tests = _noise_tests(residuals) | _mask_tests(seeded, "seeded run") | _mask_tests(own, "run")
    oddest, p = smallest(tests)
    if p < ALARM:
        faults.append(f"{oddest}: p = {p:.1g}")
    share = 1 / math.sqrt(plan.noise_shops)
    figures = {
        "shared_by": plan.noise_shops,
        "claimed_share": share,
        "measured_share": share * _size(residuals),
        "faults": faults,
        "oddest": oddest,
        "p": p,
        "tests": len(tests),
    }
    said = f"share of the noise: {share:.4g} claimed, {share * _size(residuals):.4g} measured"
    if faults:
        return Finding(False, "; ".join([*faults[:NAMED], said]), figures)
    text = f"{len(plain)} releases are below their masks what they are without; {said}"
    return Finding(True, text, figures)


def shared_plan(plan: Plan) -> Plan:
    """Returns a plan as shops under a roster carry it out, with few shops and few rounds."""
    shops = min(max(plan.noise_shops, LEAST_SHARES), MOST_SHARES)
    return plan.model_copy(
        update={
            "noise_shops": shops,
            "local_steps": 1,
            "sample_rate": 1.0,
            "rounds": min(plan.rounds, ROUNDS),
        }
    )


def _differences(run: SecureReplies, plain: Mapping[Question, Integers]) -> Iterator[str]:
    for question, reply in run.releases.items():
        wrong = int(np.count_nonzero(reply.numbers != plain[question]))
        if wrong:
            what = f"{in_words(question)} under masks"
            yield f"{what} differ in {wrong} of {len(reply.numbers)} numbers from those without"


def _reply_faults(run: SecureReplies, shop: str) -> Iterator[str]:
    """Yields what a reply holds beside what it must, and answers that are new when asked again."""
    for question, reply in run.releases.items():
        name = in_words(question)
        if _beside_message(reply.objects) != _beside_message(reply.again):
            yield f"{name}: asked again, other bytes leave"
        built = _built(RecordDict({messages.MASKED: masked_record(reply.masked)}), shop)
        if _beside_message(reply.objects) != built:
            yield f"{name}: bytes are not those of the masked numbers alone"
    for answered in run.others:
        built = _built(RecordDict({messages.AGGREGATION: message_record(answered.answer)}), shop)
        if _beside_message(answered.objects) != built:
            yield f"{answered.name}: bytes are not those of the protocol's answer alone"


def _built(content: RecordDict, shop: str) -> SentObjects:
    content[messages.STATUS] = ConfigRecord({"shop": shop})
    return sent_objects(content)


def _beside_message(objects: SentObjects) -> SentObjects:
    """Leaves out the message's own object, which holds ids and times of Flower's."""
    return dict(list(objects.items())[:-1])


def _residual(plan: Plan, question: Question, numbers: Integers) -> Residual:
    kind = "training" if isinstance(question, int) else question
    variance = planned_variance(plan, record_of(question))
    return Residual(in_words(question), kind, numbers, variance)


def _noise_tests(residuals: Sequence[Residual]) -> dict[str, float]:
    tests = named("all under masks", pooled_p_values(residuals))
    for residual in residuals:
        tests |= named(f"{residual.name} under masks", noise_p_values(residual))
    return tests


def _mask_tests(run: SecureReplies, group: str) -> dict[str, float]:
    masked = [
        MaskedNumbers(f"{in_words(question)}, {group}", group, reply.masked)
        for question, reply in run.releases.items()
    ]
    tests: dict[str, float] = {}
    for release in masked:
        tests |= named(release.name, masked_p_values(release))
    return tests | shared_mask_p_values(masked)


def _size(residuals: Sequence[Residual]) -> float:
    """Returns the root mean square of all deviations."""
    total = sum(float(r.deviations @ r.deviations) for r in residuals)
    return math.sqrt(total / sum(len(r.numbers) for r in residuals))
