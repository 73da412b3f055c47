"""Starts a process for each request that reaches the node, instead of Flower's SuperExec."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from multiprocessing import forkserver
from pathlib import Path

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from shared.privacy.key_lock import LOCK

LOG = logging.getLogger("fedprofile.client")
POLL = 0.2
"""Seconds between two looks for a request."""
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


class Executor(threading.Thread):
    """Takes tasks from the node's runtime interface and forks a process for each.

    Args:
        address: Of the runtime interface, loopback.
        secret: Proves that this process may take tasks.
        folder: The node's folder.
    """

    def __init__(self, address: str, secret: bytes, folder: Path) -> None:
        super().__init__(name="executor", daemon=True)
        self._address, self._folder = address, folder
        self._ended = threading.Event()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["client.deploy.task_process"])
        forkserver.ensure_running()
        self._client = RuntimeHttpClient.from_server_address(
            address,
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE),
            ],
        )

    def run(self) -> None:
        """Serves until it is ended, or the process is."""
        while not self._ended.wait(POLL):
            try:
                self._take_one()
            except httpx.HTTPError as error:
                if not self._ended.is_set():  # else the interface ends too: nothing to tell
                    LOG.warning("no task could be taken (%s)", type(error).__name__)
                    self._ended.wait(5 * POLL)

    def end(self) -> None:
        """Takes no task from here on and logs nothing more, so that the cause is the last line."""
        self._ended.set()

    def _take_one(self) -> None:
        from client.deploy.task_process import answer

        request = AcquireTaskRequest(supported_task_types={TaskType.CLIENT_APP})
        task = self._client.AcquireTask(request)
        if not (task.HasField("task") and task.token):
            return
        process = self._context.Process(
            target=answer,
            args=(self._address, task.token, self._folder, os.getpid(), LOCK.passphrase),
            daemon=True,
        )
        process.start()
        threading.Thread(target=process.join, daemon=True).start()
