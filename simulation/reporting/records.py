"""What all files of results have in common: records, and the words for methods and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from shared.runtime.environment import Environment
from shared.settings.run_settings import RunSettings

SURFACES = ("for-you", "discover", "tail", "cold", "new-user", "basket")
"""Surfaces in the order in which reports show them."""


class Record(BaseModel):
    """Base of all parts: immutable, unknown keys and non-finite numbers refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Interval(Record):
    """A mean over users with its 95% bootstrap interval."""

    mean: float
    """Mean over users."""
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval."""

    @property
    def contains_zero(self) -> bool:
        """Whether the interval includes 0."""
        return self.low <= 0 <= self.high

    def scaled(self, factor: float) -> Interval:
        """Returns the same in another unit.

        Args:
            factor: Above 0, such as 100 for per cent.
        """
        return Interval(mean=factor * self.mean, low=factor * self.low, high=factor * self.high)


Noise = Literal["shop", "shared"]
"""Who adds the noise; see `PrivacySettings.noise`."""
NOISES: tuple[Noise, ...] = get_args(Noise)


Verdict = Literal["better", "no-better", "worse"]
Share = Annotated[float, Field(ge=0, le=1)]


class Correction(Record):
    """How the p-values are corrected."""

    method: Literal["Holm"] = "Holm"
    """Name of the correction."""
    comparisons: Annotated[int, Field(ge=0)]
    """Comparisons that are corrected together: all of this file but the primary one."""
    primary: str | None = None
    """The comparison that was named beforehand and is judged by itself; null where it could not be
    measured."""
    level: float = 0.05
    """Level at which words say better or worse."""
    draws: Annotated[int, Field(ge=1)]
    """Bootstrap draws behind every interval and p-value."""


class ExperimentReport(Record):
    """The head of the file that an experiment leaves behind.

    A subclass is one experiment; its keys follow those of the head.
    """

    schema_version: Literal[1] = 1
    """Version of this form; a key never changes its meaning within a version."""
    name: str
    """Name of the run."""
    created: datetime
    """When the run ended, UTC."""
    fedprofile_version: str
    """Version of the package."""
    settings: RunSettings
    """All settings as resolved; they repeat the run."""
    environment: Environment
    """The machine and the packages."""

    def to_json(self) -> str:
        """Returns the text of the file, which is also what `--json` prints."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def report_head(*, name: str, settings: RunSettings, environment: Environment) -> Mapping[str, Any]:
    """Returns the head of a report on an experiment that ends now."""
    return {
        "name": name,
        "created": datetime.now(UTC),
        "fedprofile_version": metadata.version("fedprofile"),
        "settings": settings,
        "environment": environment,
    }


SURFACE_NAMES = {
    "for-you": "For you",
    "discover": "Discover",
    "tail": "Tail",
    "cold": "Cold items",
    "new-user": "New users",
    "basket": "Basket",
}
SURFACE_NOTES = {
    "for-you": "all items of the shop",
    "discover": "items new to the user",
    "tail": "new to the user and bought by fewer than 10 of the shop's users",
    "cold": "new to the user and with fewer than 5 events in all shops",
    "new-user": "items new to the user, of whom one event is known",
    "basket": "half a cart is given, the other half is asked for",
}
METHOD_NAMES = {
    "popularity": "Popularity",
    "frequency": "Own frequency",
    "item-knn": "ItemKNN",
    "ease": "EASE",
    "sequence": "What followed what",
    "text": "Zero-shot text",
    "text-map": "Local text map",
    "ease-text": "EASE + text",
    "best-local": "Best local",
    "placebo": "Placebo",
    "global": "Global model alone",
    "pairs": "EASE with others' pairs",
    "fused": "Fused: shared + local",
    "fused-non-private": "Fused, without privacy",
    "pooled": "All data pooled",
}
"""Method -> its name for people, in the order in which reports show them."""
MINUS = "\N{MINUS SIGN}"


def number(value: float, metric: str = "ndcg@10") -> str:
    """Formats a metric: four digits where differences are small, two where they are not."""
    coarse = metric.startswith(("novelty", "coverage", "diversity"))
    return f"{value:.2f}" if coarse else f"{value:.4f}"


def small(value: float) -> str:
    """Formats a small positive number: 1e-5 and not 1e-05."""
    return f"{value:g}".replace("e-0", "e-")


def signed(value: float) -> str:
    """Formats a difference with its sign, a real minus included."""
    return f"{round(value, 4) + 0.0:+.4f}".replace("-", MINUS)


def listing(names: list[str]) -> str:
    """Joins names as a sentence does: `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


METRIC_NAMES = {
    "ndcg@10": "NDCG@10",
    "hr@10": "HR@10",
    "recall@20": "Recall@20",
    "coverage@20": "Coverage@20",
    "diversity@10": "Diversity@10",
    "novelty@10": "Novelty@10",
}


def duration(seconds: float) -> str:
    """Formats seconds: `71 s`, `4 min 10 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def plain(value: Any) -> str:
    """Formats any JSON value for a reader: thousands separated, lists on one line."""
    if value is None:
        return "–"  # noqa: RUF001 - the dash of an empty cell
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return small(float(f"{value:.6g}"))
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value) or "–"  # noqa: RUF001
    return str(value)


NOISE_NAMES: dict[Noise | None, str] = {
    "shop": "noise in each shop",
    "shared": "noise shared by the shops",
    None: "no privacy",
}
TRUST: dict[Noise | None, str] = {
    "shop": "Each shop adds all of its noise itself: the guarantee asks for trust in nobody but "
    "the shop's own machine.",
    "shared": "Each shop adds its share of the noise, so the guarantee holds for sums over shops "
    "alone. It rests on secure aggregation, which shows the server nothing else, on no more shops "
    "that help the server than are allowed for, and on so many shops in each sum as were agreed. "
    "Should all other shops help the server, a shop's release is protected by its own share.",
    None: "No guarantee: for comparison only, nothing of these runs may be released.",
}


ASSUMES = "Shared noise rests on secure aggregation and on most shops being honest."
"""What stands next to every figure of shared noise."""


def p_text(p: float) -> str:
    """Formats a p-value: `0.04`, `0.006`, `below 0.001`."""
    if p < 0.001:
        return "below 0.001"
    return f"{p:.3f}" if p < 0.01 else f"{p:.2f}"


def percent(value: float) -> str:
    """Formats per cent with a sign."""
    return f"{round(value, 1) + 0.0:+.1f}%".replace("-", MINUS)


def kind_name(epsilon: float | None, noise: Noise | None) -> str:
    """Names a kind of run inside a sentence: `epsilon 8, noise in each shop`."""
    return NOISE_NAMES[None] if epsilon is None else f"epsilon {epsilon:g}, {NOISE_NAMES[noise]}"


def surface_name(surface: str) -> str:
    """Returns the name that readers know."""
    return SURFACE_NAMES.get(surface, surface)
