"""Schema-valid reports with made-up numbers: plausible in size, measured nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.privacy.accounting.guarantee import Guarantee, Mechanism
from shared.runtime.environment import Environment
from shared.settings.run_settings import PrivacySettings, RunSettings
from simulation.experiments.single.findings import guarantee_text
from simulation.experiments.single.schema import Report, ShopPrivacy

LEVELS = {
    "for-you": (0.248, 0.447, 0.418, 0.450, 0.155, 0.451, 0.462, 0.231, 0.462, 0.462, 0.466),
    "discover": (0.0542, 0.03, 0.057, 0.0586, 0.016, 0.0593, 0.0596, 0.0561, 0.0618, 0.062, 0.064),
    "tail": (0.0084, 0.001, 0.0121, 0.0137, 0.0117, 0.0179, 0.0179, 0.0102, 0.0172, 0.02, 0.0239),
    "basket": (0.104, 0.09, 0.141, 0.158, 0.049, 0.159, 0.161, 0.116, 0.163, 0.165, 0.17),
}  # fmt: skip
GAINS = {"for-you": (0.0, 0.0006), "discover": (0.0022, 0.0006), "tail": (-0.0007, 0.0003),
         "basket": (0.002, 0.0014)}  # fmt: skip
MEASURED = ["popularity", "frequency", "item-knn", "ease", "text", "ease-text", "best-local"]
MEASURED += ["global", "fused", "fused-non-private", "pooled"]
TRUST = "the server, the other shops and outsiders; the shop's own machine is trusted"


def interval(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def paid(epsilon: float) -> ShopPrivacy:
    return ShopPrivacy.paid(
        Guarantee(
            epsilon=epsilon,
            delta=1e-5,
            unit="user: the whole history of one user, whose part in each release is bounded",
            adjacency="add or remove one user",
            sampling="full-batch",
            accountant="exact Gaussian (Balle and Wang 2018, dp-accounting)",
            epsilon_check=epsilon,
            accountant_check="dp-accounting PLD",
            trust=TRUST,
            mechanisms=(
                Mechanism("item-counts", 9.6 / epsilon**0.85, 1.0, 1, 1.0),
                Mechanism("dp-sgd", 9.1 / epsilon**0.85, 1.0, 8, 0.01),
                Mechanism("pair-sums", 5.5 / epsilon**0.85, 1.0, 1, 1.0),
            ),
        )
    )


def sample_report(
    *,
    epsilon: float | None = 8.0,
    seed: int = 1,
    shops: int = 19,
    gains: dict[str, tuple[float, float]] | None = None,
) -> Report:
    """A report as a run of `shops` shops would leave it; `gains` are (mean, half width)."""
    rng = np.random.default_rng(seed)
    gains = gains or GAINS
    reach = 1.0 if epsilon is None else min(1.0, epsilon**0.5 / 3)
    reach *= 1.0 if seed == 1 else 1 + 0.1 * rng.standard_normal()
    ids = [f"r19-{i:02d}" for i in range(1, shops + 1)]

    def methods(surface: str, half: float, jitter: float) -> dict[str, Any]:
        levels = dict(zip(MEASURED, LEVELS[surface], strict=True))
        levels["placebo"] = levels["best-local"]
        levels["fused"] = levels["best-local"] + gains[surface][0] * reach
        factor = 1 + jitter * rng.standard_normal()
        return {
            name: {
                "ndcg@10": interval(level * factor, half * level),
                "hr@10": interval(1.6 * level * factor, half * level * 2),
                "recall@20": interval(0.8 * level * factor, half * level),
                "coverage@20": interval(0.4, 0.01),
                "diversity@10": interval(0.6, 0.01),
                "novelty@10": interval(4.2, 0.1),
            }
            for name, level in levels.items()
            if not (epsilon is None and name == "fused-non-private")
        }

    def per_shop(surface: str) -> dict[str, Any]:
        gain, half = gains[surface]
        noise = np.abs(half) * 4
        return {s: interval(gain * reach + noise * rng.standard_normal() / 2, noise) for s in ids}

    def compared(surface: str) -> dict[str, Any]:
        gain = interval(gains[surface][0] * reach, gains[surface][1])
        sure = gain["low"] > 0 or gain["high"] < 0
        return {
            "difference": gain,
            "over_placebo": gain,
            "p": 0.002 if sure else 0.4,
            "p_adjusted": 0.006 if sure else 0.8,
            "primary": surface == "discover",
            "verdict": "no-better" if not sure else "better" if gain["low"] > 0 else "worse",
            "shops": per_shop(surface),
        }

    guarantee = {
        s: ShopPrivacy.none(sample_rate=1.0, steps=8) if epsilon is None else paid(epsilon)
        for s in ids
    }
    rounds = [
        {
            "round": i,
            "update_norm": 0.02 + 0.05 / i,
            "replies": shops - (i == 3),
            "refused": [{"shop": ids[0], "code": "not-finite"}] if i == 3 else [],
            "seconds": 0.9,
            "bytes_down": 250_000 * shops,
            "bytes_up": 125_000 * shops,
        }
        for i in range(1, 9)
    ]
    counts = {**rounds[0], "round": 0, "update_norm": 812.0, "bytes_down": 0, "bytes_up": 0}
    counts["kind"] = "counts"
    pairs = {**counts, "kind": "pairs", "update_norm": 640.0}
    return Report.model_validate(
        {
            "name": f"sample-{epsilon}-{seed}",
            "created": "2026-11-22T13:40:00Z",
            "fedprofile_version": "0.1.0",
            "settings": RunSettings(seed=seed, privacy=PrivacySettings(epsilon=epsilon)),
            "environment": Environment(
                python="3.11.7", os="Linux", cpu="sample", cores=2, memory_mb=24_000, device="cpu",
                git_commit=None, packages={"torch": "2.13.0"},
            ),
            "data": {
                "name": "complete-journey", "rows_read": 1_469_307, "kept": 812_345,
                "dropped": {"duplicates": 12_001, "impossible quantities": 4_711},
                "shops": {s: {"users": 50 + 13 * i, "events": 9_000} for i, s in enumerate(ids)},
            },
            "privacy": guarantee,
            "guarantee_text": guarantee_text(guarantee, seed=seed),
            "surfaces": {s: {"available": True, "users": 1_987} for s in LEVELS},
            "metrics": {
                **{s: methods(s, 0.03, 0.0) for s in LEVELS},
                "shops": {i: {s: methods(s, 0.1, 0.1) for s in LEVELS} for i in ids},
            },
            "comparison": {s: compared(s) for s in LEVELS},
            "reliability": 0.9,
            "fusion": {
                i: {
                    s: {
                        "best-local": {"ease": 1.0, "text": 0.25, "popularity": 0.1},
                        "fused": {"ease": 1.0, "text": 0.25, "global": 0.5 * rng.integers(0, 3)},
                    }
                    for s in LEVELS
                }
                for i in ids
            },
            "training": {"non-private": rounds}
            if epsilon is None
            else {
                "private": [counts, pairs, *rounds],
                "non-private": [{**r, "update_norm": 0.03} for r in rounds],
            },
            "seconds": {"load": 3.2, "encode": 41.0, "train": 7.9, "evaluate": 18.4},
            "peak_rss_mb": 1843.2,
            "files": {"report": "report.json", "page": "report.html", "adapter": "adapter"},
        }
    )  # fmt: skip
