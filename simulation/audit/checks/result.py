"""What an audit found: one line a check, with the figures behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared.privacy.accounting.guarantee import Mechanism


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes:
        passed: Whether what was claimed holds as far as the check can see.
        text: One line for people, without a full stop.
        figures: Plain values behind the line.
    """

    passed: bool
    text: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """A check that ran.

    Attributes:
        name: Short name, as `--check` takes it.
        question: What was asked.
        passed: The answer.
        finding: One line for people.
        figures: Plain values behind the line.
        seconds: Wall time.
    """

    name: str
    question: str
    passed: bool
    finding: str
    figures: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class AuditResult:
    """A whole audit.

    Attributes:
        created: When it ended, UTC, ISO 8601.
        fedprofile_version: Version of the package whose code was audited.
        epsilon: What the plan claims in total, recomputed.
        delta: Total delta of the plan.
        mechanisms: What the plan claims to release.
        checks: In the order in which they ran.
        schema_version: Version of this form; a key never changes its meaning within a version.
    """

    created: str
    fedprofile_version: str
    epsilon: float
    delta: float
    mechanisms: tuple[Mechanism, ...]
    checks: tuple[Check, ...]
    schema_version: Literal[1] = 1

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def seconds(self) -> float:
        """Wall time of all checks."""
        return sum(check.seconds for check in self.checks)

    def check(self, name: str) -> Check | None:
        """Returns a check by its name, None if it did not run."""
        return next((check for check in self.checks if check.name == name), None)

    def to_json(self) -> str:
        """Returns the text of `audit.json`, which is also what `--json` prints."""
        content = {"passed": self.passed, "seconds": self.seconds, **asdict(self)}
        return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Replaces what JSON cannot hold, as audited code may give any number, by its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
