"""Imports that can be repeated: whole or not at all, and only what differs is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa

from client.store.changes import bump_generation, put_fact
from client.store.consent import oldest_held
from client.store.event_rows import (
    Progress,
    delete_events,
    fill_digests,
    insert_events,
    read_identities,
    text_hashes,
    update_events,
)
from client.store.identity import Hashes, content_digests, id_hashes, session_code
from client.store.imports.event_plan import EventPlan, SourceIdentities, plan_events
from client.store.imports.imported_items import import_items, remove_missing_items
from client.store.imports.imported_users import import_users, remove_missing_users
from client.store.reading import read_fact
from client.store.schema import events, items, users
from client.store.suppression import deleted_among, suppressed_of
from shared.errors import DataError
from shared.interactions.datasets.shop_rows import ShopRows

TIME_UNIT = "time_unit"
"""Name of the fact that holds the unit of the events' time."""
MAX_LOSS = 0.05
"""Share of a source's rows that may be dropped without the owner's word."""
NO_LOSS = ("not_merchandise", "other_shop", "other_event")
"""Reasons for which rows are left out on purpose."""
MIN_JUDGED, MIN_COMMON = 20, 0.05
"""Ids on both sides from which few common ones are a question, and the share that is few."""
_DAYS_A_SESSION = 47_482
"""2100-01-01 in days since 1970, the bound of days in the code of a visit."""


@dataclass(frozen=True)
class ImportOptions:
    """What the owner wants of an import.

    Attributes:
        replace: Whether what the source lacks is removed.
        since: Only events of this time or later are taken, and removed; None for all.
        accept_loss: Whether more than `MAX_LOSS` of the rows may be dropped, or half of the
            stored events removed.
        accept_new_ids: Whether a source with other ids than those stored is taken.
    """

    replace: bool = False
    since: float | None = None
    accept_loss: bool = False
    accept_new_ids: bool = False


@dataclass(frozen=True)
class ImportReport:
    """What became of a source, for its owner.

    Attributes:
        rows_read: Rows of the source.
        dropped: Rows that cannot be used, by reason.
        reasons: What each reason means.
        before_since: Rows before `ImportOptions.since`, or older than the shop holds events.
        suppressed: Rows of users who were deleted or of items that were.
        repeated: Rows whose event id stands again further down.
        events: Events added.
        changed: Stored events that the source changes.
        unchanged: Rows whose event is stored as it is.
        removed: Stored events that the source lacks, where those are removed.
        items: Items added, changed, removed and, as deleted, left out.
        users: Users added and removed.
        files: What was read.
        notes: How files were read where there was a choice.
        examples: Some dropped rows of each reason, with file, row, column and value.
    """

    rows_read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    before_since: int = 0
    suppressed: int = 0
    repeated: int = 0
    events: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    items: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    files: Sequence[str] = ()
    notes: Sequence[str] = ()
    examples: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self) | {"files": list(self.files), "notes": list(self.notes)}

    @property
    def wrote(self) -> bool:
        """Whether anything that is stored is different now."""
        people = self.items | {f"users {name}": n for name, n in self.users.items()}
        touched = sum(n for name, n in people.items() if not name.endswith("deleted"))
        return bool(self.events or self.changed or self.removed or touched)


def import_rows(
    connection: sa.Connection,
    rows: ShopRows,
    options: ImportOptions | None = None,
    *,
    progress: Progress | None = None,
) -> ImportReport:
    """Brings a shop's database to what a source says; the caller commits.

    Args:
        connection: In a transaction that writes.
        rows: The source.
        options: What the owner wants.
        progress: Gets how many events are written, of how many.

    Raises:
        DataError: The source's unit of time is another, it loses too much, or it looks like
            another shop's.
    """
    options = options or ImportOptions()
    _check_loss(rows, options)
    _check_time_unit(connection, rows)
    _check_ids(connection, rows, options)
    fill_digests(connection)
    wanted, left_out = _wanted(connection, rows, options)
    item_keys, item_counts = import_items(connection, rows)
    user_keys, user_counts = import_users(connection, rows, taken=np.unique(rows.user[wanted]))
    source = _EventTable(rows, wanted, user_keys, item_keys)
    plan = plan_events(source.identities(), read_identities(connection, since=options.since))
    removed = _remove(connection, plan, options)
    update_events(connection, plan.changed_keys, source.table(plan.change))
    insert_events(connection, len(plan.add), lambda part: source.table(plan.add[part]), progress)
    if options.replace and options.since is None:
        item_counts["removed"], more = remove_missing_items(connection, rows)
        user_counts["removed"] = remove_missing_users(connection, rows)
        removed += more
    put_fact(connection, TIME_UNIT, json.dumps(rows.time_unit))
    report = replace(
        _report_of(rows, left_out),
        repeated=plan.repeated,
        events=len(plan.add),
        changed=len(plan.change),
        unchanged=plan.unchanged,
        removed=removed,
        items=item_counts,
        users=user_counts,
    )
    if report.wrote:
        # A service that runs has this in its memory: it reads the database again.
        bump_generation(connection)
    return report


def _report_of(rows: ShopRows, left_out: dict[str, int]) -> ImportReport:
    source = rows.report
    return ImportReport(
        rows_read=source["rows_read"],
        dropped=dict(source["dropped"]),
        reasons=dict(source["reasons"]),
        files=source["files"],
        notes=source.get("notes", ()),
        examples=source.get("examples", {}),
        before_since=left_out["before_since"],
        suppressed=left_out["suppressed"],
    )


def _check_loss(rows: ShopRows, options: ImportOptions) -> None:
    read, dropped = rows.report["rows_read"], rows.report["dropped"]
    # Visits of nobody in particular: most shops' logs have them, and they are nobody's history.
    anonymous = rows.report.get("anonymous", 0) if len(rows) else 0
    judged = read - anonymous - sum(dropped.get(name, 0) for name in NO_LOSS)
    lost = judged - rows.report["rows_kept"]
    if options.accept_loss or lost <= MAX_LOSS * judged:
        return
    reasons = rows.report["reasons"]
    named = ", ".join(
        f"{count} {name} ({reasons[name]}{_first(rows, name)})" for name, count in dropped.items()
    )
    raise DataError(
        f"{lost} of {judged} rows cannot be used, more than {MAX_LOSS:.0%}: {named}; nothing was "
        "imported",
        remedy="correct the file, or take the other rows with `fedprofile node import "
        "--accept-loss`",
    )


def _first(rows: ShopRows, reason: str) -> str:
    """Says where the first row that was dropped for a reason stands, in words."""
    for place in rows.report.get("examples", {}).get(reason, ())[:1]:
        cell = f", {place['column']} {place['value']!r}" if place["column"] else ""
        return f"; the first in {place['file']}, row {place['row']}{cell}"
    return ""


def _check_time_unit(connection: sa.Connection, rows: ShopRows) -> None:
    stored = read_fact(connection, TIME_UNIT)
    holds = connection.scalar(sa.select(sa.exists().select_from(events)))
    unit = "days" if stored is None else json.loads(stored)
    if holds and unit != rows.time_unit:
        words = {"days": "dates", "order": "ranks"}
        raise DataError(
            f"has {words[rows.time_unit]} for time, the database holds {words[unit]}; nothing was "
            "imported",
            name="data",
            value=", ".join(rows.report["files"][:3]),
            remedy="import a source with the same kind of time, or name another --store",
        )


def _check_ids(connection: sa.Connection, rows: ShopRows, options: ImportOptions) -> None:
    """Another shop's export would mix two shops' customers, which nothing could take apart."""
    if options.accept_new_ids:
        return
    named = rows.item_ids[np.unique(rows.item)]
    if all(
        _is_foreign(connection, column, ids)
        for column, ids in ((users.c.user_id, rows.user_ids), (items.c.item_id, named))
    ):
        raise DataError(
            f"under {MIN_COMMON:.0%} of its {len(rows.user_ids)} users and {len(named)} items are "
            "in the database: it looks like another shop's; nothing was imported",
            name="data",
            value=", ".join(rows.report["files"][:3]),
            remedy="name another --store, or take it with `fedprofile node import "
            "--accept-new-ids`",
        )


def _is_foreign(
    connection: sa.Connection, column: sa.Column[str], ids: npt.NDArray[np.object_]
) -> bool:
    stored = set(connection.scalars(sa.select(column)))
    fewer = min(len(stored), len(ids))
    return fewer >= MIN_JUDGED and len(stored.intersection(ids)) < MIN_COMMON * fewer


def _wanted(
    connection: sa.Connection, rows: ShopRows, options: ImportOptions
) -> tuple[npt.NDArray[np.intp], dict[str, int]]:
    """Returns the places of the rows to store, and how many are left out on purpose."""
    taken = np.ones(len(rows), bool)
    if options.since is not None:
        taken = rows.time >= options.since
    if (oldest := oldest_held(connection)) is not None:
        taken &= rows.time >= oldest
    early = int((~taken).sum())
    gone_users = suppressed_of(connection, rows.user_ids.tolist())
    gone_items = deleted_among(connection, rows.item_ids.tolist())
    for gone, ids, codes in (
        (gone_users, rows.user_ids, rows.user),
        (gone_items, rows.item_ids, rows.item),
    ):
        if gone:
            taken &= ~np.array([name in gone for name in ids], bool)[codes]
    wanted = np.flatnonzero(taken)
    return wanted, {"before_since": early, "suppressed": len(rows) - early - len(wanted)}


def _remove(connection: sa.Connection, plan: EventPlan, options: ImportOptions) -> int:
    if not options.replace:
        return 0
    missing, stored = len(plan.missing_keys), plan.unchanged + len(plan.changed_keys)
    if missing > stored and not options.accept_loss:
        raise DataError(
            f"{missing} of {missing + stored} stored events are not in the source and would be "
            "removed; nothing was imported",
            name="replace",
            remedy="check that the source is a full export, or remove them with --accept-loss",
        )
    delete_events(connection, plan.missing_keys)
    return missing


class _EventTable:
    """The events of a source that are wanted, with the keys of the database.

    Args:
        rows: The source.
        wanted: Places of the rows to store.
        user_keys: Key of each user code, `(n_users,)`, 0 for none.
        item_keys: Key of each item code, `(n_items,)`, 0 for none.
    """

    def __init__(
        self,
        rows: ShopRows,
        wanted: npt.NDArray[np.intp],
        user_keys: npt.NDArray[np.int64],
        item_keys: npt.NDArray[np.int64],
    ) -> None:
        # Arrivals in order of time, as they would have come live; equals stay in their order.
        self._places = wanted[np.argsort(rows.time[wanted], kind="stable")]
        self._rows, self._user_keys, self._item_keys = rows, user_keys, item_keys
        self._names = pa.array(rows.session_ids, pa.string())
        codes = [session_code(str(name)) for name in rows.session_ids]
        self._session_codes = np.array([*codes, -1], np.int64)
        self._users, self._items = id_hashes(rows.user_ids), id_hashes(rows.item_ids)
        self.digest = self._digests(np.r_[id_hashes(rows.session_ids), np.uint64(0)])

    def _digests(self, session: Hashes | None) -> npt.NDArray[np.int64]:
        rows, place = self._rows, self._places
        return content_digests(
            user=self._users[rows.user[place]],
            item=self._items[rows.item[place]],
            session=None if session is None else session[rows.session[place]],
            time=rows.time[place],
            event_type=rows.event_type[place],
            weight=rows.weight[place],
            quantity=rows.quantity[place],
            price=rows.price[place],
        )

    def identities(self) -> SourceIdentities:
        """Returns what the events are, in the order of `table`."""
        plain = self._digests(None) if len(self._names) else self.digest
        ids = self._rows.event_id
        hashes = (
            np.zeros(len(self._places), np.uint64)
            if ids is None
            else text_hashes(ids.iloc[self._places])
        )
        return SourceIdentities(self.digest, plain, hashes)

    def table(self, places: npt.NDArray[np.intp]) -> pa.Table:
        """Returns some of the events as `event_rows.COLUMNS`."""
        rows, place = self._rows, self._places[places]
        price = rows.price[place]
        session = rows.session[place]
        user_key = self._user_keys[rows.user[place]]
        return pa.table(
            {
                "event_id": self._event_ids(place),
                "user_key": user_key,
                "item_key": self._item_keys[rows.item[place]],
                "time": rows.time[place],
                "event_type": rows.event_type[place].astype(np.int16),
                "weight": rows.weight[place],
                "quantity": rows.quantity[place],
                "price": pa.array(price, mask=np.isnan(price)),
                "session": self._visits(place, session, user_key),
                "digest": self.digest[places],
                "session_id": self._names.take(pa.array(session, mask=session < 0)),
            }
        )

    def _event_ids(self, place: npt.NDArray[np.intp]) -> pa.Array:
        ids = self._rows.event_id
        if ids is None:
            return pa.nulls(len(place), pa.string())
        texts = ids.iloc[place].to_numpy(dtype=object)
        return pa.array([text or None for text in texts], pa.string())

    def _visits(
        self,
        place: npt.NDArray[np.intp],
        session: npt.NDArray[np.int32],
        user_key: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Codes visits; in dated data without names of visits, one of each user and day."""
        codes = self._session_codes[session]
        if len(self._names) or self._rows.time_unit != "days":
            return codes
        day = np.floor(self._rows.time[place]).astype(np.int64)
        return user_key * _DAYS_A_SESSION + day
