"""All uses of a node: made ready when first asked for, and kept up to date with its events.

Nothing of it leaves the machine. Who may not be trained on is neither learned from nor answered
about, from the moment at which that is said.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from client.serving.analytics.use_answers import UseAnswers, ask
from client.serving.features.events import time_as_text
from client.serving.features.shop_history import read_history
from client.store.database import StoreUnavailableError
from client.store.store import Store
from client.store.training_data import may_train_on, read_training_users
from shared.errors import ConfigError, FedprofileError
from shared.uses.interface import Use
from shared.uses.registry import chosen, uses

REFRESH_SECONDS = 900.0
"""Between two times at which uses follow new events."""
ASKED_FACT = "uses_asked"
"""Name of the fact that holds which uses were asked for, to be ready again after a start."""
_SEED = 0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SkippedUse:
    """A use that the data cannot answer, and why."""

    reason: str


class ShopUses:
    """All uses of one node.

    Args:
        store: Its database.
        taken: Returns the event types that count, mask over `EVENT_TYPES`.
        mark: Returns what changes with every event.
    """

    def __init__(
        self,
        store: Store,
        *,
        taken: Callable[[], npt.NDArray[np.bool_]],
        mark: Callable[[], object],
    ) -> None:
        self._store, self._taken, self._mark = store, taken, mark
        self._ready: dict[str, UseAnswers | SkippedUse] = {}
        self._made_of: object = None
        self._made_at = 0.0
        self._forgotten: set[str] = set()
        self._making = threading.Lock()
        self._stopping = False

    def overview(self) -> list[dict[str, Any]]:
        """Describes every use, and how far it is; makes none ready."""
        return [_described(use, self._ready.get(name)) for name, use in uses().items()]

    def of_user(self, user_id: str) -> dict[str, Any]:
        """Returns what every use tells of a user.

        Raises:
            UnknownError: The user is not stored.
        """
        with self._store.reading() as connection:
            allowed = may_train_on(connection, user_id)
        if not allowed:
            return {
                "user_id": user_id,
                "reason": "may not be trained on, and so is not scored",
                "uses": {},
            }
        names = [name for name, use in uses().items() if use.unit != "item"]
        ready = self._asked(names)
        told = {
            name: {**_head(one), "answers": _rows(one, one.rows_of(user_id))}
            for name, one in ready.items()
            if isinstance(one, UseAnswers) and user_id not in self._forgotten
        }
        return {"user_id": user_id, "reason": None, "uses": told}

    def listed(self, name: str, *, limit: int) -> dict[str, Any]:
        """Returns the best answers to a use.

        Args:
            name: The use.
            limit: Rows at most.

        Raises:
            ConfigError: There is no such use, or the data cannot answer it.
        """
        chosen((name,))
        one = self._asked([name])[name]
        if isinstance(one, SkippedUse):
            raise ConfigError(one.reason, name=name, remedy="see /api/uses for the others")
        rows = np.arange(len(one.told))
        if one.of_users:
            rows = rows[self._still_allowed(one)[one.told.unit]]
        return {"use": name, **_head(one), "rows": _rows(one, rows[:limit])}

    def stop(self) -> None:
        """Makes no further use ready."""
        self._stopping = True

    def prepare(self) -> None:
        """Makes those ready that were asked for before the node was started."""
        known = [name for name in self._store.fact(ASKED_FACT) or [] if name in uses()]
        if known:
            with self._making:
                self._make([name for name in known if name not in self._ready])

    def refresh(self) -> None:
        """Makes those that were asked for anew where events came; meant for the background."""
        due = time.monotonic() - self._made_at >= REFRESH_SECONDS
        if not self._ready or not due or self._mark() == self._made_of:
            return
        try:
            with self._making:
                self._make(list(self._ready))
        except FedprofileError as error:
            _log.warning("uses: %s", error)

    def forget(self, user_id: str) -> None:
        """Tells nothing more of a user who was deleted."""
        self._forgotten.add(user_id)

    def _still_allowed(self, one: UseAnswers) -> npt.NDArray[np.bool_]:
        """Returns which of the users that were read may still be answered about, `(n_users,)`."""
        with self._store.reading() as connection:
            users = read_training_users(connection)
        allowed = set(users.user_id[users.allowed].tolist()) - self._forgotten
        return np.array([user_id in allowed for user_id in one.shop.user_ids], dtype=bool)

    def _asked(self, names: Sequence[str]) -> dict[str, UseAnswers | SkippedUse]:
        """Returns uses, made ready where they are not."""
        if any(name not in self._ready for name in names):
            with self._making:
                self._make([name for name in names if name not in self._ready])
            self._store.set_fact(ASKED_FACT, sorted(self._ready))
        ready = self._ready
        return {name: ready[name] for name in names}

    def _make(self, names: Sequence[str]) -> None:
        if not names:
            return
        gone, mark = set(self._forgotten), self._mark()
        made: dict[str, UseAnswers | SkippedUse] = {}
        try:
            with self._store.reading() as connection:
                shop = read_history(connection, self._taken())
        except ConfigError as error:
            made = {name: SkippedUse(str(error)) for name in names}
        else:
            code_of = {user_id: code for code, user_id in enumerate(shop.user_ids.tolist())}
            for name in names:
                if self._stopping:
                    raise StoreUnavailableError("the node is stopping", remedy="ask again")
                try:
                    made[name] = ask(uses()[name], shop, code_of, seed=_SEED)
                except ConfigError as error:
                    made[name] = SkippedUse(str(error))
        self._ready = {**self._ready, **made}
        if set(names) == set(self._ready):  # older ones may still tell of who was deleted
            self._forgotten -= gone
            self._made_of, self._made_at = mark, time.monotonic()


def _described(use: Use, one: UseAnswers | SkippedUse | None) -> dict[str, Any]:
    state = "not asked yet" if one is None else "skipped"
    said: dict[str, Any] = {"by": None, "examples": None, "asked_at": None}
    reason = one.reason if isinstance(one, SkippedUse) else None
    if isinstance(one, UseAnswers):
        state, reason = "ready", one.why_rule
        head = _head(one)
        said = {name: head[name] for name in said}
    return {
        "name": use.name,
        "purpose": use.purpose,
        "unit": use.unit,
        "rule": use.rule,
        "needs": list(use.needs),
        "state": state,
        "reason": reason,
        **said,
    }


def _head(one: UseAnswers) -> dict[str, Any]:
    trained = one.told.trained
    return {
        "by": trained.name,
        "examples": trained.examples,
        "asked_at": time_as_text(one.shop.history.end, "days"),
        "of": len(one.told),
        "calibrated": trained.calibration is not None,
    }


def _rows(one: UseAnswers, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Returns answers as plain values; a number that there is not is None."""
    told, names = one.told.select(rows), one.shop.history.category_names
    who = one.shop.user_ids if one.of_users else np.asarray(names, dtype=object)
    columns: dict[str, list[Any]] = {
        "user_id" if one.of_users else "category": who[told.unit].tolist(),
    }
    keys = told.key_names(names)
    if keys is not None:
        columns[one.use.key.replace(" ", "_")] = keys
    columns["rank"] = (rows + 1).tolist()
    columns["score"] = _plain(told.score)
    columns["probability"] = _plain(told.probability)
    if told.trained.spread is not None:
        columns |= {"low": _plain(told.low), "high": _plain(told.high)}
    columns["reasons"] = told.reasons()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(values: npt.NDArray[np.float64]) -> list[float | None]:
    rounded = np.round(values, 5).tolist()
    return [None if value != value else value for value in rounded]
