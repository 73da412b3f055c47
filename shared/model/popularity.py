"""What noisy item counts say of popularity: public post-processing, free of privacy cost.

Counts of single items drown in noise where the catalogue is long, but items with like texts sell
alike: a ridge regression of the counts on the item vectors averages the noise over the whole
catalogue, and what single items add to it is kept only where it stands out of the noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
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


def signal_share(counts: FloatArray, *, std: float) -> float:
    """Says how far noisy counts stand out of their noise; free, as it is made of them alone.

    Args:
        counts: Sum of the shops' noisy counts, `(n_items,)`.
        std: Standard deviation of the noise in `counts`.

    Returns:
        Length of the clean counts over that of the noisy ones, estimated, in [0, 1].
    """
    energy = float(np.square(counts, dtype=np.float64).sum())
    if energy == 0:
        return 0.0
    return float(max(0.0, 1.0 - len(counts) * std**2 / energy) ** 0.5)


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
    kept = squares[below] + (len(size) - below) * size[tried] ** 2
    risk = len(size) * std**2 - 2 * std**2 * below + kept
    cut = size[tried[risk.argmin()]]
    shrunk: npt.NDArray[np.float64] = np.sign(values) * np.maximum(np.abs(values) - cut, 0)
    return shrunk
