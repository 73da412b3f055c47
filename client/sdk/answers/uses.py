"""Answers of uses: what else the shop's own history tells, of one user and as lists."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from client.sdk.answers.answer import Answer


class Use(Answer):
    """A question beside what to recommend, and how far its answers are."""

    name: str = Field(examples=["churn-4w"])
    """The use."""
    purpose: str = Field(examples=["who will not come back"])
    """What it is for."""
    unit: str = Field(examples=["user"])
    """Whom it is asked about."""
    rule: str = Field(examples=["days since the last purchase"])
    """The rule without learning."""
    needs: list[str] = Field(examples=[["dates"]])
    """What the data must have."""
    state: str = Field(examples=["ready"])
    """`not asked yet`, `skipped` or `ready`."""
    reason: str | None = Field(examples=[None])
    """Why it is skipped, or why the rule answers."""
    by: str | None = Field(examples=["gradient boosting"])
    """What answers; null before it is ready."""
    examples: int | None = Field(examples=[500])
    """Examples that it was trained on."""
    asked_at: str | None = Field(examples=["2026-05-31T12:00:00+00:00"])
    """Time up to which the history was known."""


class UseOverview(Answer):
    """All uses."""

    uses: list[Use]
    """In the order of the pages."""


class UseAnswer(Answer):
    """One answer; a further field, named by the use, says what it is about."""

    model_config = ConfigDict(extra="allow")

    user_id: str | None = Field(default=None, examples=["u1"])
    """The user; absent where categories are asked about."""
    category: str | None = None
    """The category; absent where users are asked about."""
    rank: int = Field(examples=[1])
    """Place among all answers, from 1."""
    score: float | None = Field(examples=[0.8])
    """For the order alone."""
    probability: float | None = Field(examples=[0.6])
    """Where the shop's answers tell it."""
    low: float | None = None
    """Lower end, where the use has a spread."""
    high: float | None = None
    """Upper end, where the use has a spread."""
    reasons: list[str] = Field(examples=[["high days since last raises it"]])
    """What moves the score."""


class UseHead(Answer):
    """What answered a use."""

    by: str = Field(examples=["gradient boosting"])
    """What answers."""
    examples: int = Field(examples=[500])
    """Examples that it was trained on."""
    asked_at: str = Field(examples=["2026-05-31T12:00:00+00:00"])
    """Time up to which the history was known."""
    of: int = Field(examples=[100])
    """Answers in all."""
    calibrated: bool
    """Whether probabilities are told."""


class UserUse(UseHead):
    """What a use tells of a user."""

    answers: list[UseAnswer]
    """Best first."""


class UserUses(Answer):
    """What every use tells of a user."""

    user_id: str = Field(examples=["u1"])
    """The user."""
    reason: str | None = Field(examples=[None])
    """Why nothing is told."""
    uses: dict[str, UserUse] = Field(examples=[{}])
    """By name."""


class UseList(UseHead):
    """A use as a list to act on."""

    use: str = Field(examples=["churn-4w"])
    """The use."""
    rows: list[UseAnswer]
    """Best first."""
