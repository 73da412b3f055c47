"""What a ledger's lost lines had reserved, from a server's receipt; pure functions of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.entries import (
    Planning,
    RenyiFilter,
    Reservation,
    Restored,
)
from shared.privacy.ledger.log.receipts import Receipt

RESTORED_RUN = "restored"
"""Name of the run in reservations of what was lost."""
GIVE_UP = "keep ledger and receipts as evidence: nothing more may be released under this ledger"
"""Remedy where lost lines and the ledger cannot be composed."""


@dataclass(frozen=True)
class LostReservation:
    """What has to be reserved after a `restored` line before anything is released.

    Attributes:
        planning: How it was reserved.
        mechanisms: What it was for.
        filter: Of adaptive releases; None where it is planned.
        head: Hash that the server signed, which stands for the plan.
    """

    planning: Planning
    mechanisms: tuple[Mechanism, ...]
    filter: RenyiFilter | None
    head: str

    def is_paid_by(self, body: Reservation) -> bool:
        """Says whether a reservation is the one for this."""
        return (body.run, body.planning, body.mechanisms, body.plan_digest, body.filter) == (
            RESTORED_RUN,
            self.planning,
            self.mechanisms,
            self.head,
            self.filter,
        )


def merge_steps(mechanisms: Sequence[Mechanism]) -> tuple[Mechanism, ...]:
    """Adds the steps of mechanisms that are equal but for them, in order of the first of each."""
    steps: dict[Mechanism, int] = {}
    for mechanism in mechanisms:
        kind = replace(mechanism, steps=0)
        steps[kind] = steps.get(kind, 0) + mechanism.steps
    return tuple(replace(kind, steps=number) for kind, number in steps.items())


def steps_beyond(
    mechanisms: Sequence[Mechanism], known: Sequence[Mechanism]
) -> tuple[Mechanism, ...]:
    """Returns the steps of `mechanisms` that `known` does not hold."""
    before = {replace(m, steps=0): m.steps for m in merge_steps(known)}
    beyond = (
        replace(m, steps=m.steps - before.get(replace(m, steps=0), 0))
        for m in merge_steps(mechanisms)
    )
    return tuple(m for m in beyond if m.steps > 0)


def lost_reservations(
    body: Restored,
    *,
    planned: Sequence[Mechanism],
    adaptive: Sequence[Mechanism],
    drawn: Sequence[Mechanism],
    filter: RenyiFilter | None,  # noqa: A002
) -> tuple[LostReservation, ...]:
    """Returns what the lost lines had reserved.

    Args:
        body: The receipt.
        planned: What the ledger itself had reserved as planned, up to the last line that the
            server is known to have signed. Only that is certain to be in the receipt's account
            too: whatever came later counts twice, rather than not at all.
        adaptive: The same of adaptive releases.
        drawn: What the ledger drew from those reservations after that line. The lost lines may have
            drawn the same steps for releases of their own, so they are paid once more.
        filter: Of the ledger now.

    Raises:
        PrivacyError: Ledger and lost lines have filters that differ.
    """
    account = body.account
    lost_planned = merge_steps((*steps_beyond(account.planned, planned), *drawn))
    lost_adaptive = steps_beyond(account.adaptive, adaptive)
    if filter is not None and account.filter not in (None, filter):
        raise PrivacyError(
            f"is not the filter of the lost lines, {account.filter}: no accountant composes both",
            name="filter",
            value=filter,
            remedy=GIVE_UP,
        )
    if filter is not None:
        # No planned run may follow a filter. A planned mechanism is an adaptive one too.
        lost_planned, lost_adaptive = (), merge_steps((*lost_planned, *lost_adaptive))
    fixed = filter or account.filter
    parts: tuple[tuple[Planning, tuple[Mechanism, ...]], ...] = (
        ("planned", lost_planned),
        ("adaptive", lost_adaptive),
    )
    return tuple(
        LostReservation(name, part, fixed if name == "adaptive" else None, body.head)
        for name, part in parts
        if part
    )


def covers(body: Restored, receipt: Receipt) -> bool:
    """Says whether a `restored` line counts what a receipt proves.

    A server signs no head that goes back unless its shop has restored what was signed: whatever it
    signed before the receipt is in that receipt's account.
    """
    return receipt.server_key == body.server_key and receipt.place <= (
        body.account.restorations,
        body.entry,
    )
