"""Answers that rank: recommendations with their reasons, lists of items, like users."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from client.sdk.answers.answer import Answer


class Carrier(Answer):
    """An item of the context that a signal rests on."""

    item_id: str = Field(examples=["i4"])
    """The item."""
    share: float = Field(examples=[0.62])
    """What it carries of the signal's raw score, above 0 and up to 1."""


class Explanation(Answer):
    """Why an item is recommended."""

    sentence: str = Field(examples=["It is often taken with i4, and it is like i7."])
    """In words."""
    signals: dict[str, float] = Field(examples=[{"item-knn": 1.21, "text": 0.4}])
    """What each signal adds to the score; they sum up to it."""
    because: dict[str, list[Carrier]] = Field(
        examples=[{"item-knn": [{"item_id": "i4", "share": 0.62}]}]
    )
    """Items of the context by signal, most important first."""


class RecommendedItem(Answer):
    """One place of a recommendation."""

    item_id: str = Field(examples=["i1"])
    """The item."""
    score: float = Field(examples=[1.61])
    """Fused score; comparable within one answer alone."""
    explanation: Explanation | None = None
    """Where `explain` was asked for and there was time."""


class SessionRecommendation(Answer):
    """Items for a cart or an anonymous visit."""

    surface: Literal["for-you", "discover", "buy-again", "session"]
    """The occasion."""
    variant: Literal["fused", "local"]
    """`local` for the share of users of the A/B test who get the shop's own signals alone."""
    items: list[RecommendedItem]
    """Best first."""
    next_offset: int | None = Field(default=None, examples=[10])
    """`offset` of the next page; null on the last."""
    complete: bool | None = None
    """Where `explain` was asked for: whether all places are explained."""


class Recommendation(SessionRecommendation):
    """Items for a user."""

    user_id: str = Field(examples=["u1"])
    """The user."""


class ScoredItem(Answer):
    """One place of a list."""

    item_id: str = Field(examples=["i1"])
    """The item."""
    score: float = Field(examples=[0.83])
    """Comparable within one answer alone."""


class ItemRanking(Answer):
    """Items, best first."""

    items: list[ScoredItem]
    """Best first."""


class BasketItem(ScoredItem):
    """One place of a list of items from the same baskets."""

    baskets: int = Field(examples=[12])
    """Baskets that hold both items."""


class BasketRanking(Answer):
    """Items of the same baskets, best first."""

    items: list[BasketItem]
    """Best first."""


class ScoredUser(Answer):
    """One like user."""

    user_id: str = Field(examples=["u7"])
    """The user."""
    score: float = Field(examples=[0.91])
    """Likeness of the profiles, at most 1."""


class UserRanking(Answer):
    """Users of like taste, most alike first."""

    users: list[ScoredUser]
    """Most alike first."""
    complete: bool
    """False while the node still reads the profiles of all users."""
