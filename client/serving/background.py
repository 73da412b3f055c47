"""What a service does beside answering: weights, adapters, co-purchase, counters and the copy."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from shared.errors import FedprofileError

if TYPE_CHECKING:
    from client.serving.service import Service

MANY = 100_000
"""Events beyond the copy on the disk from which it is written before its time."""
_log = logging.getLogger(__name__)


class Background:
    """Regular work of a service in a thread of its own.

    Args:
        service: Whose work it is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._saved_at = time.monotonic()

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the piece of work at hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        service = self._service
        try:
            if not service.take_kept_mixes():
                service.learn()
            service.texts.warm()
        except FedprofileError as error:
            _log.warning("start: %s", error)
        if not service.snapshot.is_there:
            self._save()
        while not self._stop.wait(service.settings.refresh_seconds):
            service.follow_adapter()
            begun = time.perf_counter()
            if service.engine.refresh():
                service.metrics.refresh_seconds.set(time.perf_counter() - begun)
            service.keep_counters()
            if self._save_is_due():
                self._save()

    def _save_is_due(self) -> bool:
        service = self._service
        if service.snapshot.fits(service.engine):
            return False
        waited = time.monotonic() - self._saved_at >= service.settings.snapshot_seconds
        return waited or service.snapshot.behind(service.engine) >= MANY

    def _save(self) -> None:
        self._service.snapshot.save(self._service.engine)
        self._saved_at = time.monotonic()
