"""Answers about the shop's rules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from client.sdk.answers.answer import Answer


class ShopRule(Answer):
    """A rule, or with dates a campaign; fields that say nothing of its effect are absent."""

    name: str = Field(examples=["spring"])
    """The rule."""
    effect: Literal["pin", "boost", "bury", "cap"] = Field(examples=["boost"])
    """What it does."""
    surfaces: list[str] = Field(examples=[["for-you", "session"]])
    """Where it counts."""
    items: list[str] | None = None
    """Ids that it is about."""
    category: str | None = Field(default=None, examples=["coffee"])
    """All items of it instead."""
    label: str | None = None
    """All items with it instead."""
    position: int | None = None
    """Place of the first pinned item."""
    strength: float | None = Field(default=None, examples=[1.0])
    """Of boost and bury, in standard deviations of the scores."""
    most: int | None = None
    """Items of a category that a cap lets through."""
    valid_from: str | None = Field(examples=[None])
    """From when on it counts."""
    valid_to: str | None = Field(examples=[None])
    """Until when it counts."""
    active: bool
    """Whether it counts now."""


class RuleList(Answer):
    """All rules, in the order in which they were made."""

    rules: list[ShopRule]
    """All of them."""
