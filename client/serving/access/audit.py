"""The audit log: who deleted what and who changed settings, one JSON object a line.

It names items and keys and no user: a line about a deleted user would outlive the deletion. The
answer's request id links a line to the shop's own log.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

_log = logging.getLogger("fedprofile.audit")


class AuditLog:
    """Appends lines to a file for its owner alone (mode 600).

    Args:
        path: None writes to the process's log instead.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def add(self, **facts: str | int | None) -> None:
        """Adds a line with the time and these facts; None is left out."""
        known = {name: value for name, value in facts.items() if value is not None}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **known})
        if self._path is None:
            _log.info("%s", line)
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, f"{line}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("%s (the audit log cannot be written: %s)", line, error.strerror)
