"""Takes the pending run's task from the SuperLink, keeps its heartbeat and tells its end.

In place of `flwr-serverapp`, which would unpack the run's bundle and import it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from flwr.common.constant import SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from shared.errors import RunError
from shared.flower.server.grid import BoundedGrid

LOG = logging.getLogger("fedprofile.server")
RETRY_SECONDS = 20.0
"""Seconds after which an unanswered call means that the SuperLink is gone."""
TASK_WAIT_SECONDS = 30.0
"""Seconds for the SuperLink to hand out the task of a run that was just started."""
SUPERLINK_GONE = (httpx.HTTPError, RunNotRunningException)
"""Exceptions of a call to a SuperLink that ended, or that took the run away."""
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


@contextmanager
def flower_run(address: str, *, authority: bytes, executor_secret: bytes) -> Iterator[BoundedGrid]:
    """Takes up the pending Flower run and ends it afterwards.

    Args:
        address: `host:port` of the SuperLink.
        authority: Certificate of its authority, PEM.
        executor_secret: What the SuperLink asks of whoever takes up a run.

    Yields:
        A connection to the nodes.

    Raises:
        RunError: The SuperLink has no run to take up.
    """
    token = _task_token(address, authority=authority, executor_secret=executor_secret)
    grid = BoundedGrid(address, insecure=False, root_certificates=authority, token=token)
    grid._retry_invoker.max_time = RETRY_SECONDS  # Flower's own has no end
    client = grid._runtime_client
    heartbeat = HeartbeatSender(_retried_heartbeat(make_task_heartbeat_fn_http(client)))
    heartbeat.start()
    status, details = SubStatus.FAILED, "ended"
    try:
        task = client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
        TaskIdentity.node_id = task.context.node_id
        grid.set_run(run_from_proto(task.run))
        yield grid
        status, details = SubStatus.COMPLETED, ""
    finally:
        # First of all: Flower interrupts a process whose heartbeat is of a run that is over, and
        # nobody would then say why it ended.
        if heartbeat.is_running:  # Flower refuses to stop one that has ended by itself
            heartbeat.stop()
        grid._retry_invoker.max_tries = 1
        request = PushTaskOutputRequest(sub_status=status, details=details)
        try:
            client.PushTaskOutput(request)
        except SUPERLINK_GONE as error:
            LOG.warning(
                "the SuperLink was not told that the run is over (%s)", type(error).__name__
            )
        grid.close()


def _retried_heartbeat(beat: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a heartbeat that fails where the SuperLink answers with an error, as on a full disk.

    `HeartbeatSender` tries a failed one again; the error would end its thread, and with it the run.
    """

    def beat_or_fail() -> bool:
        try:
            return beat()
        except httpx.HTTPStatusError:
            return False

    return beat_or_fail


def _task_token(address: str, *, authority: bytes, executor_secret: bytes) -> str:
    client = RuntimeHttpClient.from_server_address(
        address,
        insecure=False,
        root_certificates=authority,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(master_secret=executor_secret, protected_methods=_ACQUIRE),
        ],
    )
    end = time.monotonic() + TASK_WAIT_SECONDS
    try:
        while time.monotonic() < end:
            request = AcquireTaskRequest(supported_task_types={TaskType.SERVER_APP})
            answer = client.AcquireTask(request)
            if answer.HasField("task") and answer.token:
                return str(answer.token)
            time.sleep(0.2)
    finally:
        client.close()
    raise RunError(
        f"has no run to take up after {TASK_WAIT_SECONDS:g} s",
        name="server",
        value=address,
        remedy="start one with `fedprofile server run`",
    )


def end_with_parent(pid: int) -> None:
    """Ends this process as soon as its parent is gone."""
    start_parent_process_monitor(pid)
