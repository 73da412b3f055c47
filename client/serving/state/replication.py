"""Changes of an engine as values, so that engines in other processes make the same ones.

An engine tells its journal of each change while it holds its lock. So whoever gets a copy of the
whole state and all that the journal is told afterwards, in order, holds the same.
"""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from client.serving.features.interactions import Interactions
from client.serving.ranking.signals import SignalSources

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound="Replicated")
_LARGE = 4_000_000
"""Bytes from which an array is passed as shared memory. What is changed in place is smaller or is
copied; larger arrays are replaced as a whole."""
OWN_ATTRIBUTES = ("lock", "journal", "journal_depth")
"""Attributes that belong to the process."""


class Replicated(Protocol):
    """What an engine has so that its changes can be followed."""

    lock: Any
    journal: Journal | None
    journal_depth: int
    interactions: Interactions
    sources: SignalSources


class Journal(Protocol):
    """Who wants to know of changes."""

    def note(self, change: Change) -> None:
        """Takes a change, while the engine's lock is held."""
        ...


@dataclass(frozen=True, eq=False)
class Change:
    """One change, or the whole state, ready to be sent.

    Attributes:
        message: Pickled; to be read with the arrays beside it.
        arrays: Large arrays, not copied; they are never changed in place.
    """

    message: bytes
    arrays: tuple[pickle.PickleBuffer, ...]

    @staticmethod
    def of(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Change:
        """Packs a call of one of the engine's methods."""
        large: list[pickle.PickleBuffer] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            small = buffer.raw().nbytes < _LARGE
            if not small:
                large.append(buffer)
            return small

        message = pickle.dumps((name, arguments, named), protocol=5, buffer_callback=keep)
        return Change(message, tuple(large))

    @staticmethod
    def whole(engine: Replicated) -> Change:
        """Packs all that an engine holds; its lock is held by the caller."""
        state = {name: value for name, value in vars(engine).items() if name not in OWN_ATTRIBUTES}
        popularity = copy.copy(engine.sources.popularity)  # counted in place, event by event
        popularity.users = popularity.users.copy()
        local = {**engine.sources.local, "popularity": popularity}
        state["sources"] = replace(engine.sources, local=local)
        state["_changed_users"] = set()
        return Change.of("take_state", (state,), {})


def replicated(
    method: Callable[Concatenate[E, P], T],
) -> Callable[Concatenate[E, P], T]:
    """Makes a method tell the journal of its call, unless it is a part of another such call."""

    @functools.wraps(method)
    def run(self: E, *args: P.args, **named: P.kwargs) -> T:
        with self.lock:
            self.journal_depth += 1
            try:
                result = method(self, *args, **named)
            finally:
                self.journal_depth -= 1
            if self.journal is not None and not self.journal_depth:
                self.journal.note(Change.of(method.__name__, args, named))
            return result

    return cast(Callable[Concatenate[E, P], T], run)


def make_change(engine: Replicated, message: bytes, arrays: list[Any]) -> None:
    """Makes a change that another engine has made.

    Args:
        engine: To be changed.
        message: Of the `Change`.
        arrays: Its arrays, as buffers.
    """
    name, args, named = pickle.loads(message, buffers=arrays)  # noqa: S301  # of our own process
    getattr(engine, name)(*args, **named)


@dataclass(frozen=True, eq=False)
class Refreshed:
    """What a refresh has changed.

    Attributes:
        interactions: Sorted, without the users who changed again.
        changed_rows: Those users.
        sources: Parts of the sources that were replaced.
        state: Keys and marks of the engine.
    """

    interactions: Interactions
    changed_rows: frozenset[int]
    sources: dict[str, Any]
    state: dict[str, Any]

    @staticmethod
    def of(engine: Replicated) -> Refreshed:
        """Takes what an engine has just refreshed; its lock is held by the caller."""
        sources, interactions = engine.sources, engine.interactions
        popularity = copy.copy(sources.popularity)
        popularity.users = popularity.users.copy()
        names = ("sorted_key", "sorted_generation", "events_since_refresh", "recount")
        return Refreshed(
            Interactions(interactions.starts, interactions.columns),
            frozenset(interactions.changed()),
            {
                "local": {**sources.local, "popularity": popularity},
                "federated": sources.federated,
                "federated_ease": sources.federated_ease,
            },
            {name: getattr(engine, name) for name in names},
        )

    def install(self, engine: Replicated) -> None:
        """Makes the same refresh in an engine that holds the same events."""
        changed = engine.interactions.changed()
        kept = {row: changed[row] for row in self.changed_rows}
        self.interactions.adopt(kept, {})
        engine.interactions = self.interactions
        engine.sources = replace(engine.sources, **self.sources)
        for name, value in self.state.items():
            setattr(engine, name, value)
