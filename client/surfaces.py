"""The surfaces on which a shop recommends, as questions with known answers.

| Surface | Context | Candidates | Targets |
|---|---|---|---|
| `for-you` | the user's history | all | what the user takes in the window |
| `discover` | the user's history | those new to the user | likewise |
| `tail` | the user's history | those new to the user and rare in the shop | likewise |
| `cold` | the user's history | those new to the user with hardly an event anywhere | likewise |
| `new-user` | the user's last event alone | those new to the user | likewise |
| `basket` | a random half of a cart | all but the given half | the other half |

What a user takes beyond the candidates counts for no method, and users without a target are not
asked about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from client.recommenders.history import History
from shared.interactions.events import Events

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
    """Questions of one surface to all recommenders of one shop.

    Attributes:
        surface: One of `SURFACES`.
        users: The shop's user code of each query, ascending, `(q,)`.
        history: The context, one row a query: the known history, or the given half of the cart.
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
    """Asks what the users of a shop took in a window, given what is known before it.

    Args:
        surface: One of `SURFACES`.
        known: All users of the shop, at the start of the window.
        window: The shop's events in the window.
        rng: Splits the carts.
        cold: Candidates that are cold, `(c,)`; None where nobody knows.

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
    """Keeps the last event of each user on a candidate, as if the user had just come."""
    inside = known.events.select(np.isin(known.events.item, known.candidates))
    order = np.lexsort((inside.time, inside.user))
    ordered = inside.select(order)
    last = np.r_[_changes(ordered.user), True] if len(ordered) else np.zeros(0, np.bool_)
    return ordered.select(last)


def _of_users(known: History, users: npt.NDArray[np.int64], events: Events) -> History:
    """Selects the users' events and codes them by position in `users`."""
    row = np.full(len(known.now), -1, dtype=np.int32)
    row[users] = np.arange(len(users), dtype=np.int32)
    kept = events.select(row[events.user] >= 0)
    coded = replace(kept, user=row[kept.user])
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
    given = _place_in_cart(carts, rng) < size[carts.user] // 2
    context = _of_users(known, users, carts.select(given))
    return Queries(
        surface="basket",
        users=users,
        history=context,
        own=_of_users(known, users, known.events),
        allowed=~context.known,
        targets=_of_users(known, users, carts.select(~given)).known,
    )


def _place_in_cart(carts: Events, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Puts each user's events in a random order and returns the place of each, from 0."""
    order = np.lexsort((rng.random(len(carts)), carts.user))
    starts = np.r_[0, np.flatnonzero(np.diff(carts.user[order])) + 1]
    sizes = np.diff(np.r_[starts, len(carts)])
    place = np.empty(len(carts), dtype=np.int64)
    place[order] = np.arange(len(carts)) - np.repeat(starts, sizes)
    return place
