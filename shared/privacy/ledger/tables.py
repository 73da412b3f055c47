"""Printed tables of the `fedprofile privacy` commands."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from shared.privacy.accounting import TRUST_SHARED
from shared.privacy.ledger.planner import Forecast
from shared.privacy.ledger.status import Composition, Status
from shared.privacy.ledger.verify import Verdict


def print_plan(forecast: Forecast) -> None:
    """Prints noise, what-if table and rounds left."""
    console = Console(highlight=False)
    console.print(
        f"epsilon {forecast.epsilon:.4g} (check {forecast.epsilon_check:.4g}) at delta "
        f"{forecast.delta:g} for {forecast.rounds} rounds and {forecast.n_users} users"
    )
    together = ", of the sum of all shops" if forecast.shared else ""
    for m in forecast.mechanisms:
        console.print(
            f"  {m.name}: noise multiplier {m.noise_multiplier:g}, {m.steps} steps, sample rate "
            f"{m.sample_rate:g}, norm {m.max_norm:g}{together}"
        )
    table = _table("Rounds", "Epsilon with this noise", f"Noise for epsilon {forecast.epsilon:.3g}")
    for row in forecast.what_if:
        cells = (row["epsilon"], row["noise_multiplier"])
        texts = ("out of reach" if cell is None else f"{cell:.4g}" for cell in cells)
        table.add_row(str(row["rounds"]), *texts)
    if forecast.what_if:
        console.print(table)
    step = forecast.noise_and_signal
    if step is not None and step.noise is not None and step.ratio is not None:
        console.print(
            f"One step: noise {step.noise:.4g} (L2, {step.parameters} numbers) against a signal of "
            f"at most {step.signal:.4g}: ratio {step.ratio:.3g}, divided by the root of the number "
            "of shops after averaging"
        )
    if forecast.rounds_left is not None:
        verdict = "fits" if forecast.fits else "does not fit"
        adaptive = "fits" if forecast.fits_adaptive else "does not fit"
        console.print(
            f"Ledger: epsilon {forecast.ledger_epsilon:.4g} spent; about {forecast.rounds_left} "
            f"such rounds are left. This plan {verdict} if it was fixed before any earlier "
            f"result, and {adaptive} as an adaptive run"
        )


def print_status(accounts: Sequence[Status], composition: Composition | None) -> None:
    """Prints one row a shop and the composition, if asked for."""
    console = Console(highlight=False)
    columns = ("Shop", "Spent", "Limit", "Left", "%", "Delta", "Runs", "Releases", "Rounds left")
    window = any(account.window_days for account in accounts)
    table = _table(*columns, *(["Window"] if window else []), "Note")
    for account in accounts:
        cells = [
            account.shop,
            f"{account.epsilon:.4g}",
            f"{account.limit:g}",
            f"{account.remaining:.4g}",
            f"{account.percent:.0f}",
            f"{account.delta:g}",
            str(account.runs),
            str(account.releases),
            "-" if account.rounds_left is None else _rounds(account),
        ]
        table.add_row(*cells, *([_window(account)] if window else []), _note(account))
    console.print(table)
    for account in accounts:
        if account.shared_by > 1:
            console.print(
                f"{account.shop}: noise was shared by up to {account.shared_by} shops; the account "
                f"{TRUST_SHARED}"
            )
    if composition is not None:
        console.print(
            f"A user of {', '.join(composition.shops)}: epsilon {composition.epsilon:.4g} at delta "
            f"{composition.delta:g} ({composition.accountant})"
        )


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Prints a line a ledger, the first fault of each, and what could not be checked."""
    console = Console(highlight=False, soft_wrap=True)
    for verdict in verdicts:
        word = "holds" if verdict.ok else "FAILS"
        console.print(f"{verdict.shop}: {word}, {verdict.lines} lines", markup=False)
        if verdict.fault:
            console.print(f"  {verdict.ledger}: {verdict.fault}", markup=False)
    missing = dict.fromkeys(text for verdict in verdicts for text in verdict.unchecked)
    for text in missing:
        console.print(f"not checked: {text}", markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        left = number == 0 or column in ("Note", "Window")
        table.add_column(column, justify="left" if left else "right")
    return table


def _rounds(account: Status) -> str:
    return f"{account.rounds_reserved} paid + about {account.rounds_left}"


def _window(account: Status) -> str:
    if account.window_days is None:
        return "-"
    return f"{account.window_epsilon:.4g} of {account.window_limit:g} in {account.window_days:g} d"


def _note(account: Status) -> str:
    notes = []
    if account.alerts:
        notes.append(f"over {account.alerts[-1]}%")
    if account.simulation:
        notes.append("simulation")
    if account.shared_by > 1:
        notes.append("shared noise")
    if account.planning in ("adaptive", "both"):
        notes.append("adaptive")
    if account.uncommitted:
        notes.append(f"{account.uncommitted} spent without release")
    if account.torn:
        notes.append("torn last line")
    return ", ".join(notes)
