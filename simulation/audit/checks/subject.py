"""What is audited: a plan, the installed code that carries it out.

Records of what was spent; from a finished run, or from settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from client.federation.node_interface import plan_mechanisms
from client.federation.shop_node import RandomFactory
from server.federation.public_plan import make_plan, mechanisms_of
from shared.errors import DataError, PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.accounting.roster_bounds import MIN_SHOPS
from shared.privacy.ledger.log.shop_files import RELEASES
from shared.privacy.noise import RandomSource
from shared.protocol.messages import Plan
from shared.settings.run_settings import RunSettings, resolve_time_defaults
from shared.settings.sources import check_settings
from simulation.audit.checks.spending_records import (
    SpendingRecord,
    records_of_ledgers,
    records_of_report,
)
from simulation.experiments.single.schema import Report

CPU = torch.device("cpu")


def os_randomness(*context: str | int) -> RandomSource:  # noqa: ARG001  # a release needs none
    """Makes the randomness of a release as a node does: keyed by the operating system."""
    return RandomSource.from_os()


@dataclass(frozen=True, eq=False)
class Subject:
    """What the checks look at.

    Attributes:
        plan: Public parameters of the training to be tested; private.
        delta: Total delta that is claimed for the plan.
        records: What was recorded as spent; may be empty.
        releases: Folder of the run, where it saved what its shops sent; None where it did not.
        randomness: Makes a node's noise.
        device: Where training runs.
        one_run_canaries: Canaries of the one-run audit.
        seed: Chooses which canaries take part; has no part in the noise.
    """

    plan: Plan
    delta: float
    records: tuple[SpendingRecord, ...] = ()
    releases: Path | None = None
    randomness: RandomFactory = os_randomness
    device: torch.device = CPU
    one_run_canaries: int = 2_000
    seed: int = 0

    @property
    def training(self) -> Mechanism | None:
        """What the plan claims of all its training steps, None if it trains nothing."""
        return next((m for m in self.mechanisms if m.name == "dp-sgd"), None)

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """All that the plan claims to release."""
        return plan_mechanisms(self.plan)

    def noise(self, *context: str | int) -> RandomSource:
        """Makes one release's randomness, in the form that a node asks for it."""
        return self.randomness(self.plan.seed, "audit", *context)

    def choice(self, name: str) -> np.random.Generator:
        """Returns the generator of a check's own choices."""
        return np.random.default_rng([self.seed, *name.encode()])


LEDGERS = "ledgers"
"""Folder of a run with one ledger a shop."""


def subject_of_settings(
    settings: RunSettings,
    *,
    mechanisms: tuple[Mechanism, ...] = (),
    records: tuple[SpendingRecord, ...] = (),
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
            "leaves nothing to audit",
            name="epsilon",
            value="none",
            remedy="audit a private run or set --epsilon",
        )
    model = resolve_time_defaults(settings.model, "days")
    shared_by = _shared_by(mechanisms, records)
    privacy = settings.privacy
    if shared_by > 1:  # recorded: how many shops the roster had does not matter any more
        privacy = privacy.model_copy(update={"noise": "shop"})
    plan = make_plan(
        settings.model_copy(update={"model": model, "privacy": privacy}),
        mechanisms or mechanisms_of(settings),
        n_shops=max(MIN_SHOPS if privacy.noise == "shared" else 1, len(records)),
        n_trained=model.rank * model.dim,
        base_hash="a" * 64,
    )
    if shared_by > 1:
        plan = plan.model_copy(update={"noise_shops": shared_by})
    return Subject(
        plan=plan,
        delta=settings.privacy.delta,
        records=records,
        device=device or torch.device("cpu"),
    )


def _shared_by(mechanisms: tuple[Mechanism, ...], records: tuple[SpendingRecord, ...]) -> int:
    """Returns among how many shops the recorded noise was divided; 1 where it was not."""
    recorded = (*mechanisms, *(m for record in records for m in record.mechanisms))
    return max((m.shared_by for m in recorded), default=1)


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
            "test",
            remedy="name a run folder, or test a plan with --epsilon",
        )
    settings = {**_settings_of(paid), **(changes or {})}
    return subject_of_settings(
        check_settings(_changed(RunSettings().model_dump(), settings)),
        mechanisms=() if changes else paid.mechanisms,
        records=records,
        device=device,
    )


def _settings_of(paid: SpendingRecord) -> dict[str, Any]:
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
    subject = subject_of_settings(settings, mechanisms=mechanisms, records=records, device=device)
    return replace(subject, releases=path if (path / RELEASES).is_dir() else None)


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
            f"{path} cannot be read ({error.strerror})",
            remedy="name a run folder with its report.json",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path}: {place or 'content'} is not of report.json version 1 ({first['msg']})",
            remedy="name a report that this version wrote",
        ) from error
    except ValueError as error:
        raise DataError(
            f"{path} is not JSON ({error})", remedy="name a run's report.json"
        ) from error
