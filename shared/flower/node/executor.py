"""Starts a process for each request that reaches the node, instead of Flower's SuperExec.

Flower's executor starts `flwr-clientapp`, which unpacks the server's bundle and imports it. Here
the process runs the app that the owner installed: nothing of a bundle is written to disk or
imported.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import httpx
from flwr.clientapp.typing import ClientAppCallable
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime import run_clientapp as clientapp_process

from shared.flower.patches import patch_attribute
from shared.keys.private_keys import PASSPHRASE

LOG = logging.getLogger("fedprofile.client")
POLL_SECONDS = 0.2
"""Seconds between two looks for a request."""
PART_RETRY_SECONDS, PART_RETRY_MAX_SECONDS = 0.05, 1.0
"""Seconds until a part of the request that is not here yet is asked for again, at first and at the
longest; flwr 1.41 waits 1 to 10."""
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


class RequestExecutor(threading.Thread):
    """Takes tasks from the node's runtime interface and forks a process for each.

    Args:
        address: Of the runtime interface, loopback.
        secret: Proves that this process may take tasks.
        folder: The node's folder.
        answer: Answers one task in its process; takes the address, the task's token, the folder,
            the process to end with and the keys' passphrase. A function of a module, since it
            passes through a pipe.
        preload: Module that is imported once, in the process that the others are forked from.
    """

    def __init__(
        self,
        address: str,
        secret: bytes,
        folder: Path,
        *,
        answer: Callable[..., None],
        preload: str,
    ) -> None:
        super().__init__(name="executor", daemon=True)
        self._address, self._folder, self._answer = address, folder, answer
        self._ended = threading.Event()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])
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
        while not self._ended.wait(POLL_SECONDS):
            try:
                self._take_one()
            except httpx.HTTPError as error:
                if not self._ended.is_set():  # else the interface ends too: nothing to tell
                    LOG.warning("no task could be taken (%s)", type(error).__name__)
                    self._ended.wait(5 * POLL_SECONDS)

    def end(self) -> None:
        """Takes no task from here on and logs nothing more, so that the cause is the last line."""
        self._ended.set()

    def _take_one(self) -> None:
        request = AcquireTaskRequest(supported_task_types={TaskType.CLIENT_APP})
        task = self._client.AcquireTask(request)
        if not (task.HasField("task") and task.token):
            return
        process = self._context.Process(
            target=self._answer,
            args=(self._address, task.token, self._folder, os.getpid(), PASSPHRASE.passphrase),
            daemon=True,
        )
        process.start()
        threading.Thread(target=process.join, daemon=True).start()  # else it stays a zombie


def run_task(app: ClientAppCallable, *, address: str, token: str, parent: int) -> None:
    """Runs one task of the runtime interface with an app of this process, and ends the process.

    Args:
        app: Answers, in place of the app that is named in the server's bundle.
        address: Of the runtime interface, loopback.
        token: For this one task.
        parent: Process that this one ends with.

    Raises:
        RunError: The installed Flower has other names.
    """
    patch_app_loading(app)
    patch_part_retries()
    clientapp_process.run_clientapp(
        runtime_api_address=address,
        token=token,
        insecure=True,
        parent_pid=parent,
        runtime_dependency_install=False,
    )


def patch_app_loading(app: ClientAppCallable) -> None:
    """Lets the task of this process be answered by an app of its own.

    Flower: `run_clientapp` unpacks the bundle into `FLWR_HOME` (`install_from_fab`) and imports the
    app that it names (`get_load_client_app_fn`): who controls the server runs code in each shop.

    Here: nothing is unpacked, and the app is the one that is passed in. A second line of defence
    behind the allow-list of `shared.flower.node.supernode`.

    Guarantee: No byte of a bundle is written or imported by this process.
    """
    patch_attribute(
        clientapp_process,
        install_from_fab=lambda *_, **__: None,
        get_load_client_app_fn=lambda *_, **__: lambda *_, **__: app,
    )


def patch_part_retries() -> None:
    """Lets the task of this process look sooner, and for longer, for parts of its request.

    Flower: the node's loop stores a message before the objects that it is made of, so a task finds
    some of them missing. It waits 1 s, then 2 s, up to 10 s, and gives up after 500 tries.

    Here: 0.05 s, doubling up to 1 s, until they are there: the parts come from this machine, most
    of them within a fraction of a second, and this process ends with the node's.
    """
    patch_attribute(
        clientapp_process,
        pull_and_inflate_object_from_tree=partial(
            pull_and_inflate_object_from_tree,
            initial_backoff=PART_RETRY_SECONDS,
            backoff_cap=PART_RETRY_MAX_SECONDS,
            max_tries_per_object=None,
        ),
    )
