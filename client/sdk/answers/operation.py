"""Answers for operators: health, what is loaded, whether it helps, denied items, sessions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from client.sdk.answers.answer import Answer


class Live(Answer):
    """That the process answers."""

    live: bool
    """Always true."""


class Ready(Answer):
    """Whether recommendations can be given."""

    ready: bool
    """False where the database does not answer."""
    uptime_seconds: float | None = Field(default=None, examples=[3600.5])
    """Since the start, where it is ready."""
    reason: str | None = None
    """Why it is not ready."""


class NextAdapter(Answer):
    """How far the next adapter is."""

    state: str = Field(examples=["none"])
    """`none`, `encoding`, `learning`, `in place` or `refused`."""
    adapter: str = Field(examples=[""])
    """Its folder's name."""
    done: int = Field(examples=[0])
    """Items encoded."""
    total: int = Field(examples=[0])
    """Items in all."""
    problem: str = Field(examples=[""])
    """Why it was refused, "" for nothing."""


class SurfaceWeights(Answer):
    """Fusion weights of a surface and what they are worth."""

    local: dict[str, float] = Field(examples=[{"ease": 0.2, "text-map": 0.8}])
    """Weights of the shop's own signals."""
    fused: dict[str, float] = Field(examples=[{"ease": 0.2, "text-map": 0.6, "global": 0.2}])
    """Weights with the federation's signals among them."""
    queries: int
    """Validation queries that they were learned on; 0 for public weights."""
    usual: float
    """Distinct items of the shop's users on average."""
    ndcg: dict[str, float] = Field(examples=[{"local": 0.11, "fused": 0.12}])
    """NDCG@10 on them, by signal, and of `local` and `fused`."""


class Status(Answer):
    """What is loaded and how it is fused."""

    adapter: str | None = Field(examples=["adapter-r1"])
    """The served adapter; null for none."""
    releases: dict[str, int] = Field(examples=[{"adapter": 2}])
    """Number of the served release by kind."""
    own_part_of_pairs: str | None = Field(examples=["recorded"])
    """Where the shop's own part of the pair sums comes from; null without pair sums."""
    next_adapter: NextAdapter
    """How far the next adapter is."""
    base_hash: str = Field(examples=["2fd0bf16d2ce363b"])
    """Name of the base."""
    time_unit: Literal["days", "order"]
    """Whether events have dates or ranks."""
    target_types: list[str] = Field(examples=[["purchase", "rating", "review"]])
    """Event types that say that a user has an item."""
    items: int
    """Items of the catalogue."""
    users: int
    """Users."""
    events: int
    """Events."""
    events_since_refresh: int = Field(examples=[0])
    """Events that co-purchase does not know yet."""
    weights: dict[str, SurfaceWeights] = Field(
        examples=[
            {
                "for-you": {
                    "local": {"ease": 1.0},
                    "fused": {"ease": 0.8, "global": 0.2},
                    "queries": 500,
                    "usual": 7.5,
                    "ndcg": {"local": 0.11, "fused": 0.12},
                }
            }
        ]
    )
    """Fusion weights by surface."""


class ReloadedAdapter(Answer):
    """The adapter that is served now."""

    adapter: str = Field(examples=["adapter-r2"])
    """Its name."""


class Interval(Answer):
    """A value with its 95% interval."""

    value: float = Field(examples=[0.05])
    """The estimate."""
    low: float = Field(examples=[0.04])
    """Lower end."""
    high: float = Field(examples=[0.06])
    """Upper end."""


class OnlineRates(Answer):
    """What became of shown items."""

    impressions: int = Field(examples=[1000])
    """Items shown."""
    clicks: int = Field(examples=[50])
    """Shown items that were clicked."""
    purchases: int = Field(examples=[12])
    """Shown items that were bought."""
    click_rate: Interval | None
    """Clicks by impressions; null without impressions."""
    purchase_rate: Interval | None
    """Purchases by impressions; null without impressions."""


class OnlineSurface(OnlineRates):
    """What became of the items of one surface and variant."""

    surface: str = Field(examples=["for-you"])
    """The occasion."""
    variant: str = Field(examples=["fused"])
    """`fused` or `local`."""
    signals: dict[str, OnlineRates] = Field(examples=[{}])
    """By the signal that added most to the score."""


class Comparison(Answer):
    """How far `fused` lies above `local` on a surface."""

    surface: str = Field(examples=["for-you"])
    """The occasion."""
    click_rate: Interval | None
    """Difference of the click rates."""
    purchase_rate: Interval | None
    """Difference of the purchase rates."""


class OnlineReport(Answer):
    """Impressions, clicks and purchases with their intervals."""

    surfaces: list[OnlineSurface]
    """By surface and variant."""
    comparisons: list[Comparison]
    """Where the A/B switch gives both variants."""


class DeniedItemList(Answer):
    """Items that are shown nowhere."""

    items: list[str] = Field(examples=[["i7"]])
    """Those that were denied over HTTP."""
    fixed: list[str] = Field(examples=[[]])
    """Those of `--deny`, until the node starts anew."""


class PageSession(Answer):
    """A session of the page; its secret is in the cookie alone."""

    role: Literal["read", "write", "admin"] | None
    """Of the key; null where the session has ended."""
    seconds: int | None = Field(default=None, examples=[43200])
    """Until it ends."""
