"""What secure aggregation costs a shop and the server: processor time and bytes of 100 shops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from shared.keys.signing import SigningKey
from shared.privacy.noise import Integers, RandomSource, discrete_gaussian, grid_variance
from shared.secure_aggregation.decisions import MemoryDecisions
from shared.secure_aggregation.masked_sum import MaskedSum
from shared.secure_aggregation.messages import Terms
from shared.secure_aggregation.roster import SignedRoster, make_roster, sign_roster
from shared.secure_aggregation.server import ServerSide
from shared.secure_aggregation.shop import Contribution, ShopSide
from simulation.reporting.benchmark_page import BenchmarkFigure

SHOPS, GONE, NUMBERS = 100, 2, 499_500
"""Pairs of a head of 1,000 items."""
RELEASES = ("counts", "pairs", *(f"adapter-{i}" for i in range(1, 9)))
RELEASE, ASKED = "pairs", "0" * 64
Answer = TypeVar("Answer")


@dataclass
class Clock:
    """Processor seconds and bytes by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)

    def run(self, name: str, work: Callable[[], Answer]) -> Answer:
        """Does work and adds its processor time."""
        started = time.process_time()
        answer = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started
        return answer

    def send(self, name: str, work: Callable[[], bytes]) -> bytes:
        """Does work that makes an answer, and notes its length too."""
        answer = self.run(name, work)
        self.sent[name] = len(answer)
        return answer


class Rehearsal:
    """A run of one release whose first shop is measured; each of its answers opens it anew."""

    def __init__(self, shops: int, gone: int, numbers: int) -> None:
        names = [f"shop-{i:03}" for i in range(shops)]
        self._keys = {name: SigningKey.generate() for name in names}
        self.roster = make_roster({name: key.public for name, key in self._keys.items()})
        self._signed = SignedRoster(
            roster=self.roster,
            signatures={name: sign_roster(key, self.roster) for name, key in self._keys.items()},
        )
        self._decisions = {name: MemoryDecisions() for name in names}
        self._first, self._others, self._live = names[0], names[1:], names[: shops - gone]
        self.terms = Terms(
            run="bench",
            plan="0" * 64,
            roster=self.roster.digest(),
            noise_shops=self.roster.noise_shops,
            releases=RELEASES,
        )
        self.server = ServerSide(self.roster, self.terms, MemoryDecisions())
        rng = np.random.default_rng(1)
        self._numbers: Integers = rng.integers(-(2**30), 2**30, numbers)
        self.shop_clock, self.server_clock = Clock(), Clock()

    def run(self) -> bool:
        """Runs all five messages; returns whether the sum is exact."""
        shop, clock = self._shop, self.shop_clock
        clock.send("keys", lambda: shop(self._first).publish_keys(self.terms).content())
        for name in (self._first, *self._others):
            self.server.add_keys(shop(name).publish_keys(self.terms))
        keys = self.server.key_list()
        clock.send("shares", lambda: shop(self._first).deal_shares(keys).content())
        for name in (self._first, *self._others):
            self.server.add_shares(shop(name).deal_shares(keys))
        self.server.fix_dealers()
        total = self.server.masked_sum(RELEASE, asked=ASKED, size=len(self._numbers))
        self._add(total)
        confirm = total.confirm_request()
        clock.send("confirm", lambda: shop(self._first).confirm(confirm).encode())
        for name in self._live:
            total.add_signature(name, shop(name).confirm(confirm))
        opening = total.open_request()
        clock.send("open", lambda: shop(self._first).open_shares(opening).content())
        for name in self._live:
            total.add_shares(shop(name).open_shares(opening))
        opened = self.server_clock.run("open", total.total)
        return bool((opened == len(self._live) * self._numbers).all())

    def _add(self, total: MaskedSum) -> None:
        contribution = Contribution(RELEASE, ASKED, lambda setup: self._numbers)  # noqa: ARG005
        for name in self._live:
            request = self.server.input_request(name, RELEASE)
            clock = self.shop_clock if name == self._first else Clock()
            mask = partial(self._shop(name).mask, request, contribution)
            masked = clock.send("input", mask)
            self.server_clock.run("add", partial(total.add, name, masked))

    def _shop(self, name: str) -> ShopSide:
        return ShopSide(name, self._keys[name], self._signed, self._decisions[name])


def secure_aggregation_figures(
    *, shops: int = SHOPS, gone: int = GONE, numbers: int = NUMBERS
) -> list[BenchmarkFigure]:
    """Measures one release of a run of ten, in which some shops give no input.

    Args:
        shops: Of the roster.
        gone: Of them, without input.
        numbers: Of the release.
    """
    rehearsal = Rehearsal(shops, gone, numbers)
    exact = rehearsal.run()
    clock, server = rehearsal.shop_clock, rehearsal.server_clock.seconds
    sampling = Clock()
    variance = grid_variance(1.0, shops=rehearsal.roster.noise_shops)
    random = RandomSource.from_os()
    discrete_gaussian(random, 1, variance=variance)  # its tables are made once a process
    sampling.run("noise", lambda: discrete_gaussian(random, numbers, variance=variance))
    parts = ", ".join(f"{name} {1000 * s:.0f}" for name, s in clock.seconds.items())
    setup = clock.sent["keys"] + clock.sent["shares"]
    release = sum(clock.sent.values()) - setup
    what = f"{shops} shops, {gone} gone, {numbers:,} numbers"
    noise = f"noise {1000 * sampling.seconds['noise']:.0f} ms beside"
    return [
        BenchmarkFigure(
            "shop's processor time for a secure sum",
            sum(clock.seconds.values()),
            0.5,
            "s",
            f"{what}; in ms: {parts}; {noise}",
        ),
        BenchmarkFigure(
            "bytes that a shop sends for a secure sum",
            release / numbers,
            6.1,
            "a number",
            f"{what}; the set-up of a run of {len(RELEASES)} releases {setup / 1000:.0f} kB beside",
        ),
        BenchmarkFigure(
            "server's processor time for a secure sum",
            server["add"] + server["open"],
            2.0,
            "s",
            f"{what}; adds in {server['add']:.2g} s, opens in {server['open']:.2g} s",
        ),
        BenchmarkFigure("secure sums that are wrong", float(not exact), 0, "of 1", what),
    ]
