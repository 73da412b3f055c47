"""The folder of a run: made once, never overwritten, resumable only with the same settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import FedprofileError, RunError, RunExistsError
from shared.storage import writing
from simulation.report.write import write_file

SETTINGS, STATE = "settings.json", "state"


@dataclass(frozen=True)
class RunFolder:
    """A run folder that belongs to this run.

    Attributes:
        path: `report.json`, `report.html`, `adapter/` and the rest.
        is_new: Whether nothing was in it before.
    """

    path: Path
    is_new: bool = True

    @contextmanager
    def emptied_on_refusal(self) -> Iterator[None]:
        """Takes back what was written so far where a new run is refused before it has begun."""
        try:
            yield
        except FedprofileError:
            if self.is_new:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    @property
    def state(self) -> Path:
        """What a resumption needs; removed when the run has ended."""
        return self.path / STATE

    def of(self, variant: str, *, single: bool) -> Path:
        """Returns the folder of a variant: the run folder itself where there is only one."""
        return self.path if single else self.path / variant

    def finish(self) -> None:
        """Removes what only an interrupted run needs."""
        shutil.rmtree(self.state, ignore_errors=True)


def open_run_folder(path: Path, settings: Mapping[str, Any], *, resume: bool) -> RunFolder:
    """Makes a run folder, or takes up an interrupted one.

    Args:
        path: The run folder.
        settings: Plain values of all that decides the result.
        resume: Whether to go on in a folder that is there.

    Raises:
        RunExistsError: The folder holds something and `resume` is off, or the run has ended.
        RunError: It belongs to other settings.
        StorageError: It cannot be written.
    """
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    known = path / SETTINGS
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not resume):
        raise RunExistsError(
            f"--out {path} exists and is not empty; choose another folder, or continue an "
            "interrupted run with --resume"
        )
    if known.exists():
        if known.read_text(encoding="utf-8") != text:
            raise RunError(
                f"--resume {path}: its settings differ ({_difference(known, settings)}); "
                "use the settings it began with, or another --out"
            )
        if not (path / STATE).exists():
            raise RunExistsError(f"--resume {path}: the run has ended; choose another --out")
    is_new = not known.exists()
    write_file(known, text.encode())
    with writing(path):
        (path / STATE).mkdir(parents=True, exist_ok=True)
    return RunFolder(path, is_new)


def _difference(known: Path, settings: Mapping[str, Any]) -> str:
    """Names the first setting that differs."""
    before = _flat(json.loads(known.read_text(encoding="utf-8")))
    after = _flat(json.loads(json.dumps(settings)))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            return f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
    return "another version of the form"


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        found.update(_flat(value, f"{prefix}.{name}" if prefix else name))
    return found
