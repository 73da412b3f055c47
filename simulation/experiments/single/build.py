"""From the results of a run to the form of `report.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.metrics.bootstrap import paired_difference
from shared.runtime.environment import capture, describe_device
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.measures import METRICS
from simulation.evaluation.shop import OF_MODELS, ShopResult, named
from simulation.experiments.single.findings import guarantee_text
from simulation.experiments.single.schema import Report, Round, ShopPrivacy
from simulation.reporting.records import SURFACES, Interval, report_head
from simulation.runs.preparation import Prepared
from simulation.runs.training import Trained

NDCG = METRICS.index("ndcg@10")
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
            "data": {**prepared.dataset.report, "notes": list(prepared.notes)},
            "privacy": privacy,
            "guarantee_text": guarantee_text(privacy, seed=trained.settings.seed),
            "surfaces": _surfaces(result),
            "metrics": _metrics(result.metrics, methods),
            "comparison": _comparison(result, methods, prepared),
            "fusion": {shop.shop_id: _weights(shop, methods) for shop in result.shops},
            "training": _training(trained, control),
            "seconds": dict(seconds),
            "peak_rss_mb": peak_rss_mb,
            "files": {},
        }
    )


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
    """Compares `fused` and `best-local` user by user."""
    evaluation, seed = prepared.settings.evaluation, prepared.settings.seed

    def interval(differences: list[Any]) -> Interval:
        joined = np.concatenate(differences)
        difference = paired_difference(
            joined,
            np.zeros_like(joined),
            draws=evaluation.bootstrap,
            rng=np.random.default_rng(seed),
        )
        return Interval(mean=difference.mean, low=difference.low, high=difference.high)

    compared = {}
    for surface in result.surfaces:
        shops = {
            shop.shop_id: _differences(shop, surface, names)
            for shop in result.shops
            if surface in shop.rankings
        }
        if shops:
            compared[surface] = {
                "difference": interval(list(shops.values())),
                "shops": {shop: interval([values]) for shop, values in shops.items()},
            }
    return compared


def _differences(shop: ShopResult, surface: str, names: Mapping[str, str]) -> Any:
    methods = renamed(shop.rankings[surface], names)
    return methods["fused"].values[:, NDCG] - methods["best-local"].values[:, NDCG]


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
