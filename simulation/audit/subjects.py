"""Builds what is to be audited: from a finished run, or from settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from server.planning import make_plan, mechanisms_of
from shared.config import RunSettings
from shared.errors import DataError, PrivacyError
from shared.model.time_defaults import resolve
from shared.privacy.guarantee import Mechanism
from shared.settings_sources import check_settings
from simulation.audit.records import ShopRecord, records_of_ledgers, records_of_report
from simulation.audit.subject import Subject
from simulation.report.schema import Report

LEDGERS = "ledgers"
"""Folder of a run with one ledger a shop."""


def subject_of_settings(
    settings: RunSettings,
    *,
    mechanisms: tuple[Mechanism, ...] = (),
    records: tuple[ShopRecord, ...] = (),
    device: torch.device | None = None,
) -> Subject:
    """Builds the plan of settings, with noise that was recorded or is found now.

    Args:
        settings: Of the run.
        mechanisms: As recorded; empty to find the noise that meets the settings' epsilon.
        records: What was recorded as spent.
        device: Where training runs; the CPU by default.

    Raises:
        PrivacyError: The settings are without privacy, or epsilon cannot be met.
    """
    if settings.privacy.epsilon is None:
        raise PrivacyError(
            "epsilon=none leaves nothing to audit; audit a private run or set --epsilon"
        )
    model = resolve(settings.model, "days")
    plan = make_plan(
        settings.model_copy(update={"model": model}),
        mechanisms or mechanisms_of(settings),
        n_shops=_together(mechanisms, records),
        n_trained=model.rank * model.dim,
        base_hash="audit",
    )
    return Subject(
        plan=plan,
        delta=settings.privacy.delta,
        records=records,
        device=device or torch.device("cpu"),
    )


def _together(mechanisms: tuple[Mechanism, ...], records: tuple[ShopRecord, ...]) -> int:
    """Returns the shops that share the noise, or without any, the records."""
    recorded = (*mechanisms, *(m for record in records for m in record.mechanisms))
    shared = max((m.shared_by for m in recorded), default=1)
    return shared if shared > 1 else max(1, len(records))


def subject_of_path(
    path: Path, *, changes: Mapping[str, Any] | None = None, device: torch.device | None = None
) -> Subject:
    """Builds the plan and the records of a run folder, its `report.json`, or of ledgers.

    Same arguments and errors as `subject_of_run`.

    Raises:
        PrivacyError: Also if there is no ledger, or it reserves nothing in advance.
    """
    if path.suffix == ".json" or (path / "report.json").is_file():
        return subject_of_run(path, changes=changes, device=device)
    records = records_of_ledgers(path)
    paid = next((r for r in records if r.mechanisms), None)
    if paid is None:
        raise PrivacyError(
            f"{path}: no reservation is for releases planned in advance, so there is no plan to "
            "test; name a run folder, or test a plan with --epsilon"
        )
    settings = {**_settings_of(paid), **(changes or {})}
    return subject_of_settings(
        check_settings(_changed(RunSettings().model_dump(), settings)),
        mechanisms=() if changes else paid.mechanisms,
        records=records,
        device=device,
    )


def _settings_of(paid: ShopRecord) -> dict[str, Any]:
    """Returns dotted settings of a plan with the recorded mechanisms; shares only say which."""
    names = {m.name for m in paid.mechanisms}
    parts = {"counts": "item-counts", "pairs": "pair-sums", "adapter": "dp-sgd"}
    shared = any(m.shared_by > 1 for m in paid.mechanisms)
    settings: dict[str, Any] = {
        "privacy.delta": paid.delta,
        "privacy.noise": "shared" if shared else "shop",
        **{f"privacy.{p}_share": (name in names) / len(names) for p, name in parts.items()},
    }
    for training in (m for m in paid.mechanisms if m.name == "dp-sgd"):
        settings["training.rounds"] = min(training.steps, 10_000)
        settings["training.sample_rate"] = training.sample_rate
        settings["training.max_grad_norm"] = training.max_norm
    return settings


def subject_of_run(
    path: Path, *, changes: Mapping[str, Any] | None = None, device: torch.device | None = None
) -> Subject:
    """Builds the plan and the records of a finished simulation.

    Args:
        path: A run folder or its `report.json`.
        changes: Dotted settings that the tested plan has in place of the run's; its noise is then
            found anew. The records stay as they are.
        device: Where training runs; the CPU by default.

    Raises:
        DataError: There is no report, or it cannot be read.
        ConfigError: A change is out of its bounds.
        PrivacyError: The run was without privacy.
    """
    report = _read_report(path / "report.json" if path.is_dir() else path)
    records = records_of_report(report)
    ledgers = path / LEDGERS
    if ledgers.is_dir():
        records += records_of_ledgers(ledgers)
    mechanisms = records[0].mechanisms if records and not changes else ()
    settings = check_settings(_changed(report.settings.model_dump(), changes or {}))
    return subject_of_settings(settings, mechanisms=mechanisms, records=records, device=device)


def _changed(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for dotted, value in changes.items():
        table, _, name = dotted.partition(".")
        values[table] = {**values[table], name: value}
    return values


def _read_report(path: Path) -> Report:
    try:
        return Report.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); name a run folder with its report.json"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path}: {place or 'content'} is not of report.json version 1 ({first['msg']}); name "
            "a report that this version wrote"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); name a run's report.json") from error
