"""Are bytes under masks what masks make them: uniform, new in every release, and nothing beside.

Uniform bytes say nothing of the noise below them. What they can show is a mask that is missing,
short, or used twice: the sum or the difference of two vectors under one mask is of the data's size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, kstest, poisson

from shared.secure_aggregation.masks import MODULUS, NUMBER_BYTES, Residues, unpack

SPREAD = 64
"""Parts of equal width of the ring, into which uniform numbers fall alike."""
LEAST = 20
"""Numbers a part at least; below, what is expected is too few for a chi-square test."""


@dataclass(frozen=True, eq=False)
class MaskedNumbers:
    """One release as it left under masks.

    Attributes:
        name: Which release of which shop, for people.
        group: Releases of one group may share a mask by mistake: of one run, of one length.
        content: Six bytes a number.
    """

    name: str
    group: str
    content: bytes

    @cached_property
    def numbers(self) -> Residues:
        """The numbers modulo 2^48, `(n,)`."""
        return unpack(self.content)


def masked_p_values(masked: MaskedNumbers) -> dict[str, float]:
    """Tests one release: each of the six bytes, and the numbers, are uniform; none comes twice."""
    x = masked.numbers
    columns = np.frombuffer(masked.content, dtype=np.uint8).reshape(-1, NUMBER_BYTES)
    tests = {"spread": _spread_p_value(x), "repeated numbers": _repeats_p_value(x)}
    if len(x):
        tests["form"] = float(kstest(x / MODULUS, "uniform").pvalue)
    if len(x) >= LEAST * 256:
        tests |= {
            f"byte {place}": _uniform_p_value(np.bincount(columns[:, place], minlength=256))
            for place in range(NUMBER_BYTES)
        }
    return tests


def shared_mask_p_values(releases: Iterable[MaskedNumbers]) -> dict[str, float]:
    """Tests each pair within a group: sum and difference are uniform unless masks are shared.

    Of three shops and more the masks of two never cancel, since each also has its own.
    """
    groups: Mapping[tuple[str, int], list[MaskedNumbers]] = defaultdict(list)
    for release in releases:
        groups[release.group, len(release.content)].append(release)
    return {
        f"mask of {first.name} in {second.name}": 2 * min(map(_spread_p_value, both))
        for same in groups.values()
        for first, second in _pairs(same)
        for both in [(first.numbers - second.numbers, first.numbers + second.numbers)]
    }


def _pairs(releases: Sequence[MaskedNumbers]) -> Iterable[tuple[MaskedNumbers, MaskedNumbers]]:
    return ((a, b) for place, b in enumerate(releases) for a in releases[:place])


def _spread_p_value(x: Residues) -> float:
    """Counts numbers in parts of the ring; few parts where there are few numbers."""
    parts = min(SPREAD, len(x) // LEAST)
    if parts < 2:  # one part holds all
        return 1.0
    places = (x % np.uint64(MODULUS)) / MODULUS * parts
    return _uniform_p_value(np.bincount(places.astype(np.int64), minlength=parts))


def _uniform_p_value(counts: npt.NDArray[np.int64]) -> float:
    expected = counts.sum() / len(counts)
    return float(chi2.sf(np.square(counts - expected).sum() / expected, len(counts) - 1))


def _repeats_p_value(x: Residues) -> float:
    repeated = len(x) - len(np.unique(x))
    return float(poisson.sf(repeated - 1, len(x) * (len(x) - 1) / 2 / MODULUS))
