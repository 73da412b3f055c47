"""What a shop knows up to a time: the only thing that features may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shared.interactions.events import Catalogue, Events

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

NO_CODES: Codes = np.zeros(0, dtype=np.int64)
NO_TIMES: Floats = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Campaigns:
    """Whom a shop wrote to, and who answered; a campaign may be sent to many users.

    Attributes:
        user: User of each sending, `(n,)`.
        campaign: Campaign of each sending, `(n,)`.
        kind: Kind of the campaign (such as its size), a small code, `(n,)`.
        time: When it was sent, `(n,)`.
        answered: When the user first answered, infinite where never, `(n,)`.
    """

    user: Codes = field(default_factory=lambda: NO_CODES)
    campaign: Codes = field(default_factory=lambda: NO_CODES)
    kind: Codes = field(default_factory=lambda: NO_CODES)
    time: Floats = field(default_factory=lambda: NO_TIMES)
    answered: Floats = field(default_factory=lambda: NO_TIMES)

    def __len__(self) -> int:
        return len(self.user)

    def before(self, time: float) -> Campaigns:
        """Returns what was sent up to a time; an answer that came after is not known yet.

        What is sent at that very time counts: whom to write to is decided before.
        """
        rows = self.time <= time
        answered = np.where(self.answered < time, self.answered, np.inf)
        return Campaigns(
            self.user[rows], self.campaign[rows], self.kind[rows], self.time[rows], answered[rows]
        )


@dataclass(frozen=True, eq=False)
class Promotions:
    """In how many stores an item stood out in a week; weeks without are left out.

    Attributes:
        item: `(n,)`.
        time: First day of the week, `(n,)`.
        display: Stores with the item on a display, `(n,)`.
        mailer: Stores with the item in their mailer, `(n,)`.
    """

    item: Codes = field(default_factory=lambda: NO_CODES)
    time: Floats = field(default_factory=lambda: NO_TIMES)
    display: Floats = field(default_factory=lambda: NO_TIMES)
    mailer: Floats = field(default_factory=lambda: NO_TIMES)

    def __len__(self) -> int:
        return len(self.item)

    def before(self, time: float) -> Promotions:
        """Returns those of weeks that began before a time."""
        rows = self.time < time
        return Promotions(self.item[rows], self.time[rows], self.display[rows], self.mailer[rows])


@dataclass(frozen=True, eq=False)
class History:
    """One shop's data up to `end`.

    Attributes:
        events: Sorted by user and time, all before `end`.
        n_users: Users of the shop.
        category: Category of each item, `(n_items,)`.
        category_names: Their public names.
        end: Nothing at or after it is known, days since 1970.
        campaigns: Empty where the shop keeps none.
        promotions: Empty where the shop keeps none.
    """

    events: Events
    n_users: int
    category: Codes
    category_names: Sequence[str]
    end: float
    campaigns: Campaigns = field(default_factory=Campaigns)
    promotions: Promotions = field(default_factory=Promotions)

    def before(self, time: float) -> History:
        """Returns the history as it was known at a time."""
        return replace(
            self,
            events=self.events.select(self.events.time < time),
            campaigns=self.campaigns.before(time),
            promotions=self.promotions.before(time),
            end=min(time, self.end),
        )

    def of_users(self, users: Codes) -> History:
        """Returns the history of some users, who get codes in the order of theirs here.

        Args:
            users: Their codes, distinct, `(n,)`.
        """
        code = np.full(self.n_users, -1)
        code[users] = np.arange(len(users))
        events = self.events.select(code[self.events.user] >= 0)
        columns = vars(events) | {"user": code[events.user]}
        sent = self.campaigns
        rows = code[sent.user] >= 0
        sendings = Campaigns(
            code[sent.user[rows]],
            sent.campaign[rows],
            sent.kind[rows],
            sent.time[rows],
            sent.answered[rows],
        )
        return replace(self, events=Events.build(**columns), n_users=len(users), campaigns=sendings)

    def planned(self) -> History:
        """Returns the history with the last campaign sent again to every user at its end."""
        sent, n = self.campaigns, self.n_users
        if not len(sent):
            return self
        new = {
            "user": np.arange(n),
            "campaign": np.full(n, int(sent.campaign.max()) + 1),
            "kind": np.full(n, int(sent.kind[np.argmax(sent.time)])),
            "time": np.full(n, self.end),
            "answered": np.full(n, np.inf),
        }
        columns = {name: np.concatenate([getattr(sent, name), new[name]]) for name in new}
        return replace(self, campaigns=Campaigns(**columns))


def session_of(events: Events) -> Codes:
    """Returns the session of each event, `(n,)`; an event without one has a number of its own."""
    alone = -1 - np.arange(len(events), dtype=np.int64)
    return np.where(events.session < 0, alone, events.session)


def spend_of(events: Events) -> Floats:
    """Returns what each event cost, `(n,)`, in the currency of the data; 0 without a price."""
    return (events.quantity * np.nan_to_num(events.price)).astype(np.float64)


def item_categories(catalogue: Catalogue) -> tuple[Codes, list[str]]:
    """Returns the category of each item and the categories' names; one for all without any."""
    if "category" not in catalogue.attributes:
        return np.zeros(len(catalogue), dtype=np.int64), ["all"]
    names, codes = np.unique(
        catalogue.attributes["category"].astype(str).to_numpy(dtype=object), return_inverse=True
    )
    return codes.astype(np.int64), [str(name) for name in names]
