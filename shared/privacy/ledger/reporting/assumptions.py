"""What the guarantee of a ledger rests on and what it leaves out, in words for people."""

from __future__ import annotations

from shared.privacy.ledger.reporting.shared_noise import SharedNoise, rests_on_rosters

RESTS_ON = (
    "The shop's machine is honest: it runs the installed code on its own data, and nobody who must "
    "not see the data has access to it.",
    "Noise is drawn from AES-256 in counter mode, whose output is taken for random; the key comes "
    "from the operating system's generator.",
    "What leaves is whole numbers on a public grid, one user's part of each sum is at most the "
    "norm stated, and the noise is a discrete Gaussian: docs/privacy.md proves that accountants of "
    "the continuous one hold for it.",
    "The accountants named here compute right; two of them agree on each figure.",
    "The plan is public, and no user's data had a part in it, unless the run is accounted as "
    "adaptive.",
)
"""Assumptions of every guarantee."""
SUMS_REST_ON = (
    "X25519, HKDF, AES-GCM and Ed25519 are secure, and a different owner stands behind each key of "
    "the roster.",
    "Nobody puts a shop's decisions of a run, or its ledger, back to an older state.",
)
"""Assumptions of secure aggregation."""
UNPROTECTED = (
    "That the shop takes part, its name, and the public plan (rounds, noise, clip norm).",
    "Facts about the population: they can be learnt about someone who never took part.",
    "What stays in the shop: local recommenders, fusion weights and pages are made from clean data "
    "and must not be published.",
    "How long a round takes, when the shop answers and whether it fails; memory and power. Error "
    "texts stay on the shop's machine.",
    "Choices of settings that a person makes by looking at private results, unless the run is "
    "accounted as adaptive.",
    "A hostile server that sends other code: the guarantee holds for the installed code.",
    "Rounding inside a batch of gradients, which can move another user's number by one step of the "
    "grid (docs/privacy.md).",
)
"""What no epsilon of a ledger covers."""


def rests_on(shared: SharedNoise | None) -> tuple[str, ...]:
    """Returns what a ledger's guarantee rests on; None is a ledger without shared noise."""
    if shared is None:
        return RESTS_ON
    under_rosters = SUMS_REST_ON if shared.rosters else ()
    return (*RESTS_ON, *under_rosters, *rests_on_rosters(shared))
