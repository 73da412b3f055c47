"""Which user ids are one person: the unit whose share of what leaves a shop is bounded.

Where a shop knows that several ids belong together, its `users` table has a `person_id`. What
leaves the shop treats all their events as one user's; serving and evaluation go on by id.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.interactions.events import Events

PERSON = "person_id"
"""Column of the `users` table; an empty cell leaves an id a person of its own."""

Persons = npt.NDArray[np.int32]
"""Person code of each user code, `(n_users,)`, from 0 without gaps."""


def linked_persons(user_ids: npt.NDArray[np.object_], users: pd.DataFrame) -> Persons | None:
    """Codes the person of each user id.

    Args:
        user_ids: The shop's user ids, `(n_users,)`.
        users: Attributes by user id, as text.

    Returns:
        The codes, in the order in which persons first occur; None where no two ids are linked.
    """
    if PERSON not in users:
        return None
    named = users[PERSON].reindex(user_ids).fillna("").to_numpy(dtype=object)
    # Two kinds of names: a person may be called as another user's id is.
    who = [("person", p) if p else ("user", u) for p, u in zip(named, user_ids, strict=True)]
    codes, persons = pd.factorize(pd.Series(who, dtype=object))
    return codes.astype(np.int32) if len(persons) < len(user_ids) else None


def by_person(events: Events, persons: Persons | None) -> Events:
    """Returns the events with persons in the place of users, sorted by person and time.

    Ranks of order data are compared between a person's ids as they are: whose sequence an event
    came from changes what is learned, never whose share it counts in.

    Args:
        events: Of one shop; visits of different users have different codes.
        persons: From `linked_persons`; None leaves the events as they are.
    """
    if persons is None:
        return events
    return replace(events, user=persons[events.user]).select(person_order(events, persons))


def person_order(events: Events, persons: Persons) -> npt.NDArray[np.intp]:
    """Returns the rows of events in the order in which `by_person` puts them, `(n,)`."""
    return np.lexsort((events.time, persons[events.user]))


def n_persons(n_users: int, persons: Persons | None) -> int:
    """Returns how many persons so many users are."""
    return n_users if persons is None else int(persons.max(initial=-1)) + 1
