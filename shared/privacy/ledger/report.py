"""A shop's privacy statement, as one dictionary of plain values.

`statement` answers what NIST SP 800-226 (https://doi.org/10.6028/NIST.SP.800-226) asks of a claim
of differential privacy; `registry` has the fields of the public registry of deployments
(https://github.com/opendp/deployments-registry-data).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shared.privacy.accounting import TRUST, TRUST_SHARED
from shared.privacy.ledger.chain import Chain
from shared.privacy.ledger.status import Status
from shared.privacy.ledger.verify import Verdict

VERSION = 1
"""Version of the JSON form."""
UNPROTECTED = (
    "That the shop takes part, its name, and the public plan (rounds, noise, clip norm).",
    "Facts about the population: they can be learnt about someone who never took part.",
    "What stays in the shop: local recommenders, fusion weights and pages are made from clean data "
    "and must not be published.",
    "How long a round takes and whether it fails; error texts stay on the shop's machine.",
    "Choices of settings that a person makes by looking at private results, unless the run is "
    "accounted as adaptive.",
    "A hostile server that sends other code: the guarantee holds for the installed code.",
    "Low bits of floating-point noise (Mironov 2012): the noise is not drawn on a discrete grid.",
)


def statement(chain: Chain, account: Status, verdict: Verdict) -> dict[str, Any]:
    """Builds the report of one shop; every value is plain JSON.

    Args:
        chain: The ledger.
        account: From `status`.
        verdict: From `verify`: a statement says whether its source holds.
    """
    start = chain.start
    return {
        "version": VERSION,
        "shop": start.shop,
        "guarantee": guarantee_text(chain, account),
        "nist_sp_800_226": _nist(chain, account),
        "runs": _runs(chain),
        "registry": registry(chain, account),
        "status": account.to_json(),
        "verification": verdict.to_json(),
    }


def guarantee_text(chain: Chain, account: Status) -> str:
    """States the guarantee in words."""
    start = chain.start
    if not chain.reservations:
        return f"Nothing was released by {start.shop}: no privacy was spent."
    text = (
        f"Everything that left {start.shop} in {account.runs} runs is, together, "
        f"({account.epsilon:.4g}, {account.delta:g})-differentially private for each user. "
        f"Unit: {start.unit}. Neighbouring data sets: {start.adjacency}. Towards {TRUST}. "
        f"{_shared_text(account)}The shop "
        f"refuses whatever would pass epsilon {account.limit:g}; {account.remaining:.4g} is left. "
        "A user of several shops is covered by the composition of their ledgers."
    )
    if account.simulation:
        text += (
            " The noise came from a seed: this is a simulation, and whoever knows the seed can "
            "take the noise away."
        )
    return text


def _shared_text(account: Status) -> str:
    """Says what is assumed where noise was shared, with a space at its end; empty elsewhere."""
    if account.shared_by == 1:
        return ""
    return (
        f"Noise was shared by up to {account.shared_by} shops, each of which added its part of the "
        f"variance alone: the guarantee {TRUST_SHARED}. "
    )


def registry(chain: Chain, account: Status) -> dict[str, Any]:
    """Returns a record with the fields of the public registry, to be completed by the shop.

    What only the shop's people know is left as an empty text.
    """
    start = chain.start
    return {
        "status": "Draft",
        "registry_authors": [],
        "tier": "",
        "deployment": {
            "name": f"Federated recommendation adapter, {start.shop}",
            "data_curator": start.shop,
            "description": "A LoRA adapter of a profile model, trained by several shops together; "
            "each shop releases noisy updates and, once a run, noisy item counts and noisy sums "
            "of co-purchase pairs.",
            "intended_use": "Recommendations in the shops that take part.",
            "data_product_type": "Machine learning model",
            "publication_date": _last_release(chain),
            "data_product_region": "",
            "data_product_sector": "Retail",
            "dp_flavor": {
                "name": "Approximate DP",
                "input_metric": "Symmetric distance between sets of users",
                "bound_on_input_distance": 1,
                "output_measure": "Approximate max divergence",
                "bound_on_output_distance": [account.epsilon, account.delta],
                "data_domain": "Purchases and other shopping events of the shop's users.",
                "unprotected_quantities": " ".join(UNPROTECTED),
            },
            "privacy_loss": {
                "privacy_unit": "User-level",
                "privacy_unit_description": f"{start.unit}; {start.adjacency}; no limit in time.",
                "privacy_parameters": {"epsilon": account.epsilon, "delta": account.delta},
                "privacy_parameters_description": f"Lifetime total; limit {account.limit:g}.",
            },
            "model": {
                "model_name": "Federated",
                "model_name_description": _MODEL[account.shared_by > 1],
                "actors": _ACTORS[account.shared_by > 1],
                "is_many_release": True,
                "is_many_release_description": f"{account.releases} releases in {account.runs} "
                "runs so far, under one lifetime limit kept in a signed ledger.",
                "is_dynamic": True,
                "is_dynamic_description": "A run uses the events that the shop has when it begins.",
                "is_interactive": False,
                "is_interactive_description": _PLANNING[account.planning],
            },
            "accounting": {
                "post_processing": "Averaging over shops, server momentum and the mean of the last "
                "rounds.",
                "composition": f"{account.accountant}. {_PLANNING[account.planning]}",
            },
            "implementation": {
                "pre_processing_eda_hyperparameter_tuning": "",
                "mechanisms": "; ".join(_words(m) for r in _runs(chain) for m in r["mechanisms"]),
                "justification": "",
            },
            "additional_information": f"Ledger head {chain.head}.",
        },
    }


_MODEL = {
    False: "Each shop adds the full noise itself; the server sees noisy updates alone.",
    True: "Shops add the noise together; the server sees the noisy sum alone, by secure "
    "aggregation.",
}
_ACTORS = {
    False: "Users trust their shop. The server, the other shops and whoever gets the adapter need "
    "not be trusted with data.",
    True: "Users trust their shop, the secure aggregation, and the other shops to add their part "
    "of the noise, to keep it to themselves and to stay to the end. Whoever gets the adapter need "
    "not be trusted with data.",
}
"""Whether noise was shared -> whom users trust."""
_PLANNING = {
    "none": "Nothing was released.",
    "planned": "All parameters were fixed before any result.",
    "adaptive": "Parameters may depend on earlier results, under a Rényi filter.",
    "both": "Planned runs first, at half of delta; then adaptive ones under a Rényi filter, at the "
    "other half; the epsilons add up.",
}


def _nist(chain: Chain, account: Status) -> dict[str, Any]:
    """Question -> answer, in the order of the guideline's privacy pyramid."""
    start, runs = chain.start, _runs(chain)
    sampled = any(m["sample_rate"] < 1 for r in runs for m in r["mechanisms"])
    return {
        "privacy parameter epsilon": round(account.epsilon, 6),
        "privacy parameter delta": account.delta,
        "unit of privacy": start.unit,
        "neighbouring data sets": start.adjacency,
        "definition": "(epsilon, delta)-differential privacy",
        "trust model": f"Noise is added in the shop: protects against {TRUST}."
        if account.shared_by == 1
        else f"Noise is shared by up to {account.shared_by} shops; the guarantee {TRUST_SHARED}.",
        "mechanisms": sorted({_words(m) for r in runs for m in r["mechanisms"]}),
        "sensitivity and clipping": "The L2 norm of one user's contribution to a step is at most "
        "the norm stated with each mechanism, which noise multipliers are relative to.",
        "sampling": "Poisson, at the rate stated; with no amplification from the server's choice "
        "of shops"
        if sampled
        else "none: every user takes part in every step",
        "accountant": account.accountant,
        "composition": f"{_PLANNING[account.planning]} Across rounds, runs and years: one lifetime "
        "account.",
        "lifetime limit": account.limit,
        "limit per window": None
        if account.window_days is None
        else f"epsilon {account.window_limit:g} within {account.window_days:g} days",
        "randomness": "from a seed: a simulation, not a release"
        if account.simulation
        else "AES-256 in counter mode, keyed by the operating system",
        "not protected": list(UNPROTECTED),
        "side channels": "Timing, memory and floating point are not covered.",
        "access to the data": "The shop's own machine alone.",
        "verification": "`fedprofile privacy verify` for the record, `fedprofile privacy audit` "
        "for the figures and the noise.",
        "software": sorted(
            {f"{n} {v}" for r in chain.reservations.values() for n, v in r.body.versions.items()}
        ),
    }


def _runs(chain: Chain) -> list[dict[str, Any]]:
    return [
        {
            "line": reserved.seq,
            "time": reserved.time.isoformat(timespec="seconds"),
            "run": reserved.body.run,
            "planning": reserved.body.planning,
            "mechanisms": [asdict(m) for m in reserved.body.mechanisms],
            "epsilon_after": reserved.body.epsilon,
            "epsilon_check": reserved.body.epsilon_check,
            "plan_digest": reserved.body.plan_digest,
            "base_hash": reserved.body.base_hash,
            "rounds": sum(b.reservation == reserved.seq for b in chain.bodies.values()),
        }
        for reserved in chain.reservations.values()
    ]


def _words(mechanism: Mapping[str, Any]) -> str:
    return (
        f"{mechanism['name']}: {mechanism['steps']} x Gaussian, noise multiplier "
        f"{mechanism['noise_multiplier']:g}, norm {mechanism['max_norm']:g}, sample rate "
        f"{mechanism['sample_rate']:g}{of_the_sum(mechanism)}"
    )


def of_the_sum(mechanism: Mapping[str, Any]) -> str:
    """Says of shared noise whose sum it is; empty where the shop adds all of it."""
    shops = mechanism["shared_by"]
    return "" if shops == 1 else f", noise of the sum of {shops} shops"


def _last_release(chain: Chain) -> str:
    return chain.time.date().isoformat() if chain.time is not None and chain.commits else ""
