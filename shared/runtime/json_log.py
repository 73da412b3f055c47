"""Logs as one JSON object a line, with run, round and shop."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

MAX_BYTES, KEEP = 10_000_000, 5
FIELDS = ("run", "round", "shop")
"""The only attributes of a record that are logged beside its message. python-json-logger would
write every `extra`, where a library may put what must not leave a shop."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Attributes:
        context: Values of `run`, `round` and `shop` for records that do not carry their own.
    """

    def __init__(self, **context: object) -> None:
        super().__init__()
        self.context: dict[str, object] = dict(context)

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line; an exception's text goes under `error`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in FIELDS:
            value = getattr(record, name, self.context.get(name))
            if value is not None:
                line[name] = value
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to(path: Path | None, *, echo: bool = True, **context: object) -> JsonFormatter:
    """Sends fedprofile's log to a file of the owner and to standard error.

    Args:
        path: Rotated after 10 MB, five old files are kept; None writes none.
        echo: Also to standard error.
        **context: `run`, `round`, `shop`, where known already.

    Returns:
        The formatter, whose `context` may be changed.
    """
    logging.raiseExceptions = False  # a full disk must not print a stack trace for each line
    formatter = JsonFormatter(**context)
    log = logging.getLogger("fedprofile")
    log.setLevel(logging.INFO)
    log.propagate = False
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if echo else []
    if path is not None:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        handlers.append(RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=KEEP))
    for handler in handlers:
        handler.setFormatter(formatter)
        log.addHandler(handler)
    return formatter


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the entries of a log, oldest first, older files before it; torn lines are left out."""
    for number in range(KEEP, -1, -1):
        file = path.with_name(f"{path.name}.{number}") if number else path
        if not file.exists():
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
