"""One shop's evaluation: choose everything on its validation window, then measure its test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.fusion.fusion_weights import (
    MIN_QUERIES,
    Weights,
    add_federated_signals,
    add_public_federated_weights,
    default_weights,
    is_cautious,
    is_sparse,
    local_weights,
    search_weights,
    weights_without_users,
)
from client.fusion.hyperparameters import (
    Grids,
    choose,
    local_grids,
    parameters,
    tune,
)
from client.fusion.scores import Pool
from client.fusion.short_histories import mean_items
from client.recommenders.config import PRIOR_STRENGTHS
from client.recommenders.interface import Recommender
from client.recommenders.local import LOCAL_NAMES, federated_ease
from client.recommenders.profile import ProfileRecommender, Project
from client.recommenders.queries import SURFACES, Floats
from client.recommenders.tables.co_purchase import CoPurchaseVectors
from client.recommenders.tables.pair_gram import PairGram
from shared.interactions.events import Events
from shared.interactions.persons import Persons, by_person
from shared.releases.noisy_statistics import PairRelease
from simulation.evaluation.measures import (
    ItemFacts,
    Ranking,
    Stage,
    fit_chosen,
    measure_surfaces,
)
from simulation.evaluation.placebo import (
    PLACEBO_GLOBAL,
    PLACEBO_PAIRS,
    placebo_grids,
)
from simulation.evaluation.pooled import TWINS, Pooled
from simulation.evaluation.validation_pools import SurfacePools, validation_pools

OF_MODELS = ("global", "pairs", "placebo", "fused")
"""Methods that every global model has; a model without pairs lacks `pairs`."""
PooledTwins = Mapping[str, Pooled]
"""The upper bound's models by signal."""
_TEXT_WEIGHTS = (0.4, 0.1, 1.0, 2.5, 6.0)


@dataclass(frozen=True, eq=False)
class GlobalModel:
    """A model trained for all shops, as the evaluation sees it.

    Attributes:
        project: Maps mean history vectors `(q, d)` to profile vectors `(q, d)`; the scale of its
            output is that of the similarities against `prior`.
        prior: Added to the items' scores, `(n_items,)`; None for nothing.
        half_life: Of an event in the history vector, in the unit of `Events.time`.
        pairs: What the federation knows of co-purchase; None where nothing was released.
        contributors: Shops whose events before the test window are in `pairs`; None for all.
        reliability: Share of signal in what was released, in [0, 1]; itself known from the release.
        saw_answers: Whether the answers of the shop's validation window are in counts and adapter.
            Where items have a handful of events, one more is the answer: so on *cold items* nothing
            of such a model comes in.
        untrained: `project` before training, for the placebo; None leaves history vectors as they
            are.
    """

    project: Project
    prior: Floats | None = None
    half_life: float = 120.0
    pairs: PairRelease | None = None
    contributors: frozenset[str] | None = None
    reliability: float = 1.0
    saw_answers: bool = False
    untrained: Project | None = None


@dataclass(frozen=True, eq=False)
class ShopResult:
    """What one shop's evaluation gives.

    Attributes:
        shop_id: The shop.
        rankings: surface -> method -> test ranking.
        weights: surface -> method -> signal -> weight, for the fused methods.
        parameters: surface -> signal -> chosen hyper-parameters.
        absent: surface -> why it could not be measured.
    """

    shop_id: str
    rankings: dict[str, dict[str, Ranking]]
    weights: dict[str, dict[str, Weights]]
    parameters: dict[str, dict[str, dict[str, Any]]]
    absent: dict[str, str]


def named(method: str, model: str) -> str:
    """Names a method or signal of a model: `fused`, or `fused-<model>` where it has a name."""
    return f"{method}-{model}" if model else method


def evaluate_shop(
    shop_id: str,
    validation: Stage,
    test: Stage,
    *,
    item_vectors: Floats,
    time_unit: str,
    models: Mapping[str, GlobalModel],
    pooled: tuple[PooledTwins, PooledTwins] | None,
    persons: Persons | None = None,
) -> ShopResult:
    """Tunes on the validation stage, fits again on all that the test stage knows, and measures.

    Args:
        shop_id: Name of the shop.
        validation: What is known and asked while everything is chosen.
        test: What is known and asked for the report.
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order".
        models: Global models by name; "" is the model of `global` and `fused`.
        pooled: Models of all shops' users before each of the two windows; None leaves `pooled` out.
        persons: Person of each of its users where ids are linked, as in its part of a release.
    """
    grids = local_grids(item_vectors, time_unit)
    for name, model in models.items():
        gram = _gram(model, shop_id, test.learned.events, persons)
        grids[named("global", name)] = _model_grid(item_vectors, model, gram)
        if gram is not None:
            grids[named("pairs", name)] = [federated_ease(gram, time_unit)]
    grids |= _placebo_grids(models, item_vectors, time_unit)
    if pooled is not None:
        grids |= {name: [twin] for name, twin in pooled[0].items()}
    tuned = tune(grids, validation.learned, validation.blocks())
    pools = validation_pools(tuned, validation.blocks())
    has_users = len(test.learned.now) > 0
    sparse = is_sparse(validation.learned)
    chosen = {s: {n: _chosen(s, grids[n], tuned[n]) for n in grids} for s in SURFACES}
    weights = {
        s: _weights(
            s,
            tuple(grids),
            pools.pop(s, None),
            models,
            has_users=has_users,
            sparse=sparse,
            dated=time_unit == "days",
        )
        for s in SURFACES
    }
    if pooled is not None:
        for signals in chosen.values():
            signals.update(pooled[1])
    facts = ItemFacts.of(test.history, item_vectors)
    fitted = fit_chosen(test.learned, chosen)
    usual = mean_items(validation.learned)
    rankings = measure_surfaces(test.blocks(), fitted, weights, facts, usual=usual)
    asked = [surface for surface in SURFACES if surface in rankings]
    return ShopResult(
        shop_id,
        rankings={s: rankings[s] for s in asked},
        weights={s: {m: w for m, w in weights[s].items() if len(w) > 1} for s in asked},
        parameters={s: {n: parameters(r) for n, r in chosen[s].items()} for s in asked},
        absent=test.absent(asked),
    )


def _gram(
    model: GlobalModel, shop_id: str, released: Events, persons: Persons | None
) -> PairGram | None:
    if model.pairs is None:
        return None
    # The shop's own part of the release, and so its users' sizes, are those of the test stage while
    # weights are chosen too: decision 005 says what that may flatter.
    took_part = model.contributors is None or shop_id in model.contributors
    return PairGram.of_others(model.pairs, by_person(released, persons) if took_part else None)


def _placebo_grids(
    models: Mapping[str, GlobalModel], item_vectors: Floats, time_unit: str
) -> Grids:
    """Returns the placebo of models of one family; nothing where there is no model."""
    if not models:
        return {}
    first = next(iter(models.values()))
    return placebo_grids(
        item_vectors,
        time_unit,
        untrained=first.untrained,
        half_life=first.half_life,
        prior=first.prior is not None,
        head=max((len(m.pairs.head) for m in models.values() if m.pairs is not None), default=0),
    )


def _model_grid(
    item_vectors: Floats, model: GlobalModel, gram: PairGram | None
) -> list[Recommender]:
    """Tries the model's prior at full weight, at half and left out."""
    co_purchase = None if gram is None else CoPurchaseVectors.of(gram)
    strengths = PRIOR_STRENGTHS if model.prior is not None else (1.0,)
    return [
        ProfileRecommender(
            item_vectors,
            model.project,
            model.prior,
            half_life=model.half_life,
            prior_weight=strength,
            co_purchase=co_purchase,
        )
        for strength in strengths
    ]


def _chosen(
    surface: str, variants: Sequence[Recommender], tuned: Mapping[str, Recommender]
) -> Recommender:
    """Returns the tuned variant, or the default where the surface had no validation queries."""
    return tuned.get(surface, variants[0])


def _weights(
    surface: str,
    choices: Collection[str],
    pools: SurfacePools | None,
    models: Mapping[str, GlobalModel],
    *,
    has_users: bool,
    sparse: bool,
    dated: bool = False,
) -> dict[str, Weights]:
    """Returns the weights of every method; a method of one signal has that signal alone."""
    apart = (*TWINS, PLACEBO_GLOBAL, PLACEBO_PAIRS)
    weights = {name: {name: 1.0} for name in choices if name not in apart}
    further, reliability = _further_signals(surface, choices, models)
    names = tuple(name for name in choices if name in LOCAL_NAMES)
    if pools is None:
        weights["ease-text"] = {"ease": 1.0, "text": _TEXT_WEIGHTS[0]}
        text = {name: float(name == "text") for name in names}
        weights["best-local"] = (
            default_weights(surface, names, sparse=sparse) if has_users else text
        )
        for method, outside in further.items():
            trust = reliability[method]
            if has_users and is_cautious(surface, sparse=sparse):
                trust = 0.0
            if trust > 0 and dated and not has_users:
                weights[method] = weights_without_users(
                    weights["best-local"], outside, surface=surface
                )
                continue
            weights[method] = add_public_federated_weights(
                weights["best-local"], outside, surface=surface, reliability=trust
            )
        return weights
    pool = pools.pool(names)
    weights["ease-text"] = _ease_text(pool)
    weights["best-local"] = local_weights(pool, surface, names, sparse=sparse)
    # Each further signal gets a pool of its own, so that no method's weights depend on another;
    # methods of the same signals, as the placebos are, share pool and search.
    searched: dict[tuple[str, ...], tuple[Pool, Weights]] = {}
    for method, outside in further.items():
        least = 0 if method == "pooled" else MIN_QUERIES  # the bound may not be held back
        if outside not in searched:
            pool = pools.pool((*names, *outside))
            fitted = weights["best-local"] | dict.fromkeys(outside, 0.0)
            if outside and len(pools) >= least:
                fitted = search_weights(pool, weights["best-local"], outside)
            searched[outside] = pool, fitted
        weights[method] = add_federated_signals(
            searched[outside][0],
            weights["best-local"],
            outside,
            surface=surface,
            reliability=reliability[method],
            min_queries=least,
            cautious=is_cautious(surface, sparse=sparse) and method != "pooled",
            searched=searched[outside][1],
        )
    return weights


def _further_signals(
    surface: str, choices: Collection[str], models: Mapping[str, GlobalModel]
) -> tuple[dict[str, tuple[str, ...]], dict[str, float]]:
    """Returns each fused method's signals from outside, and how far these may be relied on."""
    further: dict[str, tuple[str, ...]] = {}
    reliability: dict[str, float] = {}
    for name, model in models.items():
        fused, placebo = named("fused", name), named("placebo", name)
        own = (named("pairs", name), named("global", name))
        stand_ins = (PLACEBO_PAIRS, PLACEBO_GLOBAL) if own[0] in choices else (PLACEBO_GLOBAL,)
        shut = surface == "cold" and model.saw_answers
        further[fused] = () if shut else tuple(signal for signal in own if signal in choices)
        further[placebo] = () if shut else stand_ins
        reliability |= dict.fromkeys((fused, placebo), model.reliability)
    if TWINS[0] in choices:
        further["pooled"], reliability["pooled"] = TWINS, 1.0
    return further, reliability


def _ease_text(pool: Pool) -> Weights:
    """Leaves the default share of text only for a gain above one standard error."""
    mixes = [{"ease": 1.0, "text": weight} for weight in _TEXT_WEIGHTS]
    return mixes[choose([pool.ndcg(mix) for mix in mixes])]
