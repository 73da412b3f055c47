"""Statements as Markdown and as one HTML page, and the tables of `fedprofile privacy`.

The page loads nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console
from rich.table import Table

from shared.privacy.accounting.roster_bounds import RosterBounds
from shared.privacy.ledger.reporting.people import (
    GroupSpending,
    MultiShopSpending,
    composition_text,
    group_text,
)
from shared.privacy.ledger.reporting.planner import PlanForecast
from shared.privacy.ledger.reporting.renewals import MEANING, renewals_text
from shared.privacy.ledger.reporting.shared_noise import shared_noise_text
from shared.privacy.ledger.reporting.statement import FLOATING_POINT, of_the_sum
from shared.privacy.ledger.reporting.status import BudgetStatus
from shared.privacy.ledger.reporting.verify import Verdict

Statement = Mapping[str, Any]
RENEWAL_COLUMNS = ["Time", "Line", "Spent before", "Limit before", "New limit", "Reason"]
OWNER_WORD = "On the owner's word alone"
"""Begins the line that says what no other party's signature vouches for."""
RUN_COLUMNS = ["Time", "Run", "Planning", "Released", "Rounds", "Epsilon after", "Recorded"]


def to_markdown(statements: Sequence[Statement]) -> str:
    """Writes statements of shops, from `report.statement`, as Markdown."""
    return "\n".join(_one_markdown(statement) for statement in statements)


def to_html(statements: Sequence[Statement]) -> str:
    """Writes statements of shops, from `report.statement`, as a page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(plain=plain, cells=run_row, renewal_cells=renewal_row)
    page = environment.get_template("statement.html")
    columns = {"columns": RUN_COLUMNS, "renewal_columns": RENEWAL_COLUMNS}
    return page.render(statements=statements, owner_word=OWNER_WORD, **columns)


def plain(value: object) -> str:
    """Writes a value of a statement as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "; ".join(plain(entry) for entry in value)
    return str(value)


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns dotted names and texts of nested values, in order."""
    rows: list[tuple[str, str]] = []
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            rows += flat(entry, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, plain(entry)))
    return rows


def _one_markdown(statement: Statement) -> str:
    verification = statement["verification"]
    verdict = "holds" if verification["ok"] else f"FAILS: {verification['fault']}"
    parts = [
        f"# Privacy statement: {_markdown_cell(statement['shop'])}",
        statement["guarantee"],
        f"The ledger of {verification['lines']} lines {verdict}.",
        *([f"{OWNER_WORD}: {word}."] if (word := verification["owner_word"]) else []),
        "## What is claimed",
        _markdown_table(["Question", "Answer"], flat(statement["nist_sp_800_226"])),
        "## Runs",
        _markdown_table(RUN_COLUMNS, [run_row(run) for run in statement["runs"]]),
        *_markdown_renewals(statement["renewals"]),
        "## Record for the public registry of deployments",
        _markdown_table(["Field", "Value"], flat(statement["registry"])),
        "## Verification",
        *([f"- {verification['sums']}"] if verification["sums"] else []),
        *(f"- checked: {text}" for text in verification["checked"]),
        *(f"- not checked: {text}" for text in verification["unchecked"]),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_renewals(renewals: Sequence[Mapping[str, Any]]) -> list[str]:
    if not renewals:
        return []
    rows = [renewal_row(renewal) for renewal in renewals]
    return ["## Renewals of the budget", _markdown_table(RENEWAL_COLUMNS, rows)]


def renewal_row(renewal: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns a renewal's cells in the order of `RENEWAL_COLUMNS`."""
    return (
        renewal["time"],
        str(renewal["line"]),
        f"{renewal['spent_before']:.4f}",
        f"{renewal['limit_before']:g}",
        f"{renewal['limit']:g}",
        renewal["reason"],
    )


def run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns a run's cells in the order of `RUN_COLUMNS`."""
    released = "; ".join(
        f"{m['name']} {m['steps']} x noise {m['noise_multiplier']:g}, rate {m['sample_rate']:g}, "
        f"norm {m['max_norm']:g}{of_the_sum(m)}"
        for m in run["mechanisms"]
    )
    return (
        run["time"],
        run["run"],
        run["planning"],
        released,
        str(run["rounds"]),
        f"{run['epsilon_after']:.4f}",
        f"{run['epsilon_recorded']:.4f}",
    )


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(_markdown_cell(cell) for cell in line) + " |" for line in lines
    )


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def print_plan(forecast: PlanForecast) -> None:
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
    _print_step(console, forecast)
    if forecast.bounds is not None:
        _print_guarantees(console, forecast, forecast.bounds)
    if forecast.runs_left is not None:
        verdict = "fits" if forecast.fits else "does not fit"
        adaptive = "fits" if forecast.fits_adaptive else "does not fit"
        console.print(
            f"Ledger: epsilon {forecast.ledger_epsilon:.4g} spent; about {forecast.runs_left} "
            f"such runs are left. This plan {verdict} if it was fixed before any earlier "
            f"result, and {adaptive} as an adaptive run"
        )


def _print_step(console: Console, forecast: PlanForecast) -> None:
    step = forecast.noise_and_signal
    if step is not None and step.noise is not None and step.ratio is not None:
        console.print(
            f"One step: noise {step.noise:.4g} (L2, {step.parameters} numbers) against a signal of "
            f"at most {step.signal:.4g}: ratio {step.ratio:.3g}, "
            + _after_averaging(forecast.bounds)
        )


def _after_averaging(bounds: RosterBounds | None) -> str:
    if bounds is None:
        return "divided by the root of the number of shops after averaging"
    # All K shops add a share of which n are enough.
    factor = math.sqrt(bounds.shops / bounds.noise_shops) / bounds.shops
    return f"times {factor:.3g} after averaging over all {bounds.shops} shops"


def _print_guarantees(console: Console, forecast: PlanForecast, bounds: RosterBounds) -> None:
    """Prints the guarantee of the sum, the shop's own, and what lies between."""
    console.print(
        f"Noise is divided by {bounds.noise_shops} of {bounds.shops} shops: at least "
        f"{bounds.threshold} are in each sum, and up to {bounds.max_colluding} may help the server"
    )
    table = _table("Shops that help the server", "Epsilon")
    for row in forecast.collusion:
        which = {
            bounds.max_colluding: f"up to {row.shops}: of the sum",
            bounds.shops - 1: f"{row.shops}, all others: the shop's own",
        }.get(row.shops, str(row.shops))
        table.add_row(which, "no bound" if row.epsilon is None else f"{row.epsilon:.4g}")
    console.print(table)


def print_status(
    accounts: Sequence[BudgetStatus],
    composition: MultiShopSpending | None,
    people: Mapping[str, Sequence[GroupSpending]] | None = None,
) -> None:
    """Prints one row a shop, what people with several ids pay, and the composition.

    Args:
        accounts: Of the shops.
        composition: Of several shops, if it was asked for.
        people: From `people.group_table`, by shop; None prints nothing of it.
    """
    console = Console(highlight=False)
    columns = (
        "Shop",
        "Spent",
        "Limit",
        "Left",
        "%",
        "Delta",
        "Runs",
        "Releases",
        "Paid rounds",
        "Runs left",
    )
    window = any(account.window_days for account in accounts)
    renewed = any(account.renewals for account in accounts)
    total = ["In all"] if renewed else []
    table = _table(*columns, *total, *(["Window"] if window else []), "Note")
    for account in accounts:
        cells = [
            account.shop,
            f"{account.budget_epsilon:.4g}",
            f"{account.limit:g}",
            f"{account.remaining:.4g}",
            f"{account.percent:.0f}",
            f"{account.delta:g}",
            str(account.runs),
            str(account.releases),
            str(account.rounds_reserved),
            "-" if account.runs_left is None else f"about {account.runs_left}",
        ]
        cells += [f"{account.epsilon:.4g}"] if renewed else []
        table.add_row(*cells, *([_window(account)] if window else []), _note(account))
    console.print(table)
    for account in accounts:
        if account.fault:
            console.print(f"{account.shop}: FAILS: {account.fault}", markup=False, soft_wrap=True)
    _print_remarks(console, accounts)
    alike: dict[str, list[str]] = {}
    for shop, spending in (people or {}).items():
        alike.setdefault(group_text(spending), []).append(shop)
    for text, shops in alike.items():
        if text:
            console.print(f"{', '.join(shops)}: {text}", markup=False)
    if composition is not None:
        console.print(composition_text(composition), markup=False)


def _print_remarks(console: Console, accounts: Sequence[BudgetStatus]) -> None:
    for account in accounts:
        for text in (renewals_text(account), _shared_remark(account), _floating_remark(account)):
            if text:
                console.print(f"{account.shop}: {text}", markup=False)
    if any(account.renewals for account in accounts):
        console.print(MEANING, markup=False)


def _shared_remark(account: BudgetStatus) -> str:
    return "" if account.shared_noise is None else shared_noise_text(account.shared_noise)


def _floating_remark(account: BudgetStatus) -> str:
    return FLOATING_POINT if account.floating_point else ""


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Prints a line a ledger, the first fault of each, and what could not be checked."""
    console = Console(highlight=False, soft_wrap=True)
    for verdict in verdicts:
        word = "holds" if verdict.ok else "FAILS"
        console.print(f"{verdict.shop}: {word}, {verdict.lines} lines", markup=False)
        if verdict.renewals:
            console.print(f"  {verdict.renewals}", markup=False)
        for text in (verdict.shared_noise, verdict.sums):
            if text:
                console.print(f"  {text}", markup=False)
        if verdict.fault:
            console.print(f"  {verdict.ledger}: {verdict.fault}", markup=False)
        elif verdict.owner_word:
            console.print(f"  {OWNER_WORD.lower()}: {verdict.owner_word}", markup=False)
    missing = dict.fromkeys(text for verdict in verdicts for text in verdict.unchecked)
    for text in missing:
        console.print(f"not checked: {text}", markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        left = number == 0 or column in ("Note", "Window")
        table.add_column(column, justify="left" if left else "right")
    return table


def _window(account: BudgetStatus) -> str:
    if account.window_days is None:
        return "-"
    return f"{account.window_epsilon:.4g} of {account.window_limit:g} in {account.window_days:g} d"


def _note(account: BudgetStatus) -> str:
    notes = ["FAILS"] if account.fault else []
    if account.alerts:
        notes.append(f"over {account.alerts[-1]}%")
    if account.simulation:
        notes.append("simulation")
    if account.shared_noise is not None:
        notes.append("shared noise")
    if account.planning in ("adaptive", "both"):
        notes.append("adaptive")
    if account.uncommitted:
        notes.append(f"{account.uncommitted} spent without release")
    if account.renewals:
        notes.append("renewed")
    if account.restored:
        notes.append("restored")
    if account.torn:
        notes.append("torn last line")
    return ", ".join(notes)
