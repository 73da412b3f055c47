"""Which events of a source are new, which are there already, and which the source lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.store.event_rows import StoredIdentities
from client.store.identity import pair_equals

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SourceIdentities:
    """What the events of a source are, all `(n,)`.

    Attributes:
        digest: Of the content.
        plain: Of the content without the name of the visit; equal to `digest` where it has none.
        id_hash: Of the source's own id, 0 for none.
    """

    digest: npt.NDArray[np.int64]
    plain: npt.NDArray[np.int64]
    id_hash: npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class EventPlan:
    """What becomes of each event.

    Attributes:
        add: Places of the source's events that are new, ascending.
        change: Places of those that take the place of a stored event.
        changed_keys: Keys of these, in the same order.
        missing_keys: Keys of the stored events that the source lacks, without early ones.
        unchanged: Events that are stored as they are.
        repeated: Events whose id stands again further down in the source.
    """

    add: Places
    change: Places
    changed_keys: npt.NDArray[np.int64]
    missing_keys: npt.NDArray[np.int64]
    unchanged: int
    repeated: int


def plan_events(source: SourceIdentities, stored: StoredIdentities) -> EventPlan:
    """Compares a source with what is stored.

    An event with an id is the stored one of that id. One without is the stored one of the same
    content, the second of equals the second. An event that was stored without a visit, or without
    an id, is the same as one that now comes with it.
    """
    open_source = np.ones(len(source.digest), bool)
    open_stored = np.ones(len(stored), bool)
    repeated = _earlier_repeats(source.id_hash)
    open_source[repeated] = False
    change: list[Places] = []
    changed_keys: list[npt.NDArray[np.int64]] = []
    unchanged = 0

    def settle(ours: Places, theirs: Places, *, same: npt.NDArray[np.bool_]) -> None:
        nonlocal unchanged
        open_source[ours], open_stored[theirs] = False, False
        unchanged += int(same.sum())
        change.append(ours[~same])
        changed_keys.append(stored.key[theirs[~same]])

    named = np.flatnonzero(open_source & (source.id_hash != 0))
    with_id = np.flatnonzero(stored.id_hash != 0)
    mine, other = pair_equals(
        source.id_hash[named].view(np.int64), stored.id_hash[with_id].view(np.int64)
    )
    ours, theirs = named[mine], with_id[other]
    settle(ours, theirs, same=source.digest[ours] == stored.digest[theirs])
    for digest, candidates in (
        (source.digest, np.ones(len(stored), bool)),
        (source.plain, ~stored.visited),
    ):
        for has_id in (False, True):
            left = np.flatnonzero(open_source & ((source.id_hash != 0) == has_id))
            free = open_stored & candidates
            if has_id:  # an event with another id is another event
                free &= stored.id_hash == 0
            among = np.flatnonzero(free)
            mine, other = pair_equals(digest[left], stored.digest[among])
            ours, theirs = left[mine], among[other]
            same = source.digest[ours] == stored.digest[theirs]
            settle(ours, theirs, same=same if not has_id else np.zeros(len(ours), bool))
    return EventPlan(
        add=np.flatnonzero(open_source),
        change=np.concatenate(change),
        changed_keys=np.concatenate(changed_keys),
        missing_keys=stored.key[open_stored & ~stored.early],
        unchanged=unchanged,
        repeated=len(repeated),
    )


def _earlier_repeats(id_hash: npt.NDArray[np.uint64]) -> Places:
    """Returns the places of events whose id stands again further down: the last one counts."""
    named = np.flatnonzero(id_hash)
    _, last_from_end = np.unique(id_hash[named][::-1], return_index=True)
    last = np.zeros(len(named), bool)
    last[len(named) - 1 - last_from_end] = True
    return named[~last]
