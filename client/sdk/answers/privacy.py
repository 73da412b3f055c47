"""Answers about the privacy ledger: what is spent and left, and whether it verifies."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from client.sdk.answers.answer import Answer


class BudgetAccount(Answer):
    """One shop's account."""

    shop: str = Field(examples=["north"])
    """The shop."""
    epsilon: float = Field(examples=[2.114])
    """Of everything reserved since the genesis; with `delta`, the guarantee."""
    delta: float = Field(examples=[1e-5])
    """Lifetime delta."""
    limit: float = Field(examples=[8.0])
    """Epsilon that may be reserved since the last renewal."""
    remaining: float = Field(examples=[5.886])
    """Limit less `budget_epsilon`."""
    percent: float = Field(examples=[26.4])
    """`budget_epsilon` in percent of the limit."""
    alerts: list[int] = Field(examples=[[]])
    """Of 50, 80 and 95 percent, those that are reached."""
    accountant: str = Field(examples=["exact Gaussian (Balle and Wang 2018, dp-accounting)"])
    """Library and method."""
    planning: str = Field(examples=["planned"])
    """`planned`, `adaptive`, `both` or `none`."""
    runs: int
    """Runs with a reservation."""
    releases: int
    """Releases committed."""
    uncommitted: int = Field(examples=[0])
    """Rounds reserved and never committed."""
    rounds_reserved: int = Field(examples=[0])
    """Rounds that are paid for and not yet drawn."""
    rounds_left: int | None = Field(examples=[39])
    """About how many more rounds of the last kind fit into what remains."""
    runs_left: int | None
    """About how many more runs like the last one fit into what remains."""
    window_days: float | None = Field(examples=[None])
    """Length of the window."""
    window_epsilon: float | None = Field(examples=[None])
    """Spent in the window that ends now."""
    window_limit: float | None = Field(examples=[None])
    """Limit of a window."""
    last: str = Field(examples=["2026-03-01T12:00:16+00:00"])
    """Time of the last line."""
    simulation: bool = Field(examples=[False])
    """Whether any noise came from a seed, which protects nobody."""
    torn: bool = Field(examples=[False])
    """Whether the file ends in a torn line."""
    shared_by: int = Field(examples=[1])
    """Most shops that shared the noise of a release."""
    floating_point: bool = Field(examples=[False])
    """Whether anything was released in floating point."""
    restored: int = Field(examples=[0])
    """Restorations from a backup."""
    budget_epsilon: float = Field(examples=[2.114])
    """Reserved since the last renewal: what counts against the limit."""
    renewals: int = Field(examples=[0])
    """Renewals of the budget."""
    fault: str = Field(examples=[""])
    """The first limit that was passed, in words; "" where there is none."""
    shared_noise: dict[str, Any] | None = Field(examples=[None])
    """Both guarantees where noise was shared, and what they rest on."""


class LedgerRun(Answer):
    """What one run has reserved."""

    run: str = Field(examples=["r1"])
    """The run."""
    time: str = Field(examples=["2026-03-01T12:00:02+00:00"])
    """When."""
    planning: str = Field(examples=["planned"])
    """`planned` or `adaptive`."""
    epsilon_after: float
    """Epsilon of all reserved up to here."""
    epsilon_cost: float
    """What this run added."""
    rounds: int
    """Rounds drawn."""


class LedgerRound(Answer):
    """What one round has cost."""

    run: str = Field(examples=["r1"])
    """The run."""
    round: int
    """Its number."""
    mechanism: str = Field(examples=["dp-sgd"])
    """The mechanism."""
    noise_multiplier: float = Field(examples=[4.0])
    """Standard deviation of the noise in units of one user's bound."""
    sample_rate: float = Field(examples=[1.0])
    """Chance of a user to take part."""
    released: bool
    """Whether it left the shop."""
    epsilon_after: float | None
    """Epsilon of all rounds up to here; null with adaptive releases."""
    epsilon_cost: float | None
    """What this round added."""


class PrivacyAccount(Answer):
    """What privacy the shop has spent and what is left.

    Without a ledger `configured` is false and `remedy` says how to show one; the others are absent.
    """

    configured: bool
    """Whether the node knows the shop's ledger."""
    remedy: str | None = None
    """How to make it known."""
    ledger: str | None = Field(default=None, examples=["north.jsonl"])
    """Name of the file."""
    lines: int | None = Field(default=None, examples=[12])
    """Lines of the ledger."""
    status: BudgetAccount | None = None
    """The account."""
    guarantee: str | None = None
    """In words."""
    unit: str | None = None
    """The privacy unit."""
    adjacency: str | None = None
    """Which data sets are neighbours."""
    runs: list[LedgerRun] | None = None
    """All runs."""
    rounds: list[LedgerRound] | None = None
    """The latest rounds."""
    rounds_in_all: int | None = None
    """Rounds in all."""


class LedgerVerdict(Answer):
    """Whether the ledger verifies, what was checked and what could not be."""

    configured: bool
    """Whether the node knows the shop's ledger."""
    remedy: str | None = None
    """How to make it known."""
    ledger: str | None = Field(default=None, examples=["north.jsonl"])
    """Name of the file."""
    shop: str | None = Field(default=None, examples=["north"])
    """The shop."""
    ok: bool | None = Field(default=None, examples=[True])
    """Whether nothing is wrong."""
    lines: int | None = Field(default=None, examples=[12])
    """Lines of the ledger."""
    fault: str | None = None
    """The first thing that is wrong; "" for nothing."""
    checked: list[str] | None = None
    """What was compared with what."""
    unchecked: list[str] | None = None
    """What could not be, for want of evidence."""
    renewals: str | None = None
    """Renewals of the budget, in words."""
    server_key: str | None = None
    """The server's key that was pinned."""
    signed: int | None = None
    """Last line that this key signed."""
    owner_word: str | None = None
    """Which claims rest on the owner's word alone."""
    sums: str | None = None
    """Rosters, sets and openings of sums over shops, in words."""
    shared_noise: str | None = None
    """Both guarantees where noise was shared, in words."""
