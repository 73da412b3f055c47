"""The privacy account of the shop, from its ledger, as the page and the HTTP interface show it."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.errors import FedprofileError, PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.statement import guarantee_text
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify_all
from shared.privacy.ledger.rounds_left import quick_epsilon
from shared.privacy.ledger.spending_history import spending_history
from shared.protocol.server_key import pinned_key

NO_LEDGER = "start the node with --ledger FILE to see the shop's privacy budget here"
SHOWN_ROUNDS = 60
"""Rounds, the latest, whose cost is worked out one by one."""


def privacy_report(path: Path, *, now: datetime) -> dict[str, Any]:
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
        raise _error_without_folders(error, path) from error
    account = budget_status(chain, now=now, torn=torn)
    return {
        "ledger": path.name,
        "lines": len(chain.line_hashes),
        "status": account.to_json(),
        "guarantee": guarantee_text(chain, account),
        "unit": chain.start.unit,
        "adjacency": chain.start.adjacency,
        "runs": _runs(chain),
        "rounds": _rounds(chain),
        "rounds_in_all": len(chain.bodies),
    }


def verification_report(path: Path) -> dict[str, Any]:
    """Verifies a ledger with the anchor beside it, and what was released if it lies near.

    Receipts count by the server's key in the node's invitation, if the ledger is a node's.

    Raises:
        PrivacyError: The ledger is not there, or the anchor or the invitation is damaged.
    """
    try:
        (verdict,) = verify_all(path, EvidenceSources(server_key=pinned_key(path)))
    except FedprofileError as error:
        raise _error_without_folders(error, path) from error
    report = verdict.to_json()
    report["fault"] = _without_folders(verdict.fault, path)
    return {**report, "ledger": path.name}


def _error_without_folders(error: FedprofileError, path: Path) -> PrivacyError:
    value = None if error.value is None else _without_folders(str(error.value), path)
    return PrivacyError(
        _without_folders(error.bound, path),
        name=error.name,
        value=value,
        remedy=_without_folders(error.remedy.text, path),
    )


def _without_folders(text: str, path: Path) -> str:
    """Names files as seen from the ledger's folder or the one above: a page tells no more."""
    ledgers = path.parent
    for folder in (ledgers, ledgers.parent, ledgers.resolve(), ledgers.resolve().parent):
        if folder != folder.parent:  # neither the root nor "."
            text = text.replace(f"{folder}/", "")
    return text


def _runs(chain: Chain) -> list[dict[str, Any]]:
    """Returns each reservation with the epsilon after it, computed again."""
    runs = []
    before = 0.0
    totals = {point.line: point.epsilon for point in spending_history(chain)}
    for line, reserved in chain.reservations.items():
        body, after = reserved.body, totals[line]
        runs.append(
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
    return runs


def _rounds(chain: Chain) -> list[dict[str, Any]]:
    """Returns the latest rounds, with the epsilon of all rounds up to each.

    A round's cost is the step from the total before it to the total after it: composition makes
    the same round cheaper the later it comes. With adaptive releases no total by round is valid,
    and none is given.
    """
    drawn: list[Mechanism] = []
    first = len(chain.bodies) - SHOWN_ROUNDS
    planned = chain.filter is None
    rounds: list[dict[str, Any]] = []
    before: float | None = None
    for place, (line, body) in enumerate(chain.bodies.items()):
        drawn.append(body.mechanism)
        if place < first - 1:
            continue
        total = quick_epsilon(drawn, chain.limits.delta) if planned else math.inf
        after = total if math.isfinite(total) else None
        if place == 0 and planned:
            before = 0.0
        cost = None if after is None or before is None else max(0.0, after - before)
        if place >= first:
            rounds.append(
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
    return rounds
