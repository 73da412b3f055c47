"""A finding of `fedprofile doctor`, and how all of them are told: as lines or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be.
        required: Whether a run is impossible without it.
        value: What is there.
        remedy: What to do; None where `ok`.
    """

    name: str
    ok: bool
    required: bool
    value: str
    remedy: str | None = None


def exit_code(checks: Sequence[Check]) -> int:
    """Returns 1 if something required is missing, else 0."""
    return int(any(check.required and not check.ok for check in checks))


def to_json(checks: Sequence[Check]) -> str:
    """Returns one JSON object: `ok`, and `checks` with all fields of each."""
    report = {"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]}
    return json.dumps(report, indent=1)


def to_text(checks: Sequence[Check]) -> str:
    """Returns one line a check, its remedy below, and a last line that sums up."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else "MISSING" if check.required else "note   "
        lines.append(f"{mark}  {check.name:<{width}}  {check.value}")
        if check.remedy:
            lines.append(f"{'':<{width + 11}}-> {check.remedy}")
    missing = [check.name for check in checks if check.required and not check.ok]
    lines.append(f"missing: {', '.join(missing)}" if missing else "all that a run needs is here")
    return "\n".join(lines)
