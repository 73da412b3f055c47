"""Writes what one variant of a run leaves behind.

Adapter, ledgers with the server's signatures, tables, training curves, page and `report.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.model.adapter_saving import save_adapter
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.receipts import Receipt, keep_receipts, sign_last_line
from shared.privacy.ledger.log.shop_files import RELEASES, find_ledgers
from shared.runtime.file_store import write_atomic, writing
from simulation.evaluation.evaluate import EvaluationResult, ranking_table, user_table
from simulation.experiments.single.build import MODEL_PREFIXES, method_names
from simulation.experiments.single.findings import headline
from simulation.experiments.single.schema import Comparison, Methods, Report, Round, RunLabel
from simulation.experiments.single.tables import (
    fusion_table,
    key_figures,
    privacy_table,
    result_table,
    round_table,
    shop_table,
)
from simulation.experiments.single.tensorboard import write_events
from simulation.reporting.page import (
    ACCENT,
    INK,
    MUTED,
    SECOND,
    WARN,
    draw_interval,
    end_labels,
    inline_figure,
    inline_svg,
    render,
)
from simulation.reporting.records import METHOD_NAMES
from simulation.runs.preparation import Prepared
from simulation.runs.training import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PLOTTED = ("popularity", "best-local", "placebo", "global", "fused", "fused-non-private", "pooled")
"""Methods that the plot of a surface shows; the table has them all."""


def method_plot(methods: Methods, *, name: str) -> str:
    """Draws NDCG@10 of the main methods with their intervals, one row each.

    Args:
        methods: Method -> metric -> interval of one surface.
        name: Unique name of the plot in its page.
    """
    shown = [m for m in reversed(PLOTTED) if "ndcg@10" in methods.get(m, {})]
    with inline_figure(height=0.55 + 0.27 * len(shown)) as (figure, axes):
        for row, method in enumerate(shown):
            colour = ACCENT if method == "fused" else INK if method == "best-local" else MUTED
            draw_interval(axes, methods[method]["ndcg@10"], at=row, colour=colour)
        if "best-local" in shown:
            mean = methods["best-local"]["ndcg@10"].mean
            axes.axvline(mean, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        _rows(axes, [METHOD_NAMES[m] for m in shown])
        axes.set_xlabel("NDCG@10")
        return inline_svg(figure, name=name)


def shop_plot(comparison: Comparison, *, name: str) -> str:
    """Draws fused minus best local of each shop, largest gain on top, and of all users."""
    shops = sorted(comparison.shops.items(), key=lambda pair: (pair[1].mean, pair[0]))
    labels = [shop for shop, _ in shops]
    with inline_figure(height=0.75 + 0.165 * (len(shops) + 1)) as (figure, axes):
        for row, (_, gain) in enumerate(shops):
            colour = ACCENT if gain.low > 0 else WARN if gain.high < 0 else MUTED
            draw_interval(axes, gain, at=row, colour=colour)
        draw_interval(axes, comparison.difference, at=len(shops), colour=INK)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        _rows(axes, [*labels, "all users"])
        axes.tick_params(axis="y", labelsize=7.5)
        axes.set_xlabel("NDCG@10, fused minus best local")
        return inline_svg(figure, name=name)


def training_plot(runs: Mapping[RunLabel, Sequence[Round]], *, name: str) -> str:
    """Draws the norm of the aggregated update by round, one line a model."""
    trained = {label: [r for r in rounds if r.round > 0] for label, rounds in runs.items()}
    longest = max(len(rounds) for rounds in trained.values())
    ends: dict[str, tuple[float, str]] = {}
    with inline_figure(height=2.1) as (figure, axes):
        for label, rounds in trained.items():
            colour = ACCENT if label == "private" else SECOND
            norms = [r.update_norm for r in rounds]
            axes.plot([r.round for r in rounds], norms, color=colour, linewidth=1.6)
            ends |= {label: (norms[-1], colour)} if norms else {}
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(1 - 0.03 * longest, longest * 1.3)
        axes.set_xticks(sorted({1 + round(i * (longest - 1) / 7) for i in range(8)}))
        end_labels(axes, ends, at=longest * 1.03, gap_share=0.09)
        axes.set_xlabel("round")
        axes.set_ylabel("norm of the mean update")
        return inline_svg(figure, name=name)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


ReportLike = Report | Mapping[str, Any]
"""A report, or the object that `report.json` holds."""


def write_html(report: ReportLike, path: Path) -> None:
    """Writes the page of one run.

    Raises:
        pydantic.ValidationError: `report` does not have the form of `report.json`.
        RunError: The file cannot be written.
    """
    checked = Report.model_validate(report)
    measured = checked.metrics.surfaces
    text = render(
        "report.html",
        folder=Path(__file__).parent,
        report=checked,
        headline=headline(checked),
        verdicts={s: c.verdict for s, c in checked.comparison.items()},
        key_figures=key_figures(checked),
        tables={s: result_table(methods) for s, methods in measured.items()},
        plots=_plots(checked),
        shop_table=shop_table(checked),
        privacy_table=privacy_table(checked),
        fusion_table=fusion_table(checked),
        round_tables={label: round_table(r) for label, r in checked.training.items()},
        guarantee=checked.guarantee_text.split("\n\n"),
        settings=checked.settings.model_dump(mode="json"),
        environment=checked.environment.model_dump(mode="json"),
        run_facts={
            "seconds": checked.seconds,
            "peak memory, MB": checked.peak_rss_mb,
            "files": checked.files,
        },
    )
    write_atomic(path, text.encode(), durable=False, private=False)


def _plots(report: Report) -> dict[str, Any]:
    compared = {s: c for s, c in report.comparison.items() if c.shops}
    return {
        "methods": {
            s: method_plot(m, name=f"methods-{s}") for s, m in report.metrics.surfaces.items()
        },
        "shops": {s: shop_plot(c, name=f"shops-{s}") for s, c in compared.items()},
        "training": training_plot(report.training, name="training")
        if any(r.round > 0 for rounds in report.training.values() for r in rounds)
        else "",
    }


def countersign(
    ledgers: Path, *, run: str, adapter: Path, folder: Path, server_key: Path
) -> tuple[Receipt, ...]:
    """Records a run's adapter in every ledger of a folder and countersigns the heads.

    For simulations, where one process holds the keys of all shops and of the server. Calling it
    again changes nothing but adds receipts.

    Args:
        ledgers: Folder of ledgers.
        run: Name of the run.
        adapter: The adapter's file, within `folder`.
        folder: The run's folder; `receipts.jsonl` is added to there, and `server.pub` written.
        server_key: The server's key file; made if absent.

    Returns:
        The receipts, which whoever verifies later should hold a copy of.

    Raises:
        PrivacyError: A ledger does not verify, or the disk refused.
    """
    key = load_or_make_key(server_key)
    receipts = []
    for path in find_ledgers(ledgers):
        ledger = Ledger.open(path)
        ledger.record_adapter(run, adapter, folder=folder)
        entry, head = ledger.last_line
        account = ledger.chain.account()
        receipt = sign_last_line(key, shop=ledger.shop, entry=entry, head=head, account=account)
        ledger.countersign(receipt)
        receipts.append(receipt)
    keep_receipts(folder / "receipts.jsonl", receipts)
    write_atomic(folder / SERVER_KEY, key.public.encode() + b"\n", durable=False, private=False)
    return tuple(receipts)


def load_or_make_key(path: Path) -> SigningKey:
    """Reads a key file, or makes it the first time.

    Raises:
        PrivacyError: It cannot be read or written.
    """
    if not path.exists():
        try:
            SigningKey.generate().save(path)
        except PrivacyError:
            if not path.exists():  # else another process made it first
                raise
    return SigningKey.load(path)


SERVER_KEY = "server.pub"
"""The server's public key in a run folder, as `privacy verify --server-key` reads it."""
LEDGERS = "ledgers"
"""Folder of the shops' ledgers in a run folder."""
REPORT = "report.json"
"""The file that is written last, so that it stands for the whole folder."""


def write_run(
    path: Path,
    report: Report,
    prepared: Prepared,
    trained: Trained,
    result: EvaluationResult,
    *,
    labels: tuple[str, str],
) -> Report:
    """Writes adapter, tables, pages and, last, `report.json`.

    Args:
        path: Folder of the variant.
        report: From `build_report`.
        prepared: Data and model.
        trained: The variant's global model.
        result: The evaluation of all variants.
        labels: Names of the variant's model and of the control in `result`.

    Returns:
        The report with the names of its files.

    Raises:
        StorageError: Something cannot be written.
        ModelError: The adapter cannot be written.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    names = method_names(labels, private=trained.guarantee is not None)
    files = {"page": "report.html", "report": REPORT, "adapter": "adapter/"}
    save_adapter(
        path / "adapter",
        trained.result.adapter,
        base=prepared.base,
        settings=prepared.settings.model,
        guarantee=None if trained.guarantee is None else trained.guarantee.to_json(),
        data_shape={"shops": prepared.n_shops, "items": len(prepared.item_vectors)},
        repeatable=True,
        replace=True,
    )
    if trained.guarantee is not None:
        files["ledgers"] = f"{LEDGERS}/"
        countersign(
            path / LEDGERS,
            run=trained.plan.digest()[:16],
            adapter=path / "adapter" / "adapter_model.safetensors",
            folder=path,
            server_key=path / LEDGERS / "keys" / "server.key",
        )
    _write_table(path / "users.parquet", user_table(result, prepared.dataset), names)
    files["metrics of each user"] = "users.parquet"
    if prepared.settings.evaluation.save_rankings:
        _write_table(path / "rankings.parquet", ranking_table(result, prepared.dataset), names)
        files["rankings"] = "rankings.parquet"
    if (path / RELEASES).is_dir():
        files["releases"] = f"{RELEASES}/"
    files["training curves"] = "tensorboard/"
    report = report.model_copy(update={"files": files})
    write_events(report, path / "tensorboard")
    write_html(report, path / "report.html")
    write_atomic(path / REPORT, report.to_json().encode(), durable=False, private=False)
    return report


def _write_table(path: Path, table: pd.DataFrame, names: dict[str, str]) -> None:
    """Writes the rows of the variant's methods, under the names of a report."""
    other = table["method"].str.startswith(MODEL_PREFIXES) & ~table["method"].isin(names)
    reported = table[~other]
    reported = reported.assign(method=reported["method"].replace(names))
    write_atomic(
        path, lambda file: reported.to_parquet(file, index=False), durable=False, private=False
    )
