"""A shop's privacy statement, as one dictionary of plain values.

`statement` answers what NIST SP 800-226 (https://doi.org/10.6028/NIST.SP.800-226) asks of a claim
of differential privacy; `registry` has the fields of the public registry of deployments
(https://github.com/opendp/deployments-registry-data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from shared.privacy.accounting.guarantee import TRUST
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.reporting.assumptions import UNPROTECTED, rests_on
from shared.privacy.ledger.reporting.people import GroupSpending, group_table, group_text
from shared.privacy.ledger.reporting.renewals import MEANING, renewal_rows, renewals_text
from shared.privacy.ledger.reporting.shared_noise import shared_noise_text
from shared.privacy.ledger.reporting.status import BudgetStatus
from shared.privacy.ledger.reporting.verify import Verdict
from shared.privacy.ledger.spending_history import spending_history

STATEMENT_VERSION = 2
"""Version of the JSON form."""


def statement(chain: Chain, account: BudgetStatus, verdict: Verdict) -> dict[str, Any]:
    """Builds the report of one shop; every value is plain JSON.

    Args:
        chain: The ledger.
        account: From `status`.
        verdict: From `verify`: a statement says whether its source holds.
    """
    start, people = chain.start, group_table(chain)
    return {
        "version": STATEMENT_VERSION,
        "shop": start.shop,
        "guarantee": guarantee_text(chain, account, fault=verdict.fault),
        "people": [asdict(each) for each in people],
        "nist_sp_800_226": _nist(chain, account, people),
        "runs": _runs(chain),
        "renewals": renewal_rows(chain),
        "registry": registry(chain, account),
        "status": account.to_json(),
        "verification": verdict.to_json(),
    }


def guarantee_text(chain: Chain, account: BudgetStatus, *, fault: str = "") -> str:
    """States the guarantee in words, or that there is none to state.

    Args:
        chain: The ledger.
        account: From `status`.
        fault: What a verification found; empty where it found nothing or there was none.
    """
    start, fault = chain.start, account.fault or fault
    if fault:
        return (
            f"No guarantee is stated for {start.shop}, whose ledger does not hold. {fault}. What "
            f"the ledger names adds up to epsilon {account.epsilon:.4g} at delta "
            f"{account.delta:g}; its lifetime limit is {account.limit:g}."
        )
    if not chain.reservations:
        return f"Nothing was released by {start.shop}: no privacy was spent."
    since = " since the last renewal" if account.renewals else ""
    window = (
        ""
        if account.window_days is None
        else f", or {account.window_limit:g} within {account.window_days:g} days"
    )
    text = (
        f"{_RELEASED[account.shared_noise is not None].format(shop=start.shop)} in {account.runs} "
        "runs are, together, "
        f"({account.epsilon:.4g}, {account.delta:g})-differentially private for each user. "
        f"Unit: {start.unit.removeprefix('user: ')}. Neighbouring data sets: {start.adjacency}. "
        f"{_towards(account)} {_renewed_text(account)}No line of the ledger passed the limit "
        f"that it was held against, now epsilon {account.limit:g}{since}{window}; "
        f"{account.remaining:.4g} is left. "
        "A person who is a user of several shops, or several users of one, is covered by a larger "
        "epsilon: `fedprofile privacy status --shops A,B` states it. What this rests on and what "
        "it leaves out is listed in `fedprofile privacy report`."
    )
    if account.floating_point:
        text += f" {FLOATING_POINT}"
    if account.restored:
        text += (
            f" The ledger was restored {account.restored} times from a backup: what its lost lines "
            "had reserved counts as the server's receipts prove it."
        )
    if account.simulation:
        text += (
            " The noise came from a seed: this is a simulation, and whoever knows the seed can "
            "take the noise away."
        )
    return text


_RELEASED = {
    False: "All noisy sums that left {shop}",
    True: "All noisy sums that hold numbers of {shop}",
}
"""Whether noise was shared -> what the account is of."""
FLOATING_POINT = (
    "Some of it was released in floating point by an earlier version: the low bits of those "
    "numbers can tell more than epsilon says."
)
"""Marks ledgers with lines from before whole numbers were released."""


def _towards(account: BudgetStatus) -> str:
    """Says towards whom the account holds, and what it assumes where noise was shared."""
    if account.shared_noise is None:
        return f"It holds towards {TRUST}."
    return shared_noise_text(account.shared_noise)


def _own_epsilon(account: BudgetStatus) -> float | str:
    shared = account.shared_noise
    own = account.epsilon if shared is None else shared.own_epsilon
    return "beyond the accountants" if own is None else round(own, 6)


def _renewed_text(account: BudgetStatus) -> str:
    """States renewals, with a space at its end; empty without one."""
    return f"{renewals_text(account)} {MEANING} " if account.renewals else ""


def registry(chain: Chain, account: BudgetStatus) -> dict[str, Any]:
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
                "privacy_unit_description": f"{start.unit}; {start.adjacency}; all of the history "
                "that the shop holds, with no limit in time.",
                "privacy_parameters": {"epsilon": account.epsilon, "delta": account.delta},
                "privacy_parameters_description": f"Total since the ledger began, over all "
                f"renewals of its budget ({account.renewals}); limit of the budget in force "
                f"{account.limit:g}. If all other shops collude: epsilon {_own_epsilon(account)}.",
            },
            "model": {
                "model_name": "Federated",
                "model_name_description": _MODEL[account.shared_noise is not None],
                "actors": _ACTORS[account.shared_noise is not None],
                "is_many_release": True,
                "is_many_release_description": f"{account.releases} releases in {account.runs} "
                "runs so far, under a limit kept in a signed ledger.",
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
            "additional_information": f"Ledger head {chain.last_hash}.",
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
    True: "Users trust their shop. The guarantee of the sum trusts that no more of the other shops "
    "than a roster allows help the server or add no noise; the shop's own guarantee trusts none of "
    "them. The server and whoever gets the adapter need not be trusted with data.",
}
"""Whether noise was shared -> whom users trust."""
_PLANNING = {
    "none": "Nothing was released.",
    "planned": "All parameters were fixed before any result.",
    "adaptive": "Parameters may depend on earlier results, under a Rényi filter.",
    "both": "Planned runs first, at half of delta; then adaptive ones under a Rényi filter, at the "
    "other half; the epsilons add up.",
}


def _nist(chain: Chain, account: BudgetStatus, people: Sequence[GroupSpending]) -> dict[str, Any]:
    """Question -> answer, in the order of the guideline's privacy pyramid."""
    start, runs = chain.start, _runs(chain)
    sampled = any(m["sample_rate"] < 1 for r in runs for m in r["mechanisms"])
    return {
        "privacy parameter epsilon": round(account.epsilon, 6),
        "privacy parameter delta": account.delta,
        "unit of privacy": start.unit,
        "a person with several ids": group_text(people),
        "neighbouring data sets": start.adjacency,
        "definition": "(epsilon, delta)-differential privacy",
        "trust model": f"Noise is added in the shop: protects against {TRUST}."
        if account.shared_noise is None
        else shared_noise_text(account.shared_noise),
        "epsilon if all other shops collude": _own_epsilon(account),
        "mechanisms": sorted({_words(m) for r in runs for m in r["mechanisms"]}),
        "sensitivity and clipping": "All of a user's history enters, and the L2 norm of what it "
        "adds to each sum is at most the norm stated with the mechanism, in whole numbers: "
        "gradients are clipped, counts and pairs are scaled. Noise multipliers are relative to "
        "that norm.",
        "sampling": "Poisson, at the rate stated; with no amplification from the server's choice "
        "of shops"
        if sampled
        else "none: every user takes part in every step",
        "accountant": account.accountant,
        "composition": f"{_PLANNING[account.planning]} Across rounds, runs, years and renewals of "
        "the budget: one account.",
        "limit of the budget": account.limit,
        "spent of the budget": round(account.budget_epsilon, 6),
        "renewals of the budget": renewals_text(account) or "none",
        "limit per window": None
        if account.window_days is None
        else f"epsilon {account.window_limit:g} within {account.window_days:g} days",
        "rests on": [*rests_on(account.shared_noise)],
        "randomness": "from a seed: a simulation, not a release"
        if account.simulation
        else "AES-256 in counter mode, keyed by the operating system",
        "not protected": [*UNPROTECTED, *([FLOATING_POINT] if account.floating_point else [])],
        "side channels": "Not covered: time, memory, power, and that a shop answers or refuses.",
        "access to the data": "The shop's own machine alone.",
        "verification": "`fedprofile privacy verify` for the record, `fedprofile privacy audit` "
        "for the figures and the noise.",
        "software": sorted(
            {f"{n} {v}" for r in chain.reservations.values() for n, v in r.body.versions.items()}
        ),
    }


def _runs(chain: Chain) -> list[dict[str, Any]]:
    after = {point.line: point.epsilon for point in spending_history(chain)}
    return [
        {
            "line": reserved.seq,
            "time": reserved.time.isoformat(timespec="seconds"),
            "run": reserved.body.run,
            "planning": reserved.body.planning,
            "mechanisms": [asdict(m) for m in reserved.body.mechanisms],
            "epsilon_after": after[reserved.seq],
            "epsilon_recorded": max(reserved.body.epsilon, reserved.body.epsilon_check),
            "plan_digest": reserved.body.plan_digest,
            "base_hash": reserved.body.base_hash,
            "rounds": sum(b.reservation == reserved.seq for b in chain.bodies.values()),
        }
        for reserved in chain.reservations.values()
    ]


def _words(mechanism: Mapping[str, Any]) -> str:
    return (
        f"{mechanism['name']}: {mechanism['steps']} x {_noise(mechanism)}, noise multiplier "
        f"{mechanism['noise_multiplier']:g}, norm {mechanism['max_norm']:g}, sample rate "
        f"{mechanism['sample_rate']:g}{of_the_sum(mechanism)}"
    )


def _noise(mechanism: Mapping[str, Any]) -> str:
    grid = mechanism["grid"]
    return f"discrete Gaussian on a grid of 1/{grid}" if grid else "Gaussian in floating point"


def of_the_sum(mechanism: Mapping[str, Any]) -> str:
    """Says of shared noise whose sum it is; empty where the shop adds all of it."""
    shops = mechanism["shared_by"]
    return "" if shops == 1 else f", noise of the sum of {shops} shops"


def _last_release(chain: Chain) -> str:
    return chain.time.date().isoformat() if chain.time is not None and chain.commits else ""
