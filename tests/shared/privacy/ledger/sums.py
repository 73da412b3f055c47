"""Sums over three shops to test ledgers with."""

from __future__ import annotations

from dataclasses import replace

from shared.keys.signing import SigningKey
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.admission import ReleaseRequest
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import Aggregation
from shared.secure_aggregation.messages import SumBinding
from shared.secure_aggregation.roster import Roster, make_roster
from tests.shared.privacy.ledger.shop_ledgers import PLAN, request

SHOPS = ("east", "north", "south", "west", "zone")
KEYS = {shop: SigningKey.generate() for shop in SHOPS}
ROSTER: Roster = make_roster(
    {shop: key.public for shop, key in KEYS.items()}, max_missing=1, max_colluding=1
)
"""K = 5, d = 1, t = 1: m = 4, n = 3."""
SHARED: tuple[Mechanism, ...] = tuple(replace(m, shared_by=ROSTER.noise_shops) for m in PLAN)
BINDING = SumBinding("5" * 64, SHOPS, "counts", "a" * 64)


def shared_counts(run: str = "r1", **changes: object) -> ReleaseRequest:
    return request(0, run=run, plan=SHARED, mechanism=SHARED[1], **changes)


def aggregation(run: str = "r1", *, roster: Roster = ROSTER, **changes: object) -> Aggregation:
    values: dict[str, object] = {
        "run": run,
        "plan_digest": request(run=run).plan_digest,
        "roster": roster.digest(),
        "keys": roster.keys,
        "max_missing": roster.max_missing,
        "max_colluding": roster.max_colluding,
        "noise_shops": roster.noise_shops,
        "setup": BINDING.setup,
    }
    return Aggregation.model_validate(values | changes)


def signatures(
    survivors: tuple[str, ...] = SHOPS[:4],
    *,
    binding: SumBinding = BINDING,
    by: tuple[str, ...] | None = None,
) -> dict[str, str]:
    """Signs a set as the shops of a real sum do."""
    statement = binding.statement(survivors)
    return {shop: KEYS[shop].sign(statement) for shop in by or survivors}


def begin_run(ledger: Ledger, run: str = "r1") -> None:
    """Records roster and set-up, and releases the counts."""
    ledger.record_aggregation(aggregation(run))
    ledger.commit(ledger.reserve(shared_counts(run)), "c" * 64)


def decide(
    ledger: Ledger, survivors: tuple[str, ...] = SHOPS[:4], *, binding: SumBinding = BINDING
) -> None:
    ledger.decide_set(
        run="r1", release=binding.release, binding=binding.digest(), survivors=survivors
    )


def open_sum(ledger: Ledger, signed: dict[str, str] | None = None) -> None:
    ledger.record_opened(
        run="r1", release="counts", signatures=signatures() if signed is None else signed
    )
