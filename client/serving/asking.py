"""What a caller wants and what the engine answers."""

from __future__ import annotations

from dataclasses import dataclass

from client.serving.histories import UserEvents
from client.serving.ranking import Ranking
from client.serving.signals import Context


@dataclass(frozen=True)
class Ask:
    """What a caller wants.

    Attributes:
        surface: `for-you`, `discover`, `buy-again` or `session`.
        n: Items.
        offset: Items of the ranking to leave out first.
        category: Only items of this category; None for all.
        exclude: Ids never to show.
        diversity: 0 to 1; see `ranking.diversify`.
        max_per_category: Items of one category at most; None for any number.
        variant: `fused`, or `local` for the shop's own signals alone.
    """

    surface: str
    n: int = 10
    offset: int = 0
    category: str | None = None
    exclude: tuple[str, ...] = ()
    diversity: float = 0.0
    max_per_category: int | None = None
    variant: str = "fused"

    @property
    def mix(self) -> str:
        """Name of the fusion weights that the surface takes."""
        return "for-you" if self.surface == "buy-again" else self.surface


@dataclass(frozen=True, eq=False)
class Answer:
    """A ranking and what it was made from.

    Attributes:
        ranking: The items.
        context: The context of the query.
        events: Its events.
    """

    ranking: Ranking
    context: Context
    events: UserEvents
