"""One shop's rows as its database takes them: no split, no minimum, every user and every event.

An evaluation drops who has too little to be measured on. A shop's database drops nobody: only rows
that cannot be used are left out, and each is counted under its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.catalogue import build_catalogue
from shared.interactions.datasets.cleaning import (
    DROP_REASONS,
    CleanedSource,
    JudgedRows,
    judge_rows,
    user_table,
)
from shared.interactions.datasets.complete_journey import read_complete_journey
from shared.interactions.datasets.load import EMBEDDED
from shared.interactions.events import Catalogue
from shared.interactions.readers.detect import read_tables
from shared.interactions.readers.packed_files import source_name
from shared.interactions.readers.parsed_tables import ParsedTables
from shared.settings.run_settings import DataSettings

NO_TEXTS = Catalogue(np.zeros(0, dtype=object), [])


@dataclass(frozen=True, eq=False)
class ShopRows:
    """One shop's usable rows, in the order of the source; all arrays of events `(n,)`.

    Attributes:
        shop_id: The shop's name.
        time_unit: "days" or "order".
        user_ids: Text, `(n_users,)`, dtype object.
        item_ids: Text, `(n_items,)`, dtype object; those of the source first.
        user: Codes into `user_ids`.
        item: Codes into `item_ids`.
        time: In `time_unit`, float64.
        event_type: Index into `EVENT_TYPES`, uint8.
        weight: 1 where not given, float64.
        quantity: 1 where not given, float64.
        price: NaN where not given, float64.
        session: Codes into `session_ids`, -1 for none.
        session_ids: The source's names of visits, dtype object.
        event_id: The source's own ids as text, "" for none; None where it has none.
        catalogue: Items that the source describes; empty where it describes none.
        from_events: Items that events name and nothing describes, where the source has no items.
        users: Attributes by user id, as text.
        report: What was read, dropped and why; `anonymous` of the rows lack no more than a user, 0
            where the source has several shops, as such a row is of none.
    """

    shop_id: str
    time_unit: str
    user_ids: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    time: npt.NDArray[np.float64]
    event_type: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.float64]
    quantity: npt.NDArray[np.float64]
    price: npt.NDArray[np.float64]
    session: npt.NDArray[np.int32]
    session_ids: npt.NDArray[np.object_]
    event_id: pd.Series[str] | None
    catalogue: Catalogue
    from_events: tuple[str, ...]
    users: pd.DataFrame
    report: dict[str, Any]

    def __len__(self) -> int:
        return len(self.user)


def read_shop_rows(
    settings: DataSettings, *, shop: str | None, known_items: Sequence[str] = ()
) -> ShopRows:
    """Reads a source's items and one shop's users and events.

    Args:
        settings: The source and its columns.
        shop: Which of the source's shops; None where there is one.
        known_items: Items that events may name though the source does not describe them.

    Raises:
        DataError: The source cannot be used, or which shop is meant is not clear.
    """
    if settings.source == EMBEDDED:
        return _embedded_rows(read_complete_journey(settings, by_shop=True), shop)
    path = Path(settings.source).expanduser()
    tables = read_tables(path, settings, needs_items=False)
    catalogue = NO_TEXTS
    counts: dict[str, Any] = {}
    from_events: tuple[str, ...] = ()
    if tables.items is not None:
        catalogue, counts = build_catalogue(tables.items, least=0)
    else:
        named = set(tables.events["item_id"].unique()) - {"", *known_items}
        from_events = tuple(sorted(str(item_id) for item_id in named))
    described = set(catalogue.item_ids)
    more = [item_id for item_id in (*known_items, *from_events) if item_id not in described]
    item_ids = np.concatenate([catalogue.item_ids, np.array(more, dtype=object)])
    judged = judge_rows(tables, item_ids, name=source_name(path), by_shop=True)
    return _rows(judged, tables, shop, item_ids, catalogue, from_events, counts)


def chosen_shop(shop_ids: Sequence[str], name: str | None) -> int:
    """Returns which of a source's shops is meant.

    Raises:
        DataError: The name is None and there are several, or it is unknown.
    """
    if name is None and len(shop_ids) == 1:
        return 0
    if name is None or name not in shop_ids:
        listed = ", ".join(shop_ids[:10])
        raise DataError(
            f"must be one of the data's {len(shop_ids)} shops ({listed})",
            name="shop",
            value=name,
            remedy="name one of them with --shop",
        )
    return list(shop_ids).index(name)


def _rows(
    judged: JudgedRows,
    tables: ParsedTables,
    shop: str | None,
    item_ids: npt.NDArray[np.object_],
    catalogue: Catalogue,
    from_events: tuple[str, ...],
    item_counts: dict[str, Any],
) -> ShopRows:
    code = chosen_shop(judged.shop_ids, shop) if judged.shop_ids else 0
    alone = len(judged.shop_ids) <= 1
    counts = (
        judged.row_counts.totals() if alone else judged.row_counts.of_shop(judged.shop_of == code)
    )
    mine = np.ones(len(judged.rows), bool) if alone else judged.shop_of[judged.user] == code
    rows, users = judged.rows, judged.user
    if not alone:
        rows, users = rows[mine], users[mine]
    members = np.flatnonzero(judged.shop_of == code)
    user = np.searchsorted(members, users).astype(np.int32)
    session, session_ids = _coded(rows, "session_id")
    return ShopRows(
        shop_id=judged.shop_ids[code] if judged.shop_ids else "",
        time_unit=tables.time_unit,
        user_ids=judged.user_ids[members],
        item_ids=item_ids,
        user=user,
        item=judged.item if alone else judged.item[mine],
        time=rows["time"].to_numpy(dtype=np.float64),
        event_type=rows["event_type"].to_numpy(dtype=np.uint8),
        weight=_filled(rows, "weight", 1.0),
        quantity=_filled(rows, "quantity", 1.0),
        price=_filled(rows, "price", np.nan),
        session=session,
        session_ids=session_ids,
        event_id=rows.get("event_id"),
        catalogue=catalogue,
        from_events=from_events,
        users=user_table(tables.users),
        report={
            **counts,
            "anonymous": _anonymous(tables) if alone else 0,
            "reasons": {reason: DROP_REASONS[reason] for reason in counts["dropped"]},
            "examples": judged.row_counts.shown(),
            "files": [str(path) for path in tables.files],
            "layout": tables.layout,
            "notes": [*tables.notes, *_item_notes(item_counts)],
            "ignored_columns": list(tables.ignored_columns),
            "items": item_counts,
        },
    )


def _item_notes(counts: dict[str, Any]) -> list[str]:
    """Says which cells of items were left out, a line for each column."""
    prefix = "unreadable_"
    return [
        f"items: {n} of {counts['kept']} cells of {name.removeprefix(prefix)} cannot be read and "
        "are left out"
        for name, n in counts.items()
        if name.startswith(prefix) and n
    ]


def _anonymous(tables: ParsedTables) -> int:
    """Counts the rows that are of no use for their missing user alone."""
    rows = tables.events
    nobody = (rows["user_id"] == "").to_numpy()
    for column in ("malformed", "other_event"):
        if column in rows:
            nobody = nobody & ~rows[column].to_numpy(dtype=bool)
    return int(nobody.sum())


def _coded(
    rows: pd.DataFrame, column: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.object_]]:
    if column not in rows:
        return np.full(len(rows), -1, np.int32), np.zeros(0, dtype=object)
    codes, names = pd.factorize(rows[column].mask(rows[column] == ""))
    return codes.astype(np.int32), np.asarray(names, dtype=object)


def _filled(rows: pd.DataFrame, column: str, default: float) -> npt.NDArray[np.float64]:
    if column not in rows:
        return np.full(len(rows), default)
    values = rows[column].to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), values, default)


def _embedded_rows(cleaned: CleanedSource, shop: str | None) -> ShopRows:
    """Takes one shop of a source that comes cleaned; its visits are numbers."""
    code = chosen_shop(cleaned.shop_ids, shop)
    mine = cleaned.shop_of[cleaned.events.user] == code
    events = cleaned.events.select(mine)
    members, user = np.unique(events.user, return_inverse=True)
    visits, session = np.unique(events.session, return_inverse=True)
    counts = cleaned.row_counts.of_shop(cleaned.shop_of == code)
    return ShopRows(
        shop_id=cleaned.shop_ids[code],
        time_unit=cleaned.clock.unit,
        user_ids=cleaned.user_ids[members],
        item_ids=cleaned.catalogue.item_ids,
        user=user.astype(np.int32),
        item=events.item,
        time=events.time,
        event_type=events.event_type,
        weight=events.weight.astype(np.float64),
        quantity=events.quantity.astype(np.float64),
        price=events.price.astype(np.float64),
        session=session.astype(np.int32),
        session_ids=visits.astype(str).astype(object),
        event_id=None,
        catalogue=cleaned.catalogue,
        from_events=(),
        users=cleaned.users,
        report={
            **counts,
            "reasons": {reason: DROP_REASONS[reason] for reason in counts["dropped"]},
            **{name: cleaned.facts[name] for name in ("files", "layout", "ignored_columns")},
            "items": cleaned.facts["items"],
        },
    )
