"""A federation of shops and a server that run the protocol with each other, message by message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shared.keys.signing import SigningKey
from shared.privacy.noise import Integers
from shared.secure_aggregation.decisions import Decisions, FolderDecisions, MemoryDecisions
from shared.secure_aggregation.masked_sum import MaskedSum
from shared.secure_aggregation.messages import KeyList, OpenRequest, Terms
from shared.secure_aggregation.roster import Roster, SignedRoster, make_roster, sign_roster
from shared.secure_aggregation.server import ServerSide
from shared.secure_aggregation.shop import Contribution, ShopSide

ASKED, OTHER = "a" * 64, "b" * 64
"""Digests of two questions."""
RELEASES = ("counts", "adapter-1")
N = 50


def shop_names(k: int) -> tuple[str, ...]:
    return tuple(f"shop-{i:03}" for i in range(k))


@dataclass
class Federation:
    """K shops, each with its own decisions, and the server of one run.

    Attributes:
        folder: None keeps decisions in memory.
    """

    roster: Roster
    keys: dict[str, SigningKey]
    folder: Path | None = None
    run: str = "run-1"
    numbers: dict[str, Integers] = field(default_factory=dict)
    drawn: list[tuple[str, str]] = field(default_factory=list)
    _memory: dict[str, Decisions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for i, shop in enumerate(self.roster.keys):
            rng = np.random.default_rng(i)
            self.numbers.setdefault(shop, rng.integers(-(2**40), 2**40, N))
        signatures = {shop: sign_roster(key, self.roster) for shop, key in self.keys.items()}
        self._signed = SignedRoster(roster=self.roster, signatures=signatures)
        self.server = ServerSide(self.roster, self.terms, self.decisions("server"))

    @property
    def terms(self) -> Terms:
        return Terms(
            run=self.run,
            plan="c" * 64,
            roster=self.roster.digest(),
            noise_shops=self.roster.noise_shops,
            releases=RELEASES,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.roster.keys)

    def decisions(self, party: str) -> Decisions:
        if self.folder is not None:
            return FolderDecisions(self.folder / party / self.run)
        return self._memory.setdefault(party, MemoryDecisions())

    def signed(self) -> SignedRoster:
        return self._signed

    def shop(self, name: str) -> ShopSide:
        """A new process of a shop: it knows its key, the roster and what was decided."""
        return ShopSide(name, self.keys[name], self.signed(), self.decisions(name))

    def contribution(
        self, name: str, release: str = "counts", *, asked: str = ASKED
    ) -> Contribution:
        def numbers(setup: str) -> Integers:
            self.drawn.append((name, setup))
            return self.numbers[name]

        return Contribution(release, asked, numbers)

    def send_keys(self, shops: Iterable[str] | None = None) -> KeyList:
        for name in shops or self.names:
            self.server.add_keys(self.shop(name).publish_keys(self.terms))
        return self.server.key_list()

    def deal(self, shops: Iterable[str] | None = None) -> None:
        keys = self.send_keys()
        for name in shops or self.names:
            self.server.add_shares(self.shop(name).deal_shares(keys))
        self.server.fix_dealers()

    def masked(self, name: str, release: str = "counts", *, asked: str = ASKED) -> bytes:
        request = self.server.input_request(name, release)
        return self.shop(name).mask(request, self.contribution(name, release, asked=asked))

    def sum(self, release: str = "counts", *, asked: str = ASKED) -> MaskedSum:
        return self.server.masked_sum(release, asked=asked, size=N)

    def add_all(self, release: str = "counts", shops: Iterable[str] | None = None) -> MaskedSum:
        total = self.sum(release)
        for name in shops or self.names:
            total.add(name, self.masked(name, release))
        return total

    def confirmed(self, total: MaskedSum, shops: Iterable[str] | None = None) -> OpenRequest:
        request = total.confirm_request()
        for name in shops or request.survivors:
            total.add_signature(name, self.shop(name).confirm(request))
        return total.open_request()

    def opened(self, total: MaskedSum, shops: Iterable[str] | None = None) -> Integers:
        request = self.confirmed(total, shops)
        for name in shops or total.survivors:
            total.add_shares(self.shop(name).open_shares(request))
        return total.total()

    def true_sum(self, shops: Iterable[str]) -> Integers:
        return np.sum([self.numbers[name] for name in shops], axis=0)


def federation(
    k: int,
    *,
    folder: Path | None = None,
    max_missing: int | None = None,
    max_colluding: int | None = None,
) -> Federation:
    keys = {name: SigningKey.generate() for name in shop_names(k)}
    roster = make_roster(
        {name: key.public for name, key in keys.items()},
        max_missing=max_missing,
        max_colluding=max_colluding,
    )
    return Federation(roster, keys, folder)
