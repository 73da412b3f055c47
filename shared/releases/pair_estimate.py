"""What noisy pair sums say of co-purchase: public post-processing, free of privacy cost.

Most pairs of items are never taken by the same user, and a sum over half a million noisy zeros
drowns the rest. How likely a pair is, and how large, is learned from the noisy sums themselves: in
each bin of pairs with like popularity and like similarity of texts, pairs are taken to be 0 or
exponentially distributed, both parameters fitted to the bin by maximum likelihood, and every sum is
replaced by its posterior mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from shared.releases.pairs import Values

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
    centre = (values - std**2 / prior.mean) / std
    log_above = log_ndtr(centre)
    log_spike = np.log1p(-prior.share) - 0.5 * (values / std) ** 2 - np.log(std)
    log_tail = np.log(prior.share / prior.mean) + log_above
    log_tail += 0.5 * np.log(2 * np.pi) + 0.5 * (std / prior.mean) ** 2 - values / prior.mean
    chance = 1.0 / (1.0 + np.exp(np.clip(log_spike - log_tail, -700, 700)))
    mills = np.exp(-0.5 * centre**2 - 0.5 * np.log(2 * np.pi) - log_above)
    return chance, std * np.maximum(centre + mills, 0.0)
