"""What a new shop gains by joining, in words: only what is significant after correction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from simulation.experiments.new_shops.schema import GainRecord, GroupAdvice, GroupRecord, SizeRecord
from simulation.reporting.records import MINUS, NOISE_NAMES, Noise, listing, signed, surface_name

Sizes = Mapping[int, SizeRecord]
Kind = tuple[float | None, Noise | None]
"""Epsilon and noise of a group."""
NOTHING = "nothing significant"


def recommend_to_new_shops(sizes: Sizes) -> tuple[GroupAdvice, ...]:
    """Says for each kind of federation what it gives to new shops, surface by surface."""
    return tuple(
        GroupAdvice(
            epsilon=kind[0],
            noise=kind[1],
            join=any(g.verdict == "better" for _, _, g in _gains(sizes, kind)),
            sentences=tuple(_sentences(sizes, kind)),
        )
        for kind in _kinds(sizes)
    )


def title_of(advice: tuple[GroupAdvice, ...], sizes: Sizes) -> str:
    """Says the result in one sentence: the largest gain at the smallest size that has one."""
    paid = [a for a in advice if a.epsilon is not None]
    for shown, rest in ((paid, ""), (advice, "; with privacy nothing significant" * bool(paid))):
        gains = [
            (size, -(g.percent.mean if g.percent else 0.0), i, surface, g)
            for i, a in enumerate(shown)
            for size, surface, g in _gains(sizes, (a.epsilon, a.noise))
            if g.verdict == "better"
        ]
        if gains:
            size, _, i, surface, gain = min(gains, key=lambda each: each[:3])
            a = shown[i]
            return (
                f"New shops gain by joining: {_amount(gain)} on {surface_name(surface)} "
                f"{_with(size)} of their own, {_at((a.epsilon, a.noise))}{rest}"
            )
    return "Joining adds nothing significant to new shops in this data"


def percent_of(gain: GainRecord) -> str:
    """Formats a gain in percent with its sign: `+44%`, `+3.2%`; empty where there is none."""
    if gain.percent is None:
        return ""
    value = gain.percent.mean
    text = f"{value:+.0f}%" if abs(value) >= 9.95 else f"{round(value, 1) + 0.0:+.1f}%"
    return text.replace("-", MINUS)


def _kinds(sizes: Sizes) -> list[Kind]:
    groups = [g for size in sizes.values() for s in size.surfaces.values() for g in s.groups]
    return list(dict.fromkeys((g.epsilon, g.noise) for g in groups))


def _gains(sizes: Sizes, kind: Kind) -> Iterator[tuple[int, str, GainRecord]]:
    """What joining adds: size, surface and the gain of `fused` over `best-local`."""
    for size, record in sizes.items():
        for surface, surface_record in record.surfaces.items():
            group = _of(surface_record.groups, kind)
            if group is not None:
                yield size, surface, group.gains["fused-over-best-local"]


def _of(groups: tuple[GroupRecord, ...], kind: Kind) -> GroupRecord | None:
    return next((g for g in groups if (g.epsilon, g.noise) == kind), None)


def _sentences(sizes: Sizes, kind: Kind) -> Iterator[str]:
    by_surface: dict[str, list[tuple[int, GainRecord]]] = {}
    for size, surface, gain in _gains(sizes, kind):
        by_surface.setdefault(surface, []).append((size, gain))
    silent = [
        s for s, gains in by_surface.items() if all(g.verdict == "no-better" for _, g in gains)
    ]
    for surface, gains in by_surface.items():
        if surface not in silent:
            yield _sentence(surface, gains, kind)
    if silent:
        names = listing([surface_name(s) for s in silent])
        yield f"On {names} a new shop gains {NOTHING} {_at(kind)}, at any size."


def _sentence(surface: str, gains: list[tuple[int, GainRecord]], kind: Kind) -> str:
    """One surface over all sizes: the first in full, then what changes with own users."""
    (size, first), rest = gains[0], gains[1:]
    text = (
        f"A new shop {_with(size)} of its own {_change(first)}{_over(first, size)} on "
        f"{surface_name(surface)} {_at(kind)}"
    )
    named = size > 0 and first.verdict != "no-better"
    parts = []
    for nothing, run in groupby(rest, key=lambda pair: pair[1].verdict == "no-better"):
        group = list(run)
        if nothing:
            users = listing([f"{own}" for own, _ in group])
            parts.append(f"with {users} users {_further(group[0][1], first)}")
            continue
        for own, gain in group:
            over = "" if named else _over(gain, own)
            named = True
            parts.append(f"{_with(own)} {_further(gain, first)}{over}")
    return f"{text}; {', '.join(parts)}." if parts else f"{text}."


def _with(size: int) -> str:
    return "with no users" if size == 0 else f"with {size} user{'' if size == 1 else 's'}"


def _change(gain: GainRecord) -> str:
    if gain.verdict == "no-better":
        return f"gains {NOTHING}"
    return f"{'gains' if gain.verdict == 'better' else 'loses'} {_amount(gain)}"


def _further(gain: GainRecord, first: GainRecord) -> str:
    """A change in a row of changes: a gain after a gain needs no verb."""
    if first.verdict == "better" and gain.verdict != "worse":
        return NOTHING if gain.verdict == "no-better" else _amount(gain)
    return f"it {_change(gain)}"


def _over(gain: GainRecord, size: int) -> str:
    if gain.verdict == "no-better":
        return ""
    word = "over" if gain.verdict == "better" else "against"
    return f" {word} {'zero-shot text' if size == 0 else 'the best that it reaches alone'}"


def _amount(gain: GainRecord) -> str:
    """The size of a change: per cent, or NDCG@10 where per cent have no meaning."""
    if gain.percent is None:
        return f"{signed(abs(gain.difference.mean)).lstrip('+')} NDCG@10"
    return percent_of(gain).lstrip(f"+{MINUS}")


def _at(kind: Kind) -> str:
    epsilon, noise = kind
    return (
        "without privacy"
        if epsilon is None
        else f"at epsilon {epsilon:g} with {NOISE_NAMES[noise]}"
    )
