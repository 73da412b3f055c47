"""Keeps Flower and Ray from writing between a run's own lines, and from calling home."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.supercore import telemetry

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
"""Environment of the engines and of the processes that they start."""


@contextmanager
def quiet_engine() -> Iterator[None]:
    """Sets the environment, mutes Flower's logger and puts everything back at the end.

    Flower's errors are not lost: they end the run as exceptions.
    """
    logger, before = logging.getLogger("flwr"), dict(os.environ)
    level, telemetry_before = logger.level, telemetry.FLWR_TELEMETRY_ENABLED
    os.environ.update(QUIET)
    telemetry.FLWR_TELEMETRY_ENABLED = "0"  # Flower reads the environment only when imported.
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        telemetry.FLWR_TELEMETRY_ENABLED = telemetry_before
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
