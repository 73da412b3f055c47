"""What is known of some users at a moment, and the matrices that recommenders make of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from shared.interactions.events import Events

Floats = npt.NDArray[np.float32]
Form = Literal["binary", "last", "visits"]
Made = TypeVar("Made")


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
        place = np.minimum(np.searchsorted(self.candidates, events.item), max(c - 1, 0))
        inside = self.candidates[place] == events.item if c else np.zeros(len(events), np.bool_)
        cell = events.user[inside].astype(np.int64) * c + place[inside]
        age = np.maximum(self.now[events.user[inside]] - events.time[inside], 0.0)
        session = events.session[inside]
        order = np.lexsort((-age, session, cell))
        cell, age, session = cell[order], age[order], session[order]
        new = np.ones(len(cell), dtype=np.bool_)
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
        return self.once(("rows", form, half_life), lambda: self._make(form, half_life))

    def rows(self, form: Form, half_life: float = np.inf) -> Floats:
        """Writes `sparse_rows` as a matrix `(n, c)` of the caller's own."""
        dense: Floats = self.sparse_rows(form, half_life).toarray()
        return dense

    def once(self, key: tuple[Hashable, ...], make: Callable[[], Made]) -> Made:
        """Returns what `make` made for the first question with this key, not to be changed."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    @cached_property
    def _made(self) -> dict[tuple[Hashable, ...], Any]:
        return {}

    def _make(self, form: Form, half_life: float) -> sp.csr_array:
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
