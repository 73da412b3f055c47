"""What lines about sums of several shops may add to a ledger.

A run has one roster and set-up, a sum has one set of shops, and it was opened by the signatures of
enough of them. The chain refuses a second set for one sum, also where files beside the ledger were
put back: the difference of two sums over one noisy vector is one shop's numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from shared.errors import PrivacyError
from shared.keys.signing import canonical, is_signed_by
from shared.keys.survivors import survivors_statement
from shared.privacy.ledger.log.entries import Aggregation, Opened, Reservation, SurvivorSet
from shared.privacy.ledger.log.state import LedgerState

NEW_RUN = "start a new run"
SAME_ROSTER = "plan the run for the roster that all shops signed"


def check_aggregation(chain: LedgerState, body: Aggregation) -> None:
    """Refuses a run's second set-up, and a roster whose guarantee does not hold.

    Raises:
        PrivacyError: Either; or the shop is not in the roster, its fingerprint is of another one,
            or the run's reserved noise is divided among another number of shops.
    """
    if body.run in chain.aggregations:
        raise PrivacyError(
            "has a roster and a set-up already", name="run", value=body.run, remedy=NEW_RUN
        )
    _check_roster(body, shop=chain.start.shop)
    for reserved in chain.reservations.values():
        if reserved.body.run == body.run:
            check_shared_noise(body, reserved.body)


def check_shared_noise(aggregation: Aggregation, body: Reservation) -> None:
    """Refuses a reservation whose noise is not divided as its run's roster says.

    Args:
        aggregation: Of a run.
        body: A reservation of that run.

    Raises:
        PrivacyError: The plan is another one, or its noise is shared by another number of shops.
    """
    if aggregation.plan_digest != body.plan_digest:
        raise PrivacyError(
            f"must be {aggregation.plan_digest[:16]}…, that of the run's reservation and set-up",
            name="plan_digest",
            value=f"{body.plan_digest[:16]}…",
            remedy=NEW_RUN,
        )
    shares = {m.shared_by for m in body.mechanisms} - {1, aggregation.noise_shops}
    if shares:
        raise PrivacyError(
            f"must be noise_shops={aggregation.noise_shops} of the run's roster",
            name="shared_by",
            value=min(shares),
            remedy=SAME_ROSTER,
        )


def check_set(chain: LedgerState, body: SurvivorSet) -> None:
    """Refuses a sum's second set, and one that the run's roster does not allow.

    Raises:
        PrivacyError: Either; or nothing of the run was reserved, lines were lost since then, or the
            shop itself is not in the set.
    """
    aggregation = _aggregation(chain, body.run)
    if (body.run, body.release) in chain.sets:
        raise PrivacyError(
            f"has its set of shops already in run={body.run}, and never gets another",
            name="release",
            value=body.release,
            remedy=NEW_RUN,
        )
    # A set may be among lost lines: what was released before them is not added up any more.
    if not any(r.run == body.run and seq > chain.closed for seq, r in chain.bodies.items()):
        raise PrivacyError(
            "has no round in this ledger, so that nothing of it can be in a sum",
            name="run",
            value=body.run,
            remedy="reserve its release first, or start a new run",
        )
    survivors = set(body.survivors)
    if list(body.survivors) != sorted(survivors & aggregation.keys.keys()):
        raise PrivacyError(
            "must be shops of the roster, each once and in order",
            name="survivors",
            value=len(body.survivors),
            remedy=NEW_RUN,
        )
    if chain.start.shop not in survivors:
        raise PrivacyError(
            f"must hold {chain.start.shop} itself",
            name="survivors",
            value=len(body.survivors),
            remedy=NEW_RUN,
        )
    _require_enough(aggregation, "survivors", len(survivors))


def check_opened(chain: LedgerState, body: Opened) -> None:
    """Refuses signatures that do not allow a sum to be opened.

    Raises:
        PrivacyError: There is no set, it was opened already, too few have signed it, or a
            signature is not of a shop in the set, by its key in the roster.
    """
    decided = chain.sets.get((body.run, body.release))
    if decided is None or (body.run, body.release) in chain.opened:
        raise PrivacyError(
            "was opened already" if decided else "has no set of shops",
            name="release",
            value=body.release,
            remedy="record the set first, and its opening once",
        )
    aggregation = chain.aggregations[body.run]
    strangers = body.signatures.keys() - valid_signatures(aggregation, decided, body.signatures)
    if strangers:
        raise PrivacyError(
            "has not signed this set of shops", name="shop", value=min(strangers), remedy=NEW_RUN
        )
    _require_enough(aggregation, "signatures", len(body.signatures))


def valid_signatures(
    aggregation: Aggregation, decided: SurvivorSet, signatures: Mapping[str, str]
) -> dict[str, str]:
    """Returns the signatures of shops in a set, under this very set."""
    statement = survivors_statement(decided.binding, decided.survivors)
    return {
        shop: signature
        for shop, signature in signatures.items()
        if shop in decided.survivors and is_signed_by(aggregation.keys[shop], statement, signature)
    }


def _check_roster(body: Aggregation, *, shop: str) -> None:
    roster = canonical(body.model_dump(include={"keys", "max_missing", "max_colluding"}))
    if hashlib.sha256(roster).hexdigest() != body.roster:
        raise PrivacyError(
            "is not the fingerprint of these keys, max_missing and max_colluding",
            name="roster",
            value=f"{body.roster[:16]}…",
            remedy=SAME_ROSTER,
        )
    if shop not in body.keys or len(set(body.keys.values())) < len(body.keys):
        raise PrivacyError(
            f"must name {shop}, and each key once",
            name="roster",
            value=f"{body.roster[:16]}…",
            remedy=SAME_ROSTER,
        )
    bounds = body.bounds.check()
    if body.noise_shops != bounds.noise_shops:
        raise PrivacyError(
            f"must be {bounds.noise_shops}: shops - max_missing - max_colluding",
            name="noise_shops",
            value=body.noise_shops,
            remedy=SAME_ROSTER,
        )


def _aggregation(chain: LedgerState, run: str) -> Aggregation:
    if run not in chain.aggregations:
        raise PrivacyError(
            "has no roster in this ledger",
            name="run",
            value=run,
            remedy="record its roster and set-up first",
        )
    return chain.aggregations[run]


def _require_enough(aggregation: Aggregation, name: str, number: int) -> None:
    if number < aggregation.threshold:
        raise PrivacyError(
            f"must be at least {aggregation.threshold}, or a sum would tell of few shops",
            name=name,
            value=number,
            remedy="wait for more shops, or start a new run",
        )
