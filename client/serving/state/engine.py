"""The shop's recommender in memory: ranks for users and carts, and learns with every event."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from client.fusion.fusion_weights import SPARSE_ITEMS
from client.fusion.short_histories import BY_HISTORY, NEW_USER, new_user_share, of_nobody
from client.recommenders.ease import FederatedEASE
from client.recommenders.tables.item_vectors import ProfileSpace
from client.recommenders.visits import TAKEN_TYPES
from client.serving.features.events import cart_rows, event_row
from client.serving.features.federated_statistics import FederatedStatistics
from client.serving.features.interactions import NO_EVENTS, Interactions, UserEvents
from client.serving.features.item_table import ItemTable
from client.serving.ranking.fusion_weights import FusionWeights, public_fusion_weights
from client.serving.ranking.ranker import (
    LOOK_AHEAD,
    Ranking,
    RecommendationRequest,
    RecommendationResult,
    allowed_mask,
    cap_groups,
    diversify,
    excluded_rows,
    min_bound,
    rank,
    weight_row,
)
from client.serving.ranking.rules import RuleSet, SurfaceRules, places
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources
from client.serving.ranking.weight_learning import LearnedFusion
from client.serving.state.replication import (
    OWN_ATTRIBUTES,
    Change,
    Journal,
    Refreshed,
    replicated,
)
from client.store.database import UnknownError
from client.store.schema import Event, EventColumns, Item, User

Floats = npt.NDArray[np.float32]
_KEPT_ATTRIBUTES = ("fusion_weights", "_weights", "numbering", "rules")
"""What stays where the database was read again."""
DISLIKE_STRENGTH = 1.0
"""What an item like the disliked ones loses at most, in standard deviations of all scores."""
VISITOR_DIVERSITY = 0.2
"""Diversity at least of a visit of which nothing is known, so that not all items are alike."""


class RecommendationEngine:
    """All that is needed to answer, behind one lock.

    Args:
        items: The shop's items.
        users: Ids by row, None for a deleted user.
        segments: Segments that the shop gave, by user id.
        interactions: The users' events.
        sources: What signals are computed from.
        last_key: `event_key` up to which the histories go.
        generation: Changes and deletions that they know of.

    Attributes:
        numbering: How often all rows of users were numbered anew.
        rules: Of the shop, replaced as a whole.
        journal: Is told of every change; None for nobody.
        dislikes: Ids of the items that users said not to like, by user.
    """

    def __init__(
        self,
        *,
        items: ItemTable,
        users: Sequence[str | None],
        segments: dict[str, str],
        interactions: Interactions,
        sources: SignalSources,
        last_key: int = 0,
        generation: int = 0,
    ) -> None:
        # One lock for all: an answer must not see an item without its vector or an event without
        # its user. What takes seconds, as a refresh, works on copies.
        self.lock = threading.RLock()
        self.journal: Journal | None = None
        self.journal_depth = 0
        self.items = items
        self.users = {user_id: row for row, user_id in enumerate(users) if user_id is not None}
        self.segments = segments
        self.n_rows = len(users)
        self.interactions = interactions
        self.sources = sources
        self.latest_time = float(interactions.columns.time.max(initial=0.0))
        self.last_key = self.sorted_key = last_key
        self.generation = self.sorted_generation = generation
        self.taken_types = TAKEN_TYPES
        self.events_since_refresh = 0
        self.recount = False
        # As `is_sparse`, without a look at all events.
        n_taken = sources.popularity.users
        has_users = bool(n_taken.any())
        sparse = not has_users or float(n_taken.sum()) < SPARSE_ITEMS * len(users)
        public = public_fusion_weights(sources, sparse=sparse, has_users=has_users)
        self.set_fusion_weights(public)
        self._changed_users: set[int] = set()
        self.numbering = 0
        self.rules = RuleSet()
        self.dislikes: dict[str, set[str]] = {}

    @replicated
    def set_fusion_weights(self, fusion_weights: dict[str, FusionWeights]) -> None:
        """Takes new fusion weights from the next answer on."""
        rows = {}
        for surface, weights in fusion_weights.items():
            rows[surface, "fused"] = weight_row(weights.fused)
            rows[surface, "local"] = weight_row(weights.local)
        with self.lock:
            self.fusion_weights, self._weights = fusion_weights, rows

    @replicated
    def set_learned(self, learned: LearnedFusion) -> None:
        """Takes weights and the text map that belongs to them from the next answer on."""
        with self.lock:
            space = replace(self.sources.space, text_map=learned.text_map)
            self.sources = replace(self.sources, space=space)
            self.set_fusion_weights(learned.weights)

    def history(self, user_id: str | None) -> UserEvents:
        """Returns a user's events; none for somebody unknown."""
        row = self.users.get(user_id, -1) if user_id is not None else -1
        return self.interactions.of(row)

    def disliked(self, user_id: str | None) -> npt.NDArray[np.int64]:
        """Returns the rows of the items that a user said not to like."""
        return self.items.rows_of(self.dislikes.get(user_id, ()) if user_id is not None else ())

    def likeness(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Returns how near items are to some others, half by text and half by co-purchase.

        Args:
            rows: The others, taken together.

        Returns:
            `(n_items,)`; 1 at most, without the others' own co-purchase.
        """
        vectors = self.sources.space.vectors
        mean = vectors[rows].sum(axis=0)
        texts = vectors.scores(mean / np.float32(max(float(np.linalg.norm(mean)), 1e-12)))
        table = self.sources.item_knn.neighbours
        bought = table.add_up(rows.astype(np.int32), np.ones(len(rows), np.float32)).dense(vectors)
        bought[rows] = 0.0
        near: Floats = 0.5 * texts + 0.5 * bought / max(float(bought.max()), 1e-9)
        return near

    @replicated
    def set_dislike(self, user_id: str, item_id: str, *, disliked: bool) -> None:
        """Takes or drops that a user does not like an item, from the next answer on."""
        with self.lock:
            self._user_row(user_id)
            chosen = self.dislikes.setdefault(user_id, set())
            (chosen.add if disliked else chosen.discard)(item_id)

    def moment(self, events: UserEvents) -> float:
        """Returns the time of the shop's latest event; where times are ranks, the user's next."""
        if self.sources.time_unit == "days":
            return self.latest_time
        return float(events.time[-1]) + 1.0 if len(events) else 0.0

    def recommend(
        self, request: RecommendationRequest, user_id: str | None, cart: UserEvents | None = None
    ) -> RecommendationResult:
        """Ranks the items of a surface for a user, a cart or both.

        Args:
            request: What is wanted.
            user_id: None for a visitor without a name; an unknown user has no history.
            cart: Events of a session that are not stored; None takes the user's history.
        """
        with self.lock:
            disliked = self.disliked(user_id)
            own = self.history(user_id).without(disliked)
            events = own if cart is None else cart.without(disliked)
            if request.surface == "session" and not len(events):
                events = own  # an empty cart says nothing of the visit
            if request.surface == "session" and not len(events):
                request = replace(request, diversity=max(request.diversity, VISITOR_DIVERSITY))
            context = self.sources.context(events, own)
            weights = self._weights_for(request, len(context.items))
            rules = self.rules.on(request.surface, self.items)
            allowed = allowed_mask(self.items, request, own, self.taken_types)
            if len(disliked):
                allowed[disliked] = False
                rules = rules.lowered(DISLIKE_STRENGTH * self.likeness(disliked))
            ranking = rank(
                self.sources.weighted_signals(context, weights),
                weights,
                vectors=self.sources.space.vectors,
                excluded=excluded_rows(request, events, own, self.taken_types),
                allowed=allowed,
                k=self._pool(request, rules),
                rules=rules,
            )
            ranking = self._rerank(ranking, request, rules)
            return RecommendationResult(ranking, context, events, rules)

    def _weights_for(self, request: RecommendationRequest, n_items: int) -> Floats:
        """Returns the weights of a request by how many items its context has."""
        surface, variant = request.weights_surface, request.variant
        weights = self._weights[surface, variant]
        new_user = self._weights[NEW_USER, variant]
        if n_items == 0:  # of a cart too: without them items would come in the catalogue's order
            return weight_row(of_nobody(dict(zip(SIGNAL_NAMES, new_user.tolist(), strict=True))))
        if surface not in BY_HISTORY:
            return weights
        share = np.float32(new_user_share(n_items, self.fusion_weights[surface].usual))
        mixed: Floats = (1 - share) * weights + share * new_user
        return mixed

    def _pool(self, request: RecommendationRequest, rules: SurfaceRules) -> int:
        """Returns how many items are ranked before caps and diversity choose among them."""
        if request.max_per_category is not None or rules.cap:
            return len(self.items)  # a large category may fill any shorter pool
        page = request.offset + request.n
        return page + LOOK_AHEAD if request.diversity > 0 else page

    def _rerank(
        self, ranked: Ranking, request: RecommendationRequest, rules: SurfaceRules
    ) -> Ranking:
        """Bounds categories, varies, puts pinned items at their places and cuts the page."""
        place_of = {row: place for place, row in rules.pins}
        pins = [place_of[row] for row in takewhile(place_of.__contains__, ranked.items.tolist())]
        ranking = ranked.select(slice(len(pins), None))
        most = min_bound(request.max_per_category, rules.most)
        if most is not None or rules.bounds:
            groups = self.items.category[ranked.items]
            ranking = cap_groups(
                ranking, groups[len(pins) :], most, bounds=rules.bounds, taken=groups[: len(pins)]
            )
        n = request.offset + request.n
        if request.diversity > 0:
            ranking = ranking.select(slice(0, n + LOOK_AHEAD))
            vectors = self.sources.space.vectors[ranking.items]
            ranking = diversify(ranking, vectors, n=n, diversity=request.diversity)
        if pins:
            first = ranked.select(slice(0, len(pins)))
            ranking = first.before(ranking).select(places(pins, len(ranking)))
        return ranking.select(slice(request.offset, n))

    def cart(self, item_ids: Sequence[str]) -> UserEvents:
        """Returns a session's items as events of this moment that nobody stores."""
        rows = self.items.rows_of(dict.fromkeys(item_ids))
        return cart_rows(rows)

    @replicated
    def add_events(self, events: Sequence[Event], last_key: int) -> None:
        """Updates profile, frequency and counts by events that are stored.

        Args:
            events: The new ones.
            last_key: `event_key` of the newest stored event.
        """
        with self.lock:
            for event in events:
                self._add(event)
            self.last_key = last_key
            self.events_since_refresh += len(events)

    @replicated
    def changed(self, generation: int, last_key: int) -> None:
        """Notes that stored events were changed or deleted; counts follow with a refresh."""
        with self.lock:
            self.generation, self.last_key = generation, max(last_key, self.last_key)
            self.recount = True
            self.events_since_refresh += 1

    def _add(self, event: Event) -> None:
        item = self.items.rows.get(event.item_id)
        if item is None:
            return
        row = self._user_row(event.user_id)
        new = event_row(event, item)
        seen = self.interactions.of(row)
        same = seen.item == item
        self.sources.popularity.add(item, int(new.event_type[0]), before=seen.event_type[same])
        self.latest_time = max(self.latest_time, event.time)
        self.interactions.append(row, new)
        self._changed_users.add(row)

    def _user_row(self, user_id: str) -> int:
        row = self.users.get(user_id)
        if row is None:
            row = self.users[user_id] = self.n_rows
            self.n_rows += 1
        return row

    @replicated
    def put_users(self, users: Sequence[User]) -> None:
        """Takes new or changed users."""
        with self.lock:
            for user in users:
                self._user_row(user.user_id)
                self.segments[user.user_id] = user.segment

    @replicated
    def replace_user(self, user_id: str, rows: EventColumns, items: npt.NDArray[np.int32]) -> None:
        """Puts a user's whole history in place of the old one, after an event was changed."""
        with self.lock:
            row = self._user_row(user_id)
            _, events = UserEvents.of(np.zeros(len(rows), np.int32), items, rows)
            self.interactions.replace(row, events)
            self._changed_users.add(row)

    @replicated
    def forget(self, user_id: str) -> None:
        """Drops a user and all their events; counts follow with the next refresh."""
        with self.lock:
            row = self.users.pop(user_id, None)
            self.segments.pop(user_id, None)
            self.dislikes.pop(user_id, None)
            if row is not None:
                self.interactions.replace(row, NO_EVENTS)
                self._changed_users.add(row)

    def take_changed_users(self) -> dict[int, UserEvents]:
        """Returns the histories by row that changed since this was asked last."""
        with self.lock:
            rows, self._changed_users = self._changed_users, set()
            return {row: self.interactions.of(row) for row in rows}

    @replicated
    def put_items(self, items: Sequence[Item], vectors: npt.NDArray[np.float32]) -> None:
        """Takes new or changed items with their vectors, from the next answer on."""
        with self.lock:
            rows = self.items.put(items)
            n = len(self.items)
            self.sources.popularity.grow(n)
            space = self.sources.space.put(rows, vectors, n_items=n)
            row_of_new = {item.item_id: self.items.rows[item.item_id] for item in items}
            federated = self.sources.federated.grown(row_of_new, n_items=n)
            self.sources = replace(self.sources, space=space, federated=federated)

    def take_over(self, other: RecommendationEngine) -> set[str]:
        """Takes all that another engine knows, between two answers; the weights stay.

        Returns:
            Users whom the other one does not know.
        """
        with self.lock:
            gone = set(self.users) - set(other.users)
            other.items.deny(self.items.denied)
            for name, value in vars(other).items():
                if name not in (*_KEPT_ATTRIBUTES, *OWN_ATTRIBUTES):
                    setattr(self, name, value)
            self.numbering += 1
            if self.journal is not None:
                self.journal.note(Change.whole(self))
        return gone

    def take_state(self, state: dict[str, Any]) -> None:
        """Takes all that another process's engine holds; see `Change.whole`."""
        with self.lock:
            vars(self).update(state)

    @classmethod
    def empty(cls) -> Self:
        """Returns an engine that is to take another process's state."""
        engine = cls.__new__(cls)
        engine.lock, engine.journal, engine.journal_depth = threading.RLock(), None, 0
        return engine

    @replicated
    def take_refresh(self, refreshed: Refreshed) -> None:
        """Takes what the engine of another process has counted anew."""
        refreshed.install(self)

    @replicated
    def set_rules(self, rules: RuleSet) -> None:
        """Takes new rules of the shop from the next answer on."""
        self.rules = rules

    @replicated
    def describe_items(self, items: Sequence[Item]) -> None:
        """Takes items that have changed in everything but their text."""
        with self.lock:
            self.items.put(items)

    @replicated
    def deny_items(self, item_ids: Collection[str]) -> None:
        """Shows these items nowhere, and those that were denied before again.

        Raises:
            UnknownError: One is not in the catalogue.
        """
        with self.lock:
            unknown = sorted(set(item_ids) - set(self.items.rows))
            if unknown:
                raise UnknownError(
                    "is not in the catalogue",
                    name="item_id",
                    value=f"{unknown[0]!r}",
                    remedy=f"check the spelling of {len(unknown)} ids, or import the items first",
                )
            self.items.deny(item_ids)

    @replicated
    def delete_item(self, item_id: str) -> None:
        """Never shows an item again."""
        with self.lock:
            self.items.delete(item_id)

    @replicated
    def set_adapter(
        self,
        space: ProfileSpace,
        federated: FederatedStatistics,
        federated_ease: FederatedEASE | None,
        learned: LearnedFusion,
    ) -> None:
        """Replaces the adapter, and all that depends on it, between two answers."""
        with self.lock:
            # Items may have come since the statistics were read.
            federated = federated.grown(self.items.rows, n_items=len(self.items))
            self.sources = replace(
                self.sources, space=space, federated=federated, federated_ease=federated_ease
            )
            self.set_learned(learned)
