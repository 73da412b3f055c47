"""Whether to join, in words: only what is significant after correction is called a help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from simulation.experiments.sweep.schema import ComparisonRecord, Recommendation, SurfaceSweep
from simulation.reporting.records import (
    NOISE_NAMES,
    NOISES,
    TRUST,
    Noise,
    listing,
    p_text,
    percent,
    signed,
    surface_name,
)

Surfaces = Mapping[str, SurfaceSweep]


def recommend(surfaces: Surfaces) -> tuple[Recommendation, ...]:
    """Recommends for each kind of noise, and for no privacy where there is nothing else."""
    kinds = {c.noise for s in surfaces.values() for c in s.comparisons}
    private: list[Noise | None] = [noise for noise in NOISES if noise in kinds]
    return tuple(_recommendation(surfaces, noise) for noise in private or [None])


def title_of(recommendations: Sequence[Recommendation], surfaces: Surfaces) -> str:
    """Says the result in one sentence."""
    if not surfaces:
        return "Nothing could be compared: no surface has both a fused and a best local system"
    paid = [r for r in recommendations if r.join]
    if not paid:
        return "Do not join for this data at these budgets: nothing is significantly better"
    kinds: dict[str, list[str]] = {}
    for r in paid:
        kinds.setdefault(_where(surfaces, r.noise), []).append(f"with {NOISE_NAMES[r.noise]}")
    parts = [f"{where} {listing(names)}" for where, names in kinds.items()]
    failed = [NOISE_NAMES[r.noise] for r in recommendations if not r.join]
    rest = f"; with {listing(failed)} it does not" if failed else ""
    return f"Joining helps on {'; on '.join(parts)}{rest}"


def _recommendation(surfaces: Surfaces, noise: Noise | None) -> Recommendation:
    helping = [c for _, c in _of(surfaces, noise) if c.verdict == "better"]
    budgets = [c.epsilon for c in helping if c.epsilon is not None]
    words = _helps(surfaces, noise) if helping else [_nothing(surfaces, noise)]
    return Recommendation(
        noise=noise,
        join=bool(helping),
        epsilon=min(budgets, default=None),
        sentences=(*words, *_harms(surfaces, noise)),
        trust=TRUST[noise],
    )


def _helps(surfaces: Surfaces, noise: Noise | None) -> list[str]:
    """One sentence a surface at its smallest helpful epsilon, then what is below."""
    smallest = sorted(_smallest(surfaces, noise), key=lambda pair: pair[1].epsilon or 0.0)
    sentences = []
    for i, (surface, c) in enumerate(smallest):
        start = f"With {NOISE_NAMES[noise]}, at" if i == 0 else "At"
        at = f"{start} {_budget(c.epsilon)}" if noise else f"{NOISE_NAMES[noise].capitalize()}:"
        decided = len(c.shops)
        whom = f"{len(c.helped)} of {decided} shops" if c.helped else "shops taken together"
        sentences.append(f"{at} joining helps {whom} on {surface_name(surface)}: {_figures(c)}.")
    least = smallest[0][1].epsilon
    below = sorted({e for e in _budgets(surfaces, noise) if least is not None and e < least})
    if below:
        sentences.append(f"At {_epsilons(below)} no significant gain is left.")
    elif least is not None:
        sentences.append("No smaller epsilon was tried.")
    return [*sentences, *_gaps(surfaces, noise, dict(smallest))]


def _gaps(
    surfaces: Surfaces, noise: Noise | None, smallest: Mapping[str, ComparisonRecord]
) -> Iterator[str]:
    """Names larger epsilons that do not bear out what a smaller one showed."""
    for surface, least in smallest.items():
        missed = [
            c.epsilon
            for name, c in _of(surfaces, noise)
            if name == surface and c.verdict != "better"
            if c.epsilon is not None and least.epsilon is not None and c.epsilon > least.epsilon
        ]
        if missed:
            yield (
                f"On {surface_name(surface)} {_epsilons(missed)} did not bear this out: take it "
                "with care."
            )


def _nothing(surfaces: Surfaces, noise: Noise | None) -> str:
    every = [c for _, c in _of(surfaces, noise)]
    if not every:
        return "Nothing could be compared."
    least = min((c.p_adjusted for c in every if c.gain.mean > 0), default=1.0)
    tried = sorted(set(_budgets(surfaces, noise)))
    budgets = f" at {_epsilons(tried, word='or')}" if tried else ""
    return (
        f"Do not join for this data at these budgets: with {NOISE_NAMES[noise]}, no surface is "
        f"significantly better than the best local system{budgets} (smallest adjusted p of a gain "
        f"{p_text(least)})."
    )


def _harms(surfaces: Surfaces, noise: Noise | None) -> Iterator[str]:
    """Says where fused is significantly worse, and how many shops lose by their own figures."""
    for surface in surfaces:
        worse = [c for name, c in _of(surfaces, noise) if (name, c.verdict) == (surface, "worse")]
        for c in worse:
            yield (
                f"It does harm on {surface_name(surface)} at {_budget(c.epsilon)}: {_figures(c)}."
            )


def _figures(c: ComparisonRecord) -> str:
    way = "rises" if c.gain.mean > 0 else "falls"
    share = f"{percent(c.gain_percent.mean)}, " if c.gain_percent else ""
    size = signed(abs(c.gain.mean)).removeprefix("+")
    return f"NDCG@10 {way} by {size} ({share}adjusted p {p_text(c.p_adjusted)})"


def _where(surfaces: Surfaces, noise: Noise | None) -> str:
    return listing(
        [
            surface_name(surface) + ("" if c.epsilon is None else f" from epsilon {c.epsilon:g}")
            for surface, c in _smallest(surfaces, noise)
        ]
    )


def _smallest(surfaces: Surfaces, noise: Noise | None) -> list[tuple[str, ComparisonRecord]]:
    """Each surface's comparison of smallest epsilon that is significantly better."""
    smallest: dict[str, ComparisonRecord] = {}
    for surface, c in sorted(_of(surfaces, noise), key=lambda pair: pair[1].epsilon or 0.0):
        if c.verdict == "better":
            smallest.setdefault(surface, c)
    return [(surface, smallest[surface]) for surface in surfaces if surface in smallest]


def _of(surfaces: Surfaces, noise: Noise | None) -> list[tuple[str, ComparisonRecord]]:
    return [(n, c) for n, s in surfaces.items() for c in s.comparisons if c.noise == noise]


def _budgets(surfaces: Surfaces, noise: Noise | None) -> list[float]:
    return [c.epsilon for _, c in _of(surfaces, noise) if c.epsilon is not None]


def _budget(epsilon: float | None) -> str:
    return NOISE_NAMES[None] if epsilon is None else f"epsilon {epsilon:g}"


def _epsilons(values: Sequence[float], *, word: str = "and") -> str:
    shown = [f"{value:g}" for value in values]
    return f"epsilon {listing(shown).replace(' and ', f' {word} ')}"
