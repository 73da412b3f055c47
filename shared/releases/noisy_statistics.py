"""What noisy statistics say of popularity and co-purchase: public post-processing, free of cost.

Counts of single items drown in noise where the catalogue is long, but items with like texts sell
alike: a ridge regression of the counts on the item vectors averages the noise over the whole
catalogue, and what single items add to it is kept only where it stands out of the noise. Pair sums
are treated in the same way, in bins of pairs that are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from shared.protocol.messages import CodesArray, FloatArray
from shared.releases.pair_sums import Values

FLOOR = 0.1
"""Least popularity of an item, as a share of the mean: no item is left out for good."""
_THRESHOLDS = 400


def denoise_counts(counts: FloatArray, item_vectors: FloatArray, *, std: float) -> FloatArray:
    """Estimates non-negative counts from noisy ones.

    Args:
        counts: Sum of the shops' noisy counts, `(n_items,)`.
        item_vectors: Public item vectors `(n_items, dim)`.
        std: Standard deviation of the noise in `counts`; 0 returns the counts.

    Returns:
        Ridge fit on the vectors plus soft-thresholded residuals, not below 0, `(n_items,)`. The
        ridge's strength and the threshold minimise Stein's unbiased risk estimate
        (https://doi.org/10.1214/aos/1176345632), which needs nothing but the known noise.
    """
    if std == 0:
        return np.maximum(counts, 0)
    values = counts.astype(np.float64)
    fit = _ridge(values, item_vectors, std)
    estimate: FloatArray = np.maximum(fit + _threshold(values - fit, std), 0).astype(np.float32)
    return estimate


_NOISE_DEVIATIONS = 3.0
"""Standard deviations above the length of pure noise from which on counts say something."""


def signal_share(counts: FloatArray, *, std: float) -> float:
    """Says how far noisy counts stand out of their noise; free, as it is made of them alone.

    Args:
        counts: Sum of the shops' noisy counts, `(n_items,)`.
        std: Standard deviation of the noise in `counts`.

    Returns:
        Length of the clean counts over that of the noisy ones, estimated, in [0, 1]; 0 where noise
        alone would be as long once in 700 times.
    """
    energy = float(np.square(counts, dtype=np.float64).sum())
    noise = len(counts) * std**2
    # The squared length of n normal numbers has mean n and deviation sqrt(2 n).
    if energy <= noise * (1.0 + _NOISE_DEVIATIONS * (2.0 / max(len(counts), 1)) ** 0.5):
        return 0.0
    return float((1.0 - noise / energy) ** 0.5)


def smoothed(popularity: FloatArray) -> FloatArray:
    """Gives every item at least `FLOOR` of the mean popularity: `(n_items,)`, all positive."""
    floor = max(FLOOR * float(popularity.mean()), 1e-6)
    positive: FloatArray = popularity + np.float32(floor)
    return positive


def log_prior(popularity: FloatArray) -> FloatArray:
    """Returns the prior that scores add: log of smoothed popularity, mean 0, `(n_items,)`.

    A softmax against candidates that are drawn in proportion to the smoothed popularity learns the
    logarithm of the ratio of an item's chance to its popularity; adding this makes it the chance.
    """
    prior = np.log(smoothed(popularity))
    centred: FloatArray = (prior - prior.mean()).astype(np.float32)
    return centred


def _ridge(
    values: npt.NDArray[np.float64], vectors: FloatArray, std: float
) -> npt.NDArray[np.float64]:
    """Fits values on `[vectors, 1]`, strength by Stein's risk estimate."""
    design = np.pad(vectors.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)
    eigenvalues, axes = np.linalg.eigh(design.T @ design)
    eigenvalues = np.maximum(eigenvalues, 0)
    target = axes.T @ (design.T @ values)
    best, coefficients = np.inf, np.zeros(len(target))
    for strength in 10.0 ** np.arange(-1, 7):
        scaled = target / (eigenvalues + strength)
        risk = (
            values @ values
            - 2 * target @ scaled
            + eigenvalues @ scaled**2
            + 2 * std**2 * (eigenvalues / (eigenvalues + strength)).sum()
        )
        if risk < best:
            best, coefficients = risk, axes @ scaled
    fitted: npt.NDArray[np.float64] = design @ coefficients
    return fitted


def _threshold(values: npt.NDArray[np.float64], std: float) -> npt.NDArray[np.float64]:
    """Shrinks values towards 0 by the soft threshold of least estimated risk."""
    size = np.sort(np.abs(values))
    squares = np.append(0.0, np.cumsum(size**2))
    tried = np.unique(np.linspace(0, len(size) - 1, _THRESHOLDS).astype(np.int64))
    below = tried + 1
    energy = squares[below] + (len(size) - below) * size[tried] ** 2
    risk = len(size) * std**2 - 2 * std**2 * below + energy
    cut = size[tried[risk.argmin()]]
    shrunk: npt.NDArray[np.float64] = np.sign(values) * np.maximum(np.abs(values) - cut, 0)
    return shrunk


Floats = npt.NDArray[np.floating]

COSINE_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)
"""Edges of the bins by text: what texts have to say is in the most similar pairs."""
POPULARITY_BINS = 8
"""Bins by popularity, of equal size."""
LEAST_PAIRS = 50
"""A bin with fewer pairs keeps the parameters of all pairs together."""
_GRID = 400
_STEPS = 30


@dataclass(frozen=True)
class SpikeAndTail:
    """Prior of a pair: 0 with probability `1 - share`, else exponential with mean `mean`."""

    share: float
    mean: float


def estimate_pairs(noisy: Floats, *, std: float, vectors: Floats, popularity: Floats) -> Values:
    """Estimates the clean pair sums of all shops together.

    Args:
        noisy: Sum of the shops' noisy pair sums, `(h (h - 1) / 2,)`.
        std: Standard deviation of the noise in it; 0 returns the sums.
        vectors: Item vectors of the head, unit or zero length, `(h, d)`.
        popularity: Positive estimate of the head items' popularity from paid counts, `(h,)`.

    Returns:
        Posterior means, none below 0, `(h (h - 1) / 2,)`. Nothing has to be tuned to the noise.
    """
    values = noisy.astype(np.float64)
    if std == 0:
        return np.maximum(values, 0.0)
    # Empirical Bayes (https://doi.org/10.1214/009053604000000030): most pairs never occur, so the
    # prior is a spike at 0 and a tail, with parameters from the noisy values themselves. One prior
    # for all would shrink popular pairs like rare ones: each bin of public features has its own.
    whole = fit_prior(values, std)
    out = np.empty_like(values)
    bins = pair_bins(vectors, popularity)
    order = np.argsort(bins, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(bins[order])) + 1):
        prior = whole if len(rows) < LEAST_PAIRS else fit_prior(values[rows], std, start=whole)
        out[rows] = posterior_mean(values[rows], std, prior)
    return out


def pair_bins(vectors: Floats, popularity: Floats) -> npt.NDArray[np.int64]:
    """Numbers the bin of each pair by text cosine and product of popularity, `(n_pairs,)`."""
    first, second = np.triu_indices(len(vectors), 1)
    cosine = (vectors @ vectors.T)[first, second]
    together = (popularity[:, None] * popularity[None, :])[first, second]
    even = np.arange(1, POPULARITY_BINS) / POPULARITY_BINS
    row = np.searchsorted(np.quantile(cosine, COSINE_QUANTILES), cosine)
    column = np.searchsorted(np.quantile(together, even), together)
    return (row * POPULARITY_BINS + column).astype(np.int64)


def fit_prior(values: Values, std: float, start: SpikeAndTail | None = None) -> SpikeAndTail:
    """Fits the prior to noisy values by expectation maximisation on their histogram.

    Args:
        values: Clean values plus normal noise, `(n,)`.
        std: Standard deviation of the noise, above 0.
        start: First guess.

    Returns:
        `mean` is kept between a fifth of `std`, below which 0 and tail cannot be told apart, and
        the largest value.
    """
    prior = start or SpikeAndTail(0.05, max(std, 0.5))
    # On 400 cells instead of up to 12.5 million pairs, once for each of many bins.
    counts, edges = np.histogram(values, _GRID)
    seen = counts > 0
    centres, counts = ((edges[1:] + edges[:-1]) / 2)[seen], counts[seen]
    least, most = 0.2 * std, max(float(values.max()), std)
    for _ in range(_STEPS):
        chance, value = _tail(centres, std, prior)
        weight = float(counts @ chance)
        mean = float((counts * chance) @ value) / max(weight, 1e-12)
        share = min(max(weight / len(values), 1e-6), 0.99)
        prior = SpikeAndTail(share, min(max(mean, least), most))
    return prior


def posterior_mean(values: Values, std: float, prior: SpikeAndTail) -> Values:
    """Expected clean value of each noisy one, `(n,)`: rising in the value, never below 0."""
    chance, value = _tail(values, std, prior)
    return chance * value


def _tail(values: Values, std: float, prior: SpikeAndTail) -> tuple[Values, Values]:
    """Returns the chance that a value is not 0 and its posterior mean if so, both `(n,)`.

    Given the tail, the posterior is the normal around `value - std^2 / mean` cut at 0; its mean is
    that of a truncated normal, and the value's density is that of an exponential plus a normal.
    """
    # In logarithms: for values many deviations below 0 both densities underflow to 0, and their
    # ratio would be NaN.
    centre = (values - std**2 / prior.mean) / std
    log_above = log_ndtr(centre)
    log_spike = np.log1p(-prior.share) - 0.5 * (values / std) ** 2 - np.log(std)
    log_tail = np.log(prior.share / prior.mean) + log_above
    log_tail += 0.5 * np.log(2 * np.pi) + 0.5 * (std / prior.mean) ** 2 - values / prior.mean
    # exp overflows float64 from 710 on.
    chance = 1.0 / (1.0 + np.exp(np.clip(log_spike - log_tail, -700, 700)))
    # Inverse Mills ratio; where `centre` is far below 0 it nearly cancels it, hence the maximum.
    mills = np.exp(-0.5 * centre**2 - 0.5 * np.log(2 * np.pi) - log_above)
    return chance, std * np.maximum(centre + mills, 0.0)


LEAST_POPULARITY = 1e-6
"""Floor of an item's popularity, so that every pair has a bin."""


@dataclass(frozen=True, eq=False)
class PairRelease:
    """How often head items are taken together, over all shops.

    Attributes:
        head: Item codes, ascending `(h,)`, at least 2.
        noisy: Sum of the shops' noisy pair sums: the upper triangle by rows, diagonal left out,
            `(h (h - 1) / 2,)`.
        std: Standard deviation of the noise in `noisy`.
        vectors: Public vectors of the head, unit or zero length, `(h, dim)`.
        popularity: Positive estimate of the head's popularity from paid counts, `(h,)`.
    """

    head: CodesArray
    noisy: FloatArray
    std: float
    vectors: npt.NDArray[np.floating]
    popularity: npt.NDArray[np.floating]

    def estimate(self, own: Values | None = None) -> FloatArray:
        """Estimates the pair sums, none below 0, `(h (h - 1) / 2,)`, float32.

        Args:
            own: Clean pair sums of a shop that took part, which takes them out to learn what the
                others add to what it has; then the estimate is of the others and stays in the shop.

        Guarantee:
            Without `own`, post-processing of what was paid for, at no further cost. With `own`, a
            function of the shop's clean pairs: private to the shop, not differentially private.
        """
        return self._of_all if own is None else self._estimate(self.noisy - own)

    @cached_property
    def _of_all(self) -> FloatArray:
        return self._estimate(self.noisy)

    def _estimate(self, noisy: npt.NDArray[np.floating]) -> FloatArray:
        return estimate_pairs(
            noisy, std=self.std, vectors=self.vectors, popularity=self.popularity
        ).astype(np.float32)


def release_pairs(
    noisy: FloatArray,
    *,
    head: CodesArray,
    std: float,
    item_vectors: FloatArray,
    popularity: FloatArray,
) -> PairRelease | None:
    """Puts the shops' summed pairs beside what their estimate needs, all of it public or paid.

    Args:
        noisy: Sum of the shops' noisy pair sums, `(h (h - 1) / 2,)`.
        head: Item codes, ascending `(h,)`.
        std: Standard deviation of the noise in the sum.
        item_vectors: Public vectors of the catalogue `(n_items, dim)`.
        popularity: Estimate from paid counts `(n_items,)`.

    Returns:
        The release; None where the head has fewer than 2 items, so that there is no pair.
    """
    if len(head) < 2:
        return None
    vectors = np.asarray(item_vectors[head], dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return PairRelease(
        head=head,
        noisy=noisy,
        std=std,
        vectors=vectors / np.where(norms > 0, norms, 1.0),
        popularity=np.maximum(popularity[head].astype(np.float64), LEAST_POPULARITY),
    )
