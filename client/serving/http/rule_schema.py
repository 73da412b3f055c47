"""What callers send of a rule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from client.serving.http.schemas import Body, End, Id, Moment, Name, stored_values
from client.serving.ranking.rules import SURFACES, Rule, Surface

MAX_PLACE = 200
"""Places that an item can be pinned to."""


class RuleIn(Body):
    """A rule, or with dates a campaign."""

    effect: Literal["pin", "boost", "bury", "cap"] = Field(examples=["boost"])
    """`pin` puts items at places, `boost` and `bury` move them, `cap` bounds a category."""
    surfaces: Annotated[list[Surface], Field(min_length=1, max_length=len(SURFACES))] = Field(
        examples=[["for-you", "session"]]
    )
    """Where it counts."""
    items: Annotated[tuple[Id, ...], Field(max_length=1000)] = ()
    """Ids that it is about, pinned in this order."""
    category: Name = Field(default="", examples=["coffee"])
    """All items of it instead; for a cap, the one that is bounded, each where none is named."""
    label: Name = ""
    """All items with it instead."""
    position: Annotated[int, Field(ge=1, le=MAX_PLACE)] = 1
    """Place of the first pinned item; the others follow."""
    strength: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0
    """Of boost and bury, in standard deviations of the scores."""
    most: Annotated[int, Field(ge=0, le=200)] = 1
    """Items of a category that a cap lets through."""
    valid_from: Moment | None = None
    """From when on it counts."""
    valid_to: End | None = None
    """Until when it counts; a date alone to its end."""

    @model_validator(mode="after")
    def _is_about_something(self) -> RuleIn:
        sets = [name for name in ("items", "category", "label") if getattr(self, name)]
        if self.effect == "pin" and sets != ["items"]:
            raise ValueError("a pin needs items, and neither category nor label")
        if self.effect == "cap" and sets not in ([], ["category"]):
            raise ValueError("a cap is about a category, or each where none is named")
        if self.effect in ("boost", "bury") and len(sets) != 1:
            raise ValueError(f"{self.effect} needs one of items, category and label")
        foreign = {"pin": {"strength", "most"}, "cap": {"strength", "position"}}.get(
            self.effect, {"position", "most"}
        )
        if extra := sorted(foreign & self.model_fields_set):
            raise ValueError(f"{extra[0]} says nothing of {self.effect}; leave it out")
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        return self

    def record(self, name: str) -> Rule:
        """Returns it as it is stored."""
        values = stored_values(self.model_dump())
        lists = {key: tuple(dict.fromkeys(values[key])) for key in ("surfaces", "items")}
        return Rule(name=name, **{**values, **lists})
