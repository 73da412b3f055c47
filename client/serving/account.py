"""The privacy account of the shop, from its ledger, as the page and the HTTP interface show it."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.errors import PrivacyError
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.chain import Chain
from shared.privacy.ledger.evidence import Sources, verify_all
from shared.privacy.ledger.forecast import quick_epsilon
from shared.privacy.ledger.report import guarantee_text
from shared.privacy.ledger.status import read_ledger, status

NO_LEDGER = "start the node with --ledger FILE to see the shop's privacy budget here"
SHOWN_ROUNDS = 60
"""Rounds, the latest, whose cost is worked out one by one."""


def account_of(path: Path, *, now: datetime) -> dict[str, Any]:
    """Reads a ledger and says what is spent and left, and what each run and round cost.

    Args:
        path: The shop's ledger.
        now: End of the budget's window.

    Returns:
        `status`, `guarantee` in words, `unit` and `adjacency`, `runs` in order with the epsilon
        after each, and `rounds` from `_rounds`.

    Raises:
        PrivacyError: The ledger cannot be read or a line does not follow.
    """
    try:
        chain, torn = read_ledger(path)
    except PrivacyError as error:
        raise PrivacyError(_without_folders(str(error), path)) from error
    account = status(chain, now=now, torn=torn)
    return {
        "ledger": path.name,
        "lines": len(chain.heads),
        "status": account.to_json(),
        "guarantee": guarantee_text(chain, account),
        "unit": chain.start.unit,
        "adjacency": chain.start.adjacency,
        "runs": _runs(chain),
        "rounds": _rounds(chain),
        "rounds_in_all": len(chain.bodies),
    }


def verdict_of(path: Path) -> dict[str, Any]:
    """Verifies a ledger with the anchor beside it, and what was released if it lies near.

    Raises:
        PrivacyError: The ledger is not there, or the anchor is damaged.
    """
    try:
        (verdict,) = verify_all(path, Sources())
    except PrivacyError as error:
        raise PrivacyError(_without_folders(str(error), path)) from error
    found = verdict.to_json()
    found["fault"] = _without_folders(verdict.fault, path)
    return {**found, "ledger": path.name}


def _without_folders(text: str, path: Path) -> str:
    """Names files as seen from the ledger's folder or the one above: a page tells no more."""
    ledgers = path.parent
    for folder in (ledgers, ledgers.parent, ledgers.resolve(), ledgers.resolve().parent):
        if folder != folder.parent:  # neither the root nor "."
            text = text.replace(f"{folder}/", "")
    return text


def _runs(chain: Chain) -> list[dict[str, Any]]:
    """Returns each reservation with the epsilon that the ledger recorded after it."""
    found = []
    before = 0.0
    for reserved in chain.reservations.values():
        body = reserved.body
        after = max(body.epsilon, body.epsilon_check)
        found.append(
            {
                "run": body.run,
                "time": reserved.time.isoformat(timespec="seconds"),
                "planning": body.planning,
                "epsilon_after": after,
                "epsilon_cost": max(0.0, after - before),
                "rounds": sum(b.reservation == reserved.seq for b in chain.bodies.values()),
            }
        )
        before = after
    return found


def _rounds(chain: Chain) -> list[dict[str, Any]]:
    """Returns the latest rounds, with the epsilon of all rounds up to each.

    A round's cost is the step from the total before it to the total after it: composition makes
    the same round cheaper the later it comes. With adaptive releases no total by round is valid,
    and none is given.
    """
    drawn: list[Mechanism] = []
    first = len(chain.bodies) - SHOWN_ROUNDS
    planned = chain.filter is None
    found: list[dict[str, Any]] = []
    before: float | None = None
    for place, (line, body) in enumerate(chain.bodies.items()):
        drawn.append(body.mechanism)
        if place < first - 1:
            continue
        total = quick_epsilon(drawn, chain.start.limits.delta) if planned else math.inf
        after = total if math.isfinite(total) else None
        if place == 0 and planned:
            before = 0.0
        cost = None if after is None or before is None else max(0.0, after - before)
        if place >= first:
            found.append(
                {
                    "run": body.run,
                    "round": body.round,
                    "mechanism": body.mechanism.name,
                    "noise_multiplier": body.mechanism.noise_multiplier,
                    "sample_rate": body.mechanism.sample_rate,
                    "released": line in chain.commits,
                    "epsilon_after": after,
                    "epsilon_cost": cost,
                }
            )
        before = after
    return found
