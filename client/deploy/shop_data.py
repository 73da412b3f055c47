"""The shop's own events on the public catalogue; what is not in it stays local."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from client.deploy.folder import NodeSettings
from shared.deploy.invitation import PublicBase
from shared.errors import DataError
from shared.interactions.clean import clean
from shared.interactions.events import Events
from shared.interactions.readers.detect import read_tables
from shared.interactions.tally import REASONS


@dataclass(frozen=True, eq=False)
class ShopData:
    """What a shop trains on.

    Attributes:
        events: Item codes are those of the public catalogue.
        n_users: Stays here.
        report: What was read and dropped; stays here.
    """

    events: Events
    n_users: int
    report: dict[str, Any]


def load_shop(settings: NodeSettings, base: PublicBase) -> ShopData:
    """Reads and cleans the shop's data.

    Raises:
        DataError: A file cannot be used, or nothing is left.
    """
    tables = read_tables(Path(settings.data), settings.reading(), needs_items=False)
    if tables.time_unit != base.time_unit:
        raise DataError(
            f"data={settings.data} counts time in {tables.time_unit}, the federation in "
            f"{base.time_unit}; add a column of dates, or name the order column in node.toml"
        )
    public = pd.DataFrame({"item_id": base.item_ids, "text": base.texts}, dtype=object)
    base.catalogue()
    cleaned = clean(replace(tables, items=public), name=settings.shop, by_shop=False)
    events, n_users = cleaned.events, len(cleaned.user_ids)
    counts = cleaned.tally.totals()
    report = {
        **counts,
        "reasons": {reason: REASONS[reason] for reason in counts["dropped"]},
        "files": cleaned.facts["files"],
        "ignored_columns": cleaned.facts["ignored_columns"],
        "users": n_users,
        "events": len(events),
        "items": len(set(events.item.tolist())),
        "catalogue": len(base.item_ids),
    }
    return ShopData(events, n_users, report)


def problems(data: ShopData, settings: NodeSettings) -> list[str]:
    """Returns what the owner should know before training, one line each."""
    found = []
    if settings.limits.delta >= 1 / max(data.n_users, 1):
        found.append(
            f"delta={settings.limits.delta:g} must be below 1/users={1 / data.n_users:.3g}; make "
            "the node anew with a lower --delta"
        )
    dropped = data.report["dropped"].get("unknown_item", 0)
    if dropped:
        found.append(
            f"{dropped} events are of items outside the public catalogue; they stay here and are "
            "not trained on"
        )
    if data.n_users < 50:
        found.append(f"users={data.n_users}: under 50, the noise will drown what they teach")
    return found
