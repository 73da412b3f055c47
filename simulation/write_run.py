"""Writes what one variant of a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from shared.model.adapter_saving import save_adapter
from shared.privacy.ledger.finish import finish_run
from shared.storage import writing
from simulation.build_report import MODEL_PREFIXES, method_names
from simulation.evaluation.evaluate import EvaluationResult, ranking_table, user_table
from simulation.preparation import Prepared
from simulation.report.html import write_html
from simulation.report.schema import Report
from simulation.report.tensorboard import write_events
from simulation.report.write import write_file
from simulation.training import Trained

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
        finish_run(
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
    files["training curves"] = "tensorboard/"
    report = report.model_copy(update={"files": files})
    write_events(report, path / "tensorboard")
    write_html(report, path / "report.html")
    write_file(path / REPORT, report.to_json().encode())
    return report


def _write_table(path: Path, table: pd.DataFrame, names: dict[str, str]) -> None:
    """Writes the rows of the variant's methods, under the names of a report."""
    other = table["method"].str.startswith(MODEL_PREFIXES) & ~table["method"].isin(names)
    kept = table[~other]
    kept = kept.assign(method=kept["method"].replace(names))
    with writing(path):
        kept.to_parquet(path, index=False)
