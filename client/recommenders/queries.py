"""What is known of users at a moment, and the surfaces that ask for items with known answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from shared.interactions.events import Events

Floats = npt.NDArray[np.float32]
Form = Literal["binary", "last", "visits"]
Matrix = TypeVar("Matrix")


@dataclass(frozen=True, eq=False)
class History:
    """Events of some users before a moment, and the items that may be recommended to them.

    Attributes:
        events: `user` is a row `0..n - 1`; `item` a catalogue code, candidate or not.
        candidates: Catalogue codes, ascending, `(c,)`.
        now: Each user's moment, in the unit of `Events.time`, `(n,)`.
    """

    events: Events
    candidates: npt.NDArray[np.int32]
    now: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        """Users and candidates."""
        return len(self.now), len(self.candidates)

    @cached_property
    def visits(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Visits in which a user took a candidate, however many pieces of it.

        Returns:
            Cell `row * c + candidate` and age (never below 0) of each, oldest first within a cell.
            Events without a session are visits of their own.
        """
        events, (_, c) = self.events, self.shape
        column = np.minimum(np.searchsorted(self.candidates, events.item), max(c - 1, 0))
        inside = self.candidates[column] == events.item if c else np.zeros(len(events), np.bool_)
        cell = events.user[inside].astype(np.int64) * c + column[inside]
        age = np.maximum(self.now[events.user[inside]] - events.time[inside], 0.0)
        session = events.session[inside]
        order = np.lexsort((-age, session, cell))
        cell, age, session = cell[order], age[order], session[order]
        new = np.ones(len(cell), dtype=np.bool_)
        # Two events without a session (-1) are two visits, though their codes are equal.
        new[1:] = (cell[1:] != cell[:-1]) | (session[1:] != session[:-1]) | (session[1:] < 0)
        cell, age = cell[new], age[new]
        order = np.lexsort((-age, cell))
        return cell[order], age[order]

    def sparse_rows(self, form: Form, half_life: float = np.inf) -> sp.csr_array:
        """Writes the history as a sparse matrix `(n, c)`, computed once and not to be changed.

        Args:
            form: `binary`: 1 for a known item; `last`: `2^(-age / half_life)` of the last visit;
                `visits`: `log(1 + sum of 2^(-age / half_life) over the visits)`.
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
        cell, age = self.visits
        n, c = self.shape
        starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]][: len(cell)])
        if form == "visits":
            decayed = np.exp2(-age / half_life)
            values = np.log1p(np.add.reduceat(decayed, starts)) if len(starts) else decayed
        else:
            last = np.r_[starts[1:], len(cell)][: len(starts)] - 1
            values = np.ones(len(last)) if form == "binary" else np.exp2(-age[last] / half_life)
        row, column = np.divmod(cell[starts], max(c, 1))
        begin = np.searchsorted(row, np.arange(n + 1)).astype(np.int32)
        entries = (values.astype(np.float32), column.astype(np.int32), begin)
        return sp.csr_array(entries, shape=(n, c))

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """Candidates that each user had before, `(n, c)`."""
        return self.rows("binary") > 0

    @cached_property
    def users_per_item(self) -> npt.NDArray[np.int64]:
        """Distinct users of each candidate, `(c,)`."""
        users: npt.NDArray[np.int64] = self.known.sum(axis=0)
        return users


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
    surface: str,
    *,
    known: History,
    window: Events,
    rng: np.random.Generator,
    cold: Bools | None = None,
) -> Queries | str:
    """Builds queries from what the users of a shop took in a window and did before it.

    Args:
        surface: One of `SURFACES`.
        known: All users of the shop, at the start of the window.
        window: The shop's events in the window.
        rng: Splits the carts.
        cold: Candidates that are cold, `(c,)`; None where it is not known.

    Returns:
        The queries, or in words why this surface cannot be measured here.
    """
    if surface == "basket":
        return _basket(known, window, rng)
    targets = replace(known, events=window).known
    allowed: Bools | None = None
    if surface != "for-you":
        allowed = ~known.known
    if surface == "tail":
        allowed = ~known.known & (known.users_per_item < TAIL_USERS)
    if surface == "cold":
        if cold is None or not cold.any():
            return f"no item is known to have fewer than {COLD_EVENTS} events"
        allowed = ~known.known & cold
    if allowed is not None:
        targets = targets & allowed
    users = np.flatnonzero(targets.any(axis=1))
    if len(users) == 0:
        return "no user takes a candidate of this surface in the window"
    events = _last_events(known) if surface == "new-user" else known.events
    own = _of_users(known, users, events)
    allowed = None if allowed is None else allowed[users]
    return Queries(surface, users, history=own, own=own, allowed=allowed, targets=targets[users])


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
    return History(coded, known.candidates, known.now[users])


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


def _basket(known: History, window: Events, rng: np.random.Generator) -> Queries | str:
    carts = _first_carts(window, known.candidates)
    if carts is None:
        return "the window has no sessions"
    if len(carts) == 0:
        return f"no session in the window has {MIN_CART} distinct candidates"
    users = np.unique(carts.user).astype(np.int64)
    size = np.bincount(carts.user, minlength=len(known.now))
    in_context = _place_in_cart(carts, rng) < size[carts.user] // 2
    context = _of_users(known, users, carts.select(in_context))
    return Queries(
        surface="basket",
        users=users,
        history=context,
        own=_of_users(known, users, known.events),
        allowed=~context.known,
        targets=_of_users(known, users, carts.select(~in_context)).known,
    )


def _place_in_cart(carts: Events, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Puts each user's events in a random order and returns the place of each, from 0."""
    order = np.lexsort((rng.random(len(carts)), carts.user))
    starts = np.r_[0, np.flatnonzero(np.diff(carts.user[order])) + 1]
    sizes = np.diff(np.r_[starts, len(carts)])
    place = np.empty(len(carts), dtype=np.int64)
    place[order] = np.arange(len(carts)) - np.repeat(starts, sizes)
    return place
