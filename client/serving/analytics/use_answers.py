"""One use of a node: trained on its own history, and what it tells of everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from client.serving.features.shop_history import ShopHistory
from client.uses.answers import Answers, answers, joined_answers
from client.uses.training import TrainedUse, by_rule, train_use
from shared.errors import ConfigError
from shared.uses.history import Codes, History
from shared.uses.interface import Use

TRAINING_USERS = {"user": 10_000, "user-item": 1_000}
"""Users that a head is fitted to at most: with a few users of their own heads are near their best,
and the examples of all would not fit in memory."""
GROUP_USERS = 5_000
"""Users whose questions about categories are in memory at one time."""
BEST = 10
"""Answers about categories that are kept of each user."""


@dataclass(frozen=True, eq=False)
class UseAnswers:
    """A use with what it tells of everybody.

    Attributes:
        told: Best first.
        shop: What was read; its events are not kept.
        code_of: Code of each user that was read, by id.
        why_rule: Why there is no head yet; None where one was fitted.
    """

    told: Answers
    shop: ShopHistory
    code_of: Mapping[str, int]
    why_rule: str | None
    _rows: tuple[Codes, Codes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.told.unit, kind="stable")
        ends = np.arange(len(self.shop.user_ids) + 1)
        starts = np.searchsorted(self.told.unit[order], ends)
        object.__setattr__(self, "_rows", (order, starts.astype(np.int64)))

    @property
    def use(self) -> Use:
        """The use."""
        return self.told.trained.use

    @property
    def of_users(self) -> bool:
        """Whether users are asked about, or categories."""
        return self.use.unit != "item"

    def rows_of(self, user_id: str) -> Codes:
        """Returns a user's rows, best first; none for somebody who was not asked about."""
        code = self.code_of.get(user_id, -1)
        order, starts = self._rows
        return order[starts[code] : starts[code + 1]] if code >= 0 else order[:0]


def ask(use: Use, shop: ShopHistory, code_of: Mapping[str, int], *, seed: int) -> UseAnswers:
    """Trains a use and answers it for all users.

    Args:
        use: The use.
        shop: All that the node may learn from.
        code_of: Code of each user by id.
        seed: Draws the users whom a head is fitted to, and deals them into folds.

    Raises:
        ConfigError: The data lack what the use needs.
    """
    rng = np.random.default_rng(seed)
    if use.level == "chain":
        raise ConfigError(
            "is asked by the owner of all shops together",
            name=use.name,
            remedy="see `fedprofile uses prices`",
        )
    why_rule = None
    try:
        trained = train_use(use, _sample(use, shop.history, rng), first=shop.first, rng=rng)
    except ConfigError as error:
        trained, why_rule = by_rule(use, shop.history), str(error)
    told = _told(trained, shop.history, rng)
    return UseAnswers(told, shop.without_events(), code_of, why_rule)


def _sample(use: Use, history: History, rng: np.random.Generator) -> History:
    most = TRAINING_USERS.get(use.unit)
    if most is None or history.n_users <= most:
        return history
    return history.of_users(np.sort(rng.choice(history.n_users, most, replace=False)))


def _told(trained: TrainedUse, history: History, rng: np.random.Generator) -> Answers:
    """Answers for all; of questions about users and categories each user's best alone."""
    if trained.use.unit != "user-item":
        return answers(trained, history)
    parts = []
    users = rng.permutation(history.n_users)
    # Groups are drawn, so that in each the shop's usual categories are the most bought ones.
    for start in range(0, len(users), GROUP_USERS):
        group = np.sort(users[start : start + GROUP_USERS])
        told = answers(trained, history.of_users(group))
        parts.append(_best_of_each(told).of_units(group))
    return joined_answers(parts)


def _best_of_each(told: Answers) -> Answers:
    """Keeps each unit's first rows of a list that is sorted."""
    order = np.argsort(told.unit, kind="stable")
    unit = told.unit[order]
    place = np.arange(len(unit)) - np.searchsorted(unit, unit)
    return told.select(np.sort(order[place < BEST]))
