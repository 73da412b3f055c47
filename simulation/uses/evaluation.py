"""Uses on a data set: each row is scored on the same questions, with intervals over units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from client.uses.choice import RULE, Fit, choose
from client.uses.heads import (
    Head,
    LinearHead,
    RuleHead,
    fit_local,
    fit_toward,
    head_of_moments,
)
from client.uses.training import WARM_UP
from shared.errors import ConfigError
from shared.metrics.bootstrap import Interval
from shared.uses.history import Floats, History
from shared.uses.interface import Examples, Use, check_needs, examples, joined
from shared.uses.metrics import Scored, interval
from shared.uses.registry import uses as registered
from simulation.uses.federation import MomentsPlan, clean_moments, released
from simulation.uses.histories import UsesData

WORTH = (30.0, 300.0)
"""Examples that the head of all shops is worth beside a shop's own; the shop chooses."""

MAX_POOLED = 100_000
"""Examples of all shops that a pooled head is fitted to, drawn at random where there are more."""
CHOICE_DAYS = 84.0
"""Days before the test window in which choices for uses with occasions of their own are made."""

Rows = dict[str, dict[str, Interval]]
"""Row -> metric -> interval."""


@dataclass(frozen=True)
class Protocol:
    """How uses are measured.

    Attributes:
        window: `test`, or `validation`, on which choices are made.
        plan: The release of the federated uses.
        seeds: Noise and new shops' users are drawn so often.
        own_users: Users of a new shop.
        draws: Bootstrap samples.
        seed: Of everything drawn.
    """

    window: Literal["test", "validation"]
    plan: MomentsPlan
    seeds: int
    own_users: int
    draws: int
    seed: int


@dataclass(frozen=True, eq=False)
class ShopExamples:
    """One shop's examples of one use: from before the window, and in it."""

    train: Examples
    test: Examples


@dataclass(frozen=True, eq=False)
class UseResult:
    """What one use is worth.

    Attributes:
        use: The use.
        rows: Over all users of full shops.
        new_shop: Over the users of shops that have labels of a few alone; empty where the use is
            not asked of users.
        served: How many shops serve which row.
        skipped: Why it was not measured; "" where it was.
    """

    use: Use
    rows: Rows
    new_shop: Rows
    served: dict[str, int]
    skipped: str = ""


def evaluate_uses(data: UsesData, uses: Sequence[Use], protocol: Protocol) -> Iterator[UseResult]:
    """Measures uses one after the other.

    Raises:
        ConfigError: A use that was named cannot be asked of the data, and there is no other.
    """
    federated = [use for use in released_for(uses) if not _lacks(use, data)]
    cached = {use.name: draw(use, data, protocol.window) for use in federated}
    sums = [
        clean_moments(federated, {n: shops[i].train for n, shops in cached.items()}, h.n_users)
        for i, h in enumerate(data.histories)
        if federated
    ]
    for use in uses:
        reason = _lacks(use, data)
        if reason:
            yield UseResult(use, {}, {}, {}, reason)
            continue
        shops = cached.get(use.name) or draw(use, data, protocol.window)
        yield _Measured(use, federated, shops, sums, protocol).result()


def released_for(uses: Sequence[Use]) -> list[Use]:
    """Returns the uses whose moments these are served from: their own, or one that they borrow."""
    names = {use.borrows or use.name for use in uses}
    return [use for use in registered().values() if use.name in names and use.release == "moments"]


def draw(use: Use, data: UsesData, window: Literal["test", "validation"]) -> list[ShopExamples]:
    """Draws every shop's examples before and in a window; no answer of the one is in the other."""
    shops = []
    for history in _asked_of(use, data):
        asked = evaluation_times(use, history, data, window)
        until = min([*asked, data.test_start if window == "test" else data.validation_start])
        train = use.occasions(history.before(until), data.first + WARM_UP, until - use.label.span)
        shops.append(
            ShopExamples(
                examples(use, history, train, until=until),
                examples(use, history, asked, until=max(_ends(use, asked))),
            )
        )
    return shops


def evaluation_times(
    use: Use, history: History, data: UsesData, window: Literal["test", "validation"]
) -> list[float]:
    """Returns when a window asks.

    A use on a grid of weeks asks once, so that its answer ends with the window. A use with
    occasions of its own asks at all of them in the test window; choices are made on those of the 12
    weeks before it whose answers end before it.
    """
    end = data.test_end if window == "test" else data.test_start
    if not use.occasions_of_its_own:
        return [end - use.label.horizon]
    if window == "test":
        return use.occasions(history, data.test_start, np.nextafter(end, 0))
    return use.occasions(history, end - CHOICE_DAYS, end - use.label.horizon)


def _asked_of(use: Use, data: UsesData) -> Sequence[History]:
    return data.histories if use.level == "shop" else (data.chain,)


def _ends(use: Use, times: Sequence[float]) -> list[float]:
    return [time + use.label.horizon for time in times] or [0.0]


def _lacks(use: Use, data: UsesData) -> str:
    try:
        for history in _asked_of(use, data):
            check_needs(use, history)
    except ConfigError as error:
        return error.message
    return ""


class _Measured:
    """One use with everybody's examples."""

    def __init__(
        self,
        use: Use,
        federated: Sequence[Use],
        shops: Sequence[ShopExamples],
        sums: Sequence[np.ndarray],
        protocol: Protocol,
    ) -> None:
        self.use, self.federated, self.shops = use, federated, shops
        self.sums, self.protocol = sums, protocol
        self.served: dict[str, int] = {}
        name = use.borrows or use.name
        self._lender = next((other for other in federated if other.name == name), None)
        """The use whose moments the head of all shops is made of; None where there is none."""

    def result(self) -> UseResult:
        """Measures the use in full and in new shops."""
        by_user = self.use.unit != "item"
        full, new = self._full(), self._new() if by_user else {}
        return UseResult(self.use, self._rows(full), self._rows(new), self.served)

    def _full(self) -> dict[str, list[list[Floats]]]:
        """Returns row -> seed -> shop -> scores."""
        local = [fit_local(self.use, shop.train) for shop in self.shops]
        pooled = fit_local(self.use, self._all_but(None))
        scores: dict[str, list[list[Floats]]] = {
            RULE: [self._scores([RuleHead()] * len(local))],
            "local": [self._scores(local)],
            "pooled": [self._scores([pooled] * len(local))],
        }
        release = self._lender is not None
        for seed in range(self.protocol.seeds if release else 1):
            heads = self._served(seed, self._priors(seed) if release else None)
            if release:
                scores.setdefault("federated", []).append(self._scores([h for _, h in heads]))
            else:
                scores["served"] = [self._scores([h for _, h in heads])]
            if seed == 0:
                names = [name for name, _ in heads]
                self.served = {name: names.count(name) for name in sorted(set(names))}
        return scores

    def _served(self, seed: int, priors: list[LinearHead] | None) -> list[tuple[str, Head]]:
        served = []
        for i, shop in enumerate(self.shops):
            fits: dict[str, Fit] = {"local": lambda e: fit_local(self.use, e)}
            if priors is not None:
                fits |= {f"federated-{w:g}": self._toward(priors[i], w) for w in WORTH}
            rng = np.random.default_rng([self.protocol.seed, seed, i])
            served.append(choose(self.use, shop.train, fits, default=RULE, rng=rng))
        return served

    def _toward(self, prior: LinearHead, worth: float) -> Fit:
        return lambda e: fit_toward(self.use, prior, e, strength=worth)

    def _new(self) -> dict[str, list[list[Floats]]]:
        """Holds every shop out in turn; a few of its users have answered, the others are asked."""
        scores: dict[str, list[list[Floats]]] = {}
        pooled = [fit_local(self.use, self._all_but(i)) for i in range(len(self.shops))]
        for seed in range(self.protocol.seeds):
            rows: dict[str, list[Floats]] = {}
            for i, shop in enumerate(self.shops):
                own = self._own_users(i, seed)
                asked = ~np.isin(shop.test.table.unit, own)
                few = shop.train.select(np.isin(shop.train.table.unit, own))
                heads: dict[str, Head] = {
                    RULE: RuleHead(),
                    "local": fit_local(self.use, few),
                    "pooled": pooled[i],
                }
                if self._lender is not None:
                    prior = self._prior(seed, i, few, held_out=i)
                    heads["federated"] = fit_toward(self.use, prior, few, strength=self.use.worth)
                for name, head in heads.items():
                    score = np.where(asked, head.score(shop.test.table), np.nan)
                    rows.setdefault(name, []).append(score)
            for name, shop_scores in rows.items():
                scores.setdefault(name, []).append(shop_scores)
        return scores

    def _own_users(self, i: int, seed: int) -> np.ndarray:
        users = np.unique(self.shops[i].train.table.unit)
        rng = np.random.default_rng([self.protocol.seed, 1, seed, i])
        return rng.permutation(users)[: self.protocol.own_users]

    def _priors(self, seed: int) -> list[LinearHead]:
        return [self._prior(seed, i, s.train, held_out=None) for i, s in enumerate(self.shops)]

    def _prior(self, seed: int, i: int, own: Examples, *, held_out: int | None) -> LinearHead:
        sums = [s for j, s in enumerate(self.sums) if j != held_out]
        run = "all" if held_out is None else f"without-{i}"
        blocks = released(sums, self.federated, self.protocol.plan, seed=seed, run=run)
        x = own.table.features
        covariance = x.T @ x / max(len(x), 1)
        lender = self._lender or self.use
        return head_of_moments(lender, blocks[lender.name], covariance)

    def _all_but(self, held_out: int | None) -> Examples:
        parts = [shop.train for j, shop in enumerate(self.shops) if j != held_out]
        every = joined(parts, n_features=len(self.use.columns))
        if len(every) <= MAX_POOLED:
            return every
        rows = np.zeros(len(every), dtype=bool)
        rows[np.random.default_rng(self.protocol.seed).permutation(len(every))[:MAX_POOLED]] = True
        return every.select(rows)

    def _scores(self, heads: Sequence[Head]) -> list[Floats]:
        pairs = zip(heads, self.shops, strict=True)
        return [head.score(shop.test.table) for head, shop in pairs]

    def _rows(self, scores: Mapping[str, list[list[Floats]]]) -> Rows:
        """Measures scores; shops' users and groups are told apart by the shop's number."""
        sizes = [len(shop.test) for shop in self.shops]
        shop = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64) << 40
        test = joined([s.test for s in self.shops], n_features=len(self.use.columns))
        unit, group = shop + test.table.unit, shop + test.table.group
        rows: Rows = {}
        for name, by_seed in scores.items():
            scored = [
                Scored(test.label, np.concatenate(shop_scores), group, unit)
                for shop_scores in by_seed
            ]
            rows[name] = {
                metric: interval(
                    measure,
                    scored,
                    draws=self.protocol.draws,
                    rng=np.random.default_rng(self.protocol.seed),
                )
                for metric, measure in self.use.metrics.items()
            }
        return rows
