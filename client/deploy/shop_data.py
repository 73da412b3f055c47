"""The shop's own events on the public catalogue; what is not in it stays local."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from client.deploy.folder import NodeFolder, NodeSettings
from client.deploy.store_data import read_store
from shared.errors import DataError, StorageError
from shared.interactions.datasets.cleaning import DROP_REASONS, clean
from shared.interactions.events import Events
from shared.interactions.persons import by_person, linked_persons, n_persons
from shared.interactions.readers.detect import read_tables
from shared.keys.signing import canonical
from shared.protocol.invitation import PublicBase
from shared.runtime.file_store import write_atomic

LOG = logging.getLogger("fedprofile.client")


@dataclass(frozen=True, eq=False)
class ShopData:
    """What a shop trains on.

    Attributes:
        events: Item codes are those of the public catalogue; users are persons where ids are
            linked.
        n_users: Persons; stays here.
        report: What was read and dropped; stays here.
        deletions: Users whom the shop's database was asked to delete so far.
    """

    events: Events
    n_users: int
    report: dict[str, Any]
    deletions: int = 0


def load_shop(settings: NodeSettings, base: PublicBase) -> ShopData:
    """Reads and cleans the shop's data.

    Whether this succeeds depends on the files' names, headers and kind alone: a row that cannot be
    used is dropped and counted, and no row changes how another user's is read.

    Raises:
        DataError: A file is missing, is no table, or lacks a column.
    """
    if settings.store is not None:
        events, n_users, report = read_store(settings.store, base)
        return ShopData(events, n_users, report, report.pop("deletions"))
    tables = read_tables(Path(settings.data or ""), settings.reading(), needs_items=False)
    if tables.time_unit != base.time_unit:
        raise DataError(
            f"has time in {tables.time_unit}, the federation in {base.time_unit}",
            name="data",
            value=settings.data,
            remedy="add a column of dates, or name the order column in node.toml",
        )
    public = pd.DataFrame({"item_id": base.item_ids, "text": base.texts}, dtype=object)
    base.catalogue()
    public_tables = replace(tables, items=public)
    cleaned = clean(public_tables, name=settings.shop, by_shop=False, may_be_empty=True)
    cleaned = cleaned.keep_latest()
    events, n_users = cleaned.events, len(cleaned.user_ids)
    persons = linked_persons(cleaned.user_ids, cleaned.users)
    counts = cleaned.row_counts.totals()
    report = {
        **counts,
        "reasons": {reason: DROP_REASONS[reason] for reason in counts["dropped"]},
        "files": cleaned.facts["files"],
        "ignored_columns": cleaned.facts["ignored_columns"],
        "users": n_users,
        "persons": n_persons(n_users, persons),
        "events": len(events),
        "items": len(set(events.item.tolist())),
        "catalogue": len(base.item_ids),
    }
    return ShopData(by_person(events, persons), n_persons(n_users, persons), report)


def save_report(folder: NodeFolder, data: ShopData) -> None:
    """Keeps what was read and dropped, for the owner's status and metrics.

    Where the disk refuses, it is logged: the request that reads the data does not fail by it.
    """
    report = data.report
    if malformed := report["dropped"].get("malformed", 0):
        LOG.warning("%d malformed rows of %d are left out", malformed, report["rows_read"])
    max_users = folder.settings().limits.max_users
    if max_users is not None and data.n_users > max_users:
        LOG.warning("the shop has more than the max_users=%d that were stated", max_users)
    kept = {name: report[name] for name in ("rows_read", "rows_kept", "dropped", "users", "events")}
    try:
        write_atomic(folder.data_report, canonical(kept), durable=False, private=True)
    except StorageError as error:
        LOG.error("report of the data not saved: %s", error)


def read_report(folder: NodeFolder) -> dict[str, Any] | None:
    """Returns what `save_report` kept; None before a request or where it cannot be read."""
    try:
        report: dict[str, Any] = json.loads(folder.data_report.read_bytes())
    except (OSError, ValueError):
        return None
    return report


def problems(data: ShopData, settings: NodeSettings) -> list[str]:
    """Returns what the owner should know before training, one line each."""
    lines = []
    max_users = settings.limits.max_users
    if max_users is not None and data.n_users > max_users:
        # No refusal: whether a shop answers must not tell whether one more user is there.
        lines.append(
            f"users={data.n_users} is above max_users={max_users}, the number that delta was "
            "chosen for; the node goes on answering: state a larger one with `fedprofile node "
            "max-users N`"
        )
    malformed = data.report["dropped"].get("malformed", 0)
    if malformed:
        lines.append(
            f"{malformed} malformed rows are left out; `fedprofile simulate` on these files names "
            "the first of them"
        )
    dropped = data.report["dropped"].get("unknown_item", 0)
    if dropped:
        lines.append(
            f"{dropped} events are of items outside the public catalogue; they stay here and are "
            "not trained on"
        )
    if data.n_users < 50:
        lines.append(f"users={data.n_users} is under 50: the noise will exceed what they teach")
    return lines
