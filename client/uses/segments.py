"""Segments of a shop's users: K-means on their activity, named by what sets each apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from shared.errors import ConfigError
from shared.uses.activity import COLUMNS, activity
from shared.uses.history import Codes, Floats, History

NAMED_BY = 2
"""Features in a segment's name."""
LOOK_BACK = 28.0
"""Days between the two fits that stability compares."""


@dataclass(frozen=True, eq=False)
class Segments:
    """A division of users.

    Attributes:
        names: One a segment, largest first.
        shares: Share of the users in each, `(k,)`.
        segment: Of each user, `(n_users,)`.
        stability: Adjusted Rand index of this division and of one fitted 4 weeks earlier, both of
            today's users (https://doi.org/10.1007/BF01908075): 1 is the same, 0 is chance; NaN
            where there is no earlier history.
    """

    names: tuple[str, ...]
    shares: Floats
    segment: Codes
    stability: float


def find_segments(history: History, *, k: int, seed: int) -> Segments:
    """Divides a shop's users by what they did, by nothing that they are.

    Args:
        history: All that the shop knows.
        k: Number of segments.
        seed: Of the fit's starts.

    Raises:
        ConfigError: There are fewer users than segments.
    """
    if not 2 <= k <= history.n_users:
        raise ConfigError(
            f"must be from 2 to the number of users, {history.n_users}",
            name="segments",
            value=k,
            remedy="change it with --segments",
        )
    now = activity(history)[:, 1:]
    spread = np.maximum(now.std(axis=0), 1e-9)
    model = KMeans(k, n_init=5, random_state=seed).fit(now / spread)
    order = np.argsort(-np.bincount(model.labels_, minlength=k), kind="stable")
    place = np.argsort(order)
    segment = place[model.labels_].astype(np.int64)
    centres = (model.cluster_centers_ - (now / spread).mean(axis=0))[order]
    return Segments(
        names=_names(centres),
        shares=np.bincount(segment, minlength=k) / history.n_users,
        segment=segment,
        stability=_stability(history, now, segment, k=k, seed=seed),
    )


def _stability(history: History, now: Floats, segment: Codes, *, k: int, seed: int) -> float:
    earlier = history.before(history.end - LOOK_BACK)
    if not len(earlier.events):
        return float("nan")
    then = activity(earlier)[:, 1:]
    spread = np.maximum(then.std(axis=0), 1e-9)
    if len(np.unique(then, axis=0)) < k:
        return float("nan")
    model = KMeans(k, n_init=5, random_state=seed).fit(then / spread)
    return float(adjusted_rand_score(segment, model.predict(now / spread)))


def _names(centres: Floats) -> tuple[str, ...]:
    """Names each segment by the features that are furthest from all users' mean.

    Features that say nearly the same, such as visits in 4 and in 12 weeks, are named once.
    """
    names = []
    for centre in centres:
        chosen: list[str] = []
        topics: set[str] = set()
        for column in np.argsort(-np.abs(centre), kind="stable"):
            name = COLUMNS[column + 1]
            topic = name.split(" in ")[0].split(" of ")[0]
            if topic in topics:
                continue
            topics.add(topic)
            chosen.append(f"{'high' if centre[column] > 0 else 'low'} {name}")
            if len(chosen) == NAMED_BY:
                break
        names.append(", ".join(chosen))
    return tuple(names)
