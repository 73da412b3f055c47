"""What is known of users at a moment, and the surfaces that ask for items with known answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.recommenders.config import MAX_EVENTS
from client.recommenders.visits import TAKEN_TYPES, latest_times, visit_weights
from shared.interactions.events import Events

Floats = npt.NDArray[np.float32]
Form = Literal["binary", "visits", "strongest", "latest"]
Matrix = TypeVar("Matrix")


@dataclass(frozen=True, eq=False)
class History:
    """Events of some users before a moment, and the items that may be recommended to them.

    Attributes:
        events: `user` is a row `0..n - 1`; `item` a catalogue code, candidate or not.
        candidates: Catalogue codes, ascending, `(c,)`.
        now: Each user's moment, in the unit of `Events.time`, `(n,)`.
        taken_types: Types that say that a user has the item, mask over `EVENT_TYPES`.
        visit: Of each event what `visit_weights` gives, for who has it already; None computes it.
    """

    events: Events
    candidates: npt.NDArray[np.int32]
    now: npt.NDArray[np.float64]
    taken_types: npt.NDArray[np.bool_] = field(default_factory=TAKEN_TYPES.copy)
    visit: Floats | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Users and candidates."""
        return len(self.now), len(self.candidates)

    @cached_property
    def visits(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Floats]:
        """Visits in which a user met a candidate, however many events or pieces of it.

        Returns:
            Cell `row * c + candidate`, age before the user's latest event and weight by type of
            each, by cell. Events without a session are visits of their own.
        """
        (n, c), every = self.shape, self.events
        column = np.minimum(np.searchsorted(self.candidates, every.item), max(c - 1, 0))
        inside = self.candidates[column] == every.item if c else np.zeros(len(every), np.bool_)
        events, column, weight = every.select(inside), column[inside], self.visit_weights[inside]
        age = latest_times(events.user, events.time, n)[events.user] - events.time
        counts = weight > 0
        cell = events.user[counts].astype(np.int64) * c + column[counts]
        order = np.argsort(cell, kind="stable")
        return cell[order], age[counts][order], weight[counts][order]

    @cached_property
    def visit_weights(self) -> Floats:
        """Weight of each event in its visit, `(len(events),)`; see `visit_weights`."""
        if self.visit is not None:
            return self.visit
        events = self.events
        return visit_weights(events.user, events.item, events.session, events.event_type)

    def sparse_rows(self, form: Form, half_life: float = np.inf) -> sp.csr_array:
        """Writes the history as a sparse matrix `(n, c)`, computed once and not to be changed.

        Args:
            form: `binary`: 1 for a known item; `strongest`: the largest
                `weight 2^(-age / half_life)` of its visits; `latest`: the largest
                `2^(-age / half_life)`; `visits`: the logarithm of 1 and the weights' sum.
            half_life: In the unit of `Events.time`.
        """
        return self.cached(("rows", form, half_life), lambda: self._matrix(form, half_life))

    def rows(self, form: Form, half_life: float = np.inf) -> Floats:
        """Writes `sparse_rows` as a matrix `(n, c)` of the caller's own."""
        dense: Floats = self.sparse_rows(form, half_life).toarray()
        return dense

    def cached(self, key: tuple[Hashable, ...], compute: Callable[[], Matrix]) -> Matrix:
        """Returns what `compute` returned the first time for this key, not to be changed."""
        if key not in self._cache:
            self._cache[key] = compute()
        matrix: Matrix = self._cache[key]
        return matrix

    @cached_property
    def _cache(self) -> dict[tuple[Hashable, ...], Any]:
        return {}

    def _matrix(self, form: Form, half_life: float) -> sp.csr_array:
        cell, age, weight = self.visits
        n, c = self.shape
        starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]][: len(cell)])
        decayed = np.exp2(-age / half_life) * (1.0 if form == "latest" else weight)
        if form == "binary" or not len(starts):
            values = np.ones(len(starts))
        elif form == "visits":
            values = np.log1p(np.add.reduceat(decayed, starts))
        else:
            values = np.maximum.reduceat(decayed, starts)
        row, column = np.divmod(cell[starts], max(c, 1))
        begin = np.searchsorted(row, np.arange(n + 1)).astype(np.int32)
        entries = (values.astype(np.float32), column.astype(np.int32), begin)
        return sp.csr_array(entries, shape=(n, c))

    @cached_property
    def bounded(self) -> History:
        """The same with each user's latest `MAX_EVENTS` events alone, as co-purchase is learned."""
        events = self.events
        n_events = np.bincount(events.user, minlength=len(self.now))
        if n_events.max(initial=0) <= MAX_EVENTS:
            return self
        order = np.lexsort((events.time, events.user))
        from_end = np.cumsum(n_events)[events.user[order]] - np.arange(len(order))
        latest = order[from_end <= MAX_EVENTS]
        return replace(self, events=events.select(latest), visit=self.visit_weights[latest])

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """Candidates that each user had before, `(n, c)`."""
        known: npt.NDArray[np.bool_] = self.sparse_rows("binary").toarray() > 0
        return known

    @cached_property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Candidates that each user took before, rather than looked at, `(n, c)`."""
        taken = self.taken_types[self.events.event_type]
        if taken.all():
            return self.known
        return replace(self, events=self.events.select(taken), visit=None).known

    @cached_property
    def takers(self) -> npt.NDArray[np.int64]:
        """Distinct users who took each candidate, `(c,)`."""
        taken = self.events.select(self.taken_types[self.events.event_type])
        return replace(self, events=taken, visit=None).users_per_item

    @cached_property
    def users_per_item(self) -> npt.NDArray[np.int64]:
        """Distinct users of each candidate, `(c,)`."""
        return np.bincount(self.sparse_rows("binary").indices, minlength=self.shape[1])


SURFACES = ("for-you", "discover", "tail", "cold", "new-user", "basket")
"""All surfaces, in the order of reports."""
SHARED_CONTEXT = ("for-you", "discover", "tail", "cold")
"""Surfaces whose context is the user's whole history."""
TAIL_USERS = 10
"""Items taken by fewer of a shop's users than this belong to the tail."""
COLD_EVENTS = 5
"""Items with fewer events than this, in all shops together, are cold."""
MIN_CART = 6
"""Distinct candidates that a cart needs to be split."""

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of one surface to all recommenders of one shop.

    Attributes:
        surface: One of `SURFACES`.
        users: The shop's user code of each query, ascending, `(q,)`.
        history: The context, one row a query: the known history, or the context half of the cart.
        own: The users' known histories, on every surface, coded like `history`.
        allowed: Candidates that may be recommended, `(q, c)`; None for all.
        targets: Candidates that were taken, `(q, c)`.
    """

    surface: str
    users: npt.NDArray[np.int64]
    history: History
    own: History
    allowed: Bools | None
    targets: Bools

    def __len__(self) -> int:
        return len(self.users)


def candidates_of(known: Events, scored: Bools) -> Codes:
    """Returns the catalogue codes, ascending, that `known` holds and that are `scored`."""
    seen = np.zeros(len(scored), dtype=np.bool_)
    seen[known.item] = True
    return np.flatnonzero(seen & scored).astype(np.int32)


def build_queries(
    surface: str, *, known: History, window: Events, seed: int, cold: Bools | None = None
) -> Queries | str:
    """Builds queries from what the users of a shop took in a window and did before it.

    Args:
        surface: One of `SURFACES`.
        known: All users of the shop, at the start of the window.
        window: The shop's events in the window, or those of some users.
        seed: Splits the carts, each by its user and items alone.
        cold: Candidates that are cold, `(c,)`; None where it is not known.

    Returns:
        The queries, or in words why this surface cannot be measured here.
    """
    window = window.select(known.taken_types[window.event_type])
    if surface == "basket":
        return _basket(known, window, seed)
    if surface == "cold" and (cold is None or not cold.any()):
        return f"no item is known to have fewer than {COLD_EVENTS} events"
    # Only who took something is asked: matrices of all users would not fit a large shop.
    users = np.unique(window.user[np.isin(window.item, known.candidates)]).astype(np.int64)
    own = _of_users(known, users, known.events)
    targets = _of_users(known, users, window).known
    allowed: Bools | None = None
    if surface != "for-you":
        allowed = ~own.taken
    if allowed is not None and surface == "tail":
        allowed &= known.takers < TAIL_USERS
    if allowed is not None and cold is not None and surface == "cold":
        allowed &= cold
    if allowed is not None:
        targets = targets & allowed
    asked = targets.any(axis=1)
    users = users[asked]
    if len(users) == 0:
        return "no user takes a candidate of this surface in the window"
    events = _last_events(known) if surface == "new-user" else known.events
    own = _of_users(known, users, events)
    allowed = None if allowed is None else allowed[asked]
    return Queries(surface, users, history=own, own=own, allowed=allowed, targets=targets[asked])


def _last_events(known: History) -> Events:
    """Returns each user's last event on a candidate, as if the user were new."""
    inside = known.events.select(np.isin(known.events.item, known.candidates))
    order = np.lexsort((inside.time, inside.user))
    ordered = inside.select(order)
    last = np.r_[_changes(ordered.user), True] if len(ordered) else np.zeros(0, np.bool_)
    return ordered.select(last)


def _of_users(known: History, users: npt.NDArray[np.int64], events: Events) -> History:
    """Selects the users' events and codes them by position in `users`."""
    row = np.full(len(known.now), -1, dtype=np.int32)
    row[users] = np.arange(len(users), dtype=np.int32)
    theirs = events.select(row[events.user] >= 0)
    coded = replace(theirs, user=row[theirs.user])
    return History(coded, known.candidates, known.now[users], known.taken_types)


def _first_carts(window: Events, candidates: Codes) -> Events | None:
    """Returns each user's first cart of `MIN_CART` distinct candidates, one event an item."""
    inside = window.select((window.session >= 0) & np.isin(window.item, candidates))
    if len(inside) == 0:
        return None
    order = np.lexsort((inside.time, inside.item, inside.session, inside.user))
    lines = inside.select(order)
    cart = np.cumsum(np.r_[True, _changes(lines.user) | _changes(lines.session)]) - 1
    new = np.r_[True, _changes(cart) | _changes(lines.item)]
    lines, cart = lines.select(new), cart[new]
    begin = np.minimum.reduceat(lines.time, np.flatnonzero(np.r_[True, _changes(cart)]))
    large = (np.bincount(cart) >= MIN_CART)[cart]
    lines, cart = lines.select(large), cart[large]
    order = np.lexsort((cart, begin[cart], lines.user))
    first = np.full(int(window.user.max()) + 1, -1)
    first[lines.user[order[::-1]]] = cart[order[::-1]]
    return lines.select(first[lines.user] == cart)


def _changes(values: npt.NDArray[Any]) -> Bools:
    """Says for all values but the first whether they differ from the one before."""
    changed: Bools = values[1:] != values[:-1]
    return changed


def _basket(known: History, window: Events, seed: int) -> Queries | str:
    carts = _first_carts(window, known.candidates)
    if carts is None:
        return "the window has no sessions"
    if len(carts) == 0:
        return f"no session in the window has {MIN_CART} distinct candidates"
    users = np.unique(carts.user).astype(np.int64)
    size = np.bincount(carts.user, minlength=len(known.now))
    in_context = _place_in_cart(carts, seed) < size[carts.user] // 2
    context = _of_users(known, users, _as_shown(carts.select(in_context)))
    return Queries(
        surface="basket",
        users=users,
        history=context,
        own=_of_users(known, users, known.events),
        allowed=~context.known,
        targets=_of_users(known, users, carts.select(~in_context)).known,
    )


def _as_shown(cart: Events) -> Events:
    """Returns a cart as a service is asked about one: items of one moment, once each."""
    ones = np.ones(len(cart), dtype=np.float32)
    kind = np.zeros(len(cart), dtype=np.uint8)
    return replace(cart, time=np.zeros(len(cart)), event_type=kind, weight=ones, quantity=ones)


def _place_in_cart(carts: Events, seed: int) -> npt.NDArray[np.int64]:
    """Puts each user's events in a random order and returns the place of each, from 0."""
    order = np.lexsort((carts.item, carts.user))
    starts = np.r_[0, np.flatnonzero(np.diff(carts.user[order])) + 1]
    sizes = np.diff(np.r_[starts, len(carts)])
    line = np.arange(len(carts)) - np.repeat(starts, sizes)
    order = order[np.lexsort((_mixed(carts.user[order], line, seed), carts.user[order]))]
    place = np.empty(len(carts), dtype=np.int64)
    place[order] = np.arange(len(carts)) - np.repeat(starts, sizes)
    return place


def _mixed(
    user: npt.NDArray[np.int32], line: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.uint64]:
    """Draws a number for each line of each user's cart, whoever else is asked about.

    SplitMix64 (https://doi.org/10.1145/2714064.2660195); a generator would have to be seeded for
    every user.
    """
    start = np.uint64(seed) ^ (user.astype(np.uint64) << np.uint64(20)) ^ line.astype(np.uint64)
    z = start * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
