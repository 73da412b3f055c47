"""From the results of a run to the form of `report.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from client.recommenders.visits import type_names
from shared.runtime.environment import capture, describe_device
from simulation.evaluation.evaluate import EvaluationResult, data_taken_types
from simulation.evaluation.paired_bootstrap import (
    Values,
    bootstrap_by_shop,
    gain_p,
    interval_of,
    judge,
    judged_mean,
    user_values,
)
from simulation.evaluation.shop import OF_MODELS, ShopResult, named
from simulation.experiments.single.findings import guarantee_text
from simulation.experiments.single.schema import COMPARED, Report, Round, ShopPrivacy
from simulation.reporting.records import SURFACES, report_head
from simulation.runs.preparation import Prepared
from simulation.runs.training import Trained, release_reliability

MODEL_PREFIXES = tuple(f"{method}-" for method in OF_MODELS)
"""How names of methods begin that belong to one of several models."""


def build_report(
    prepared: Prepared,
    trained: Trained,
    control: Trained | None,
    result: EvaluationResult,
    *,
    name: str,
    labels: tuple[str, str],
    seconds: Mapping[str, float],
    peak_rss_mb: float,
) -> Report:
    """Builds the report of one variant.

    Args:
        prepared: Data and model.
        trained: The variant's global model.
        control: The model without privacy, where one was trained.
        result: The evaluation of all variants.
        name: Name of the run.
        labels: Names of the variant's model and of the control in `result`.
        seconds: Wall time by phase.
        peak_rss_mb: Largest memory, MB.
    """
    methods = method_names(labels, private=trained.guarantee is not None)
    privacy = {shop.shop_id: _privacy(trained) for shop in prepared.dataset.shops}
    return Report.model_validate(
        {
            **report_head(
                name=name,
                settings=trained.settings,
                environment=capture(device=describe_device(prepared.device)),
            ),
            "data": _data(prepared),
            "privacy": privacy,
            "guarantee_text": guarantee_text(privacy, seed=trained.settings.seed),
            "surfaces": _surfaces(result),
            "metrics": _metrics(result.metrics, methods),
            "comparison": _comparison(result, methods, prepared),
            "fusion": {shop.shop_id: _weights(shop, methods) for shop in result.shops},
            "reliability": release_reliability(trained),
            "training": _training(trained, control),
            "seconds": dict(seconds),
            "peak_rss_mb": peak_rss_mb,
            "files": {},
        }
    )


def _data(prepared: Prepared) -> dict[str, object]:
    """What was read and dropped; examples of rows hold ids and stay out of a file to show."""
    report = {k: v for k, v in prepared.dataset.report.items() if k != "examples"}
    types = data_taken_types(prepared.dataset, prepared.settings.evaluation.target_types)
    return {**report, "notes": list(prepared.notes), "target_types": type_names(types)}


def method_names(labels: tuple[str, str], *, private: bool) -> dict[str, str]:
    """Maps method names of an evaluation of several models to those of a report.

    Args:
        labels: Names of the variant's model and of the control.
        private: Whether the variant is private; a run without privacy has no control.
    """
    mine, control = labels
    names = {named(method, mine): method for method in OF_MODELS}
    return names | ({named("fused", control): "fused-non-private"} if private else {})


def renamed(methods: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Keeps local methods and the variant's own, under the names of a report."""
    by_name = {}
    for method, value in methods.items():
        if method in names:
            by_name[names[method]] = value
        elif not method.startswith(MODEL_PREFIXES):
            by_name[method] = value
    return by_name


def _privacy(trained: Trained) -> ShopPrivacy:
    if trained.guarantee is not None:
        return ShopPrivacy.paid(trained.guarantee, bounds=trained.bounds)
    plan = trained.plan
    return ShopPrivacy.none(sample_rate=plan.sample_rate, steps=plan.rounds * plan.local_steps)


def _surfaces(result: EvaluationResult) -> dict[str, dict[str, Any]]:
    records = {}
    for surface, record in result.surfaces.items():
        reasons = sorted(set(record["absent"].values()))
        rankings = [s.rankings[surface] for s in result.shops if surface in s.rankings]
        records[surface] = {
            "available": bool(rankings),
            "reason": "; ".join(reasons) if reasons and not rankings else None,
            "users": sum(len(next(iter(methods.values())).users) for methods in rankings),
        }
    return records


def _metrics(metrics: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Renames methods and drops what could not be measured."""

    def surfaces(table: Mapping[str, Any]) -> dict[str, Any]:
        return {
            surface: {
                method: {m: v for m, v in values.items() if v["mean"] is not None}
                for method, values in renamed(methods, names).items()
            }
            for surface, methods in table.items()
        }

    shops = {shop: surfaces(table) for shop, table in metrics["shops"].items()}
    measured = surfaces({k: v for k, v in metrics.items() if k != "shops"})
    return {**{surface: {} for surface in SURFACES}, **measured, "shops": shops}


def _comparison(
    result: EvaluationResult, names: Mapping[str, str], prepared: Prepared
) -> dict[str, Any]:
    """Compares `fused` with `best-local` and with `placebo`, user by user."""
    evaluation = prepared.settings.evaluation
    columns = {names.get(old, old): [old] for old in (*names, "best-local")}
    columns = {method: columns[method] for method in COMPARED}
    compared = {}
    for surface in (s for s in SURFACES if s in result.surfaces):
        shops = user_values(result, surface, columns)
        if shops:
            compared[surface] = _compared(shops, evaluation.bootstrap, prepared.settings.seed)
    primary = evaluation.primary if evaluation.primary in compared else None
    judgements = judge(
        [(judged_mean(c["difference"], c["over_placebo"]), c["p"]) for c in compared.values()],
        primary=None if primary is None else list(compared).index(primary),
    )
    return {
        surface: {**comparison, "primary": surface == primary, **judged}
        for (surface, comparison), judged in zip(compared.items(), judgements, strict=True)
    }


def _compared(shops: Mapping[str, Mapping[str, Values]], draws: int, seed: int) -> dict[str, Any]:
    """Draws users within their shops; the same users for both differences."""
    stacked = [
        np.stack([own["fused"] - own["best-local"], own["fused"] - own["placebo"]], axis=1)
        for own in shops.values()
    ]
    drawn = bootstrap_by_shop(stacked, draws=draws, rng=np.random.default_rng(seed))
    over_local, over_placebo = (
        (float(drawn.means[i]), drawn.draws[:, i]) for i in range(len(drawn.means))
    )
    local, placebo = np.sum([(rows != 0).sum(axis=0) for rows in stacked], axis=0)
    return {
        "difference": interval_of(over_local),
        "over_placebo": interval_of(over_placebo),
        "p": gain_p(over_local, over_placebo, unequal=int(local), unequal_to_placebo=int(placebo)),
        "shops": {
            shop: interval_of((drawn.shop_means[i, 0], drawn.shop_draws[i, :, 0]))
            for i, shop in enumerate(shops)
        },
    }


def _weights(shop: ShopResult, names: Mapping[str, str]) -> dict[str, Any]:
    """Renames methods and the signals of global models, which are the model of their method."""
    models = [old.removeprefix("fused") for old in names if old.startswith("fused")]
    signals_of = {f"{s}{model}": s for s in ("global", "pairs") for model in models}
    return {
        surface: {
            method: {signals_of.get(s, s): weight for s, weight in signals.items()}
            for method, signals in renamed(methods, names).items()
        }
        for surface, methods in shop.weights.items()
    }


def _training(trained: Trained, control: Trained | None) -> dict[str, Any]:
    private = trained.guarantee is not None
    runs = {"private" if private else "non-private": trained}
    if private and control is not None:
        runs["non-private"] = control
    return {
        label: [Round.of(info, run.result.refusals) for info in run.result.rounds]
        for label, run in runs.items()
    }
