"""One Flower run: takes the run's task from the SuperLink and does what is left of its rounds.

A process of its own, because Flower ends the process when the SuperLink forgets the run. It leaves
with 0 where the run is over, 1 or 2 where it failed for good, and anything else where another
attempt may go on from the last checkpoint.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

from server.app import federate
from server.deploy.bounded_grid import BoundedGrid, largest_reply
from server.deploy.control import loopback
from server.deploy.finish import finish, send
from server.deploy.folder import ServerFolder
from server.deploy.invited_grid import HeadBook, InvitedGrid
from server.deploy.metrics import Recorder
from server.deploy.registry import Registry
from server.deploy.release_size import check_release_sizes
from server.deploy.run_folder import Run
from server.deploy.shops import read_shops
from server.exchange import connected_nodes
from server.federation import RoundInfo
from shared.deploy.json_log import log_to
from shared.deploy.owner_files import read_owner_file
from shared.deploy.tally import Tally
from shared.errors import FedprofileError, RunError, StorageError
from shared.messages import Arrays
from shared.privacy.key_lock import LOCK
from shared.privacy.ledger.keys import SigningKey

LOG = logging.getLogger("fedprofile.server")
TRY_AGAIN = 75
"""Exit status of an attempt that lost the SuperLink."""
PATIENCE = 20.0
"""Seconds after which an unanswered call means that the SuperLink is gone."""
TASK_WAIT = 30.0
"""Seconds for the SuperLink to hand out the task of a run that was just started."""
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


@contextmanager
def flower_run(folder: ServerFolder) -> Iterator[BoundedGrid]:
    """Takes up the pending Flower run and ends it afterwards.

    Raises:
        RunError: The SuperLink has no run to take up.
    """
    settings = folder.settings()
    address = f"{loopback(settings.host)}:{settings.port}"
    token = _task_token(folder, address)
    authority = folder.authority.read_bytes()
    grid = BoundedGrid(address, insecure=False, root_certificates=authority, token=token)
    grid._retry_invoker.max_time = PATIENCE  # else it asks for ever
    client = grid._runtime_client
    heartbeat = HeartbeatSender(_patient(make_task_heartbeat_fn_http(client)))
    heartbeat.start()
    status, details = SubStatus.FAILED, "ended"
    try:
        found = client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = found.task_id, found.run.run_id
        TaskIdentity.node_id = found.context.node_id
        grid.set_run(run_from_proto(found.run))
        yield grid
        status, details = SubStatus.COMPLETED, ""
    finally:
        grid._retry_invoker.max_tries = 1
        request = PushTaskOutputRequest(sub_status=status, details=details)
        try:
            client.PushTaskOutput(request)
        except (httpx.HTTPError, RunNotRunningException) as error:
            LOG.warning(
                "the SuperLink was not told that the run is over (%s)", type(error).__name__
            )
        if heartbeat.is_running:  # Flower refuses to stop one that has ended by itself
            heartbeat.stop()
        grid.close()


def _patient(beat: Callable[[], bool]) -> Callable[[], bool]:
    """Tries again where the SuperLink answers with an error, as it does on a full disk.

    Flower would end the heartbeat at the first such answer, and with it the run.
    """

    def tried() -> bool:
        try:
            return beat()
        except httpx.HTTPStatusError:
            return False

    return tried


def _task_token(folder: ServerFolder, address: str) -> str:
    secret = read_owner_file(folder.executor_secret, remedy="restore it from its backup")
    client = RuntimeHttpClient.from_server_address(
        address,
        insecure=False,
        root_certificates=folder.authority.read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE),
        ],
    )
    end = time.monotonic() + TASK_WAIT
    try:
        while time.monotonic() < end:
            request = AcquireTaskRequest(supported_task_types={TaskType.SERVER_APP})
            answer = client.AcquireTask(request)
            if answer.HasField("task") and answer.token:
                return str(answer.token)
            time.sleep(0.2)
    finally:
        client.close()
    raise RunError(f"run=none after {TASK_WAIT:g} s; start it with `fedprofile server run`")


def do_rounds(run: Run, grid: BoundedGrid) -> None:
    """Waits for the nodes, does the rounds that are left, releases and sends.

    Raises:
        RunError: Too few nodes, or too few good replies.
        ConfigError: The releases would be too large.
    """
    folder, settings = run.server, run.server.settings()
    recorder = Recorder(Tally(folder.tally))
    with recorder.phase("open"):
        federation, public = run.federation()
        check_release_sizes(federation.adapter, n_items=federation.n_items)
        grid.max_bytes = largest_reply(federation)
    invited = invited_grid(folder, grid, seen=run.path / "seen.json")

    def on_round(info: RoundInfo, _: Arrays) -> None:
        run.note(round=info.round)
        recorder.round(info)
        LOG.info(
            "round %d: %d good, %d refused, %.1f s",
            info.round,
            info.good,
            info.refused,
            info.seconds,
            extra={"round": info.round},
        )

    federation.on_round, federation.on_refused = on_round, recorder.refused
    with recorder.phase("wait"):
        connected_nodes(
            invited,
            wanted=settings.nodes or len(read_shops(folder)),
            minimum=federation.settings.min_replies,
            timeout=settings.wait,
            stop=federation.stop,
        )
    result = federate(invited, federation)
    with recorder.phase("finish"):
        releases = finish(run, federation, result, public, replies=invited.replies())
    send(invited, releases, folder)
    run.note(status="finished", message="")


def _run_of(folder: ServerFolder, task: str, number: int) -> int:
    """Returns the run that the log names: a release's number is not its run's."""
    return number if task == "rounds" else Registry(folder).read(number).manifest.run


def invited_grid(
    folder: ServerFolder, grid: BoundedGrid, *, seen: Path | None = None
) -> InvitedGrid:
    """Narrows a connection to the invited shops."""
    names = {entry.node_id: entry.shop for entry in read_shops(folder).values()}
    heads = HeadBook(folder.receipts, SigningKey.load(folder.signing_key))
    return InvitedGrid(grid, names, heads, seen=seen)


def main(root: str, task: str, number: str) -> int:
    """Does one attempt.

    Args:
        root: The coordinator's folder.
        task: `rounds` of a run, or `send` a release.
        number: Of the run or the release.
    """
    folder = ServerFolder(Path(root))
    LOCK.set(sys.stdin.buffer.read() or None)
    start_parent_process_monitor(os.getppid())  # two attempts at once would share a run
    log_to(folder.logs / "server.jsonl", run=_run_of(folder, task, int(number)))
    logging.getLogger("flwr").setLevel(logging.INFO)
    try:
        with flower_run(folder) as grid:
            if task == "send":
                send(invited_grid(folder, grid), [Registry(folder).read(int(number))], folder)
            else:
                do_rounds(Run(folder, int(number)), grid)
    except FedprofileError as error:
        if task == "rounds":
            _note_failed(Run(folder, int(number)), str(error))
        LOG.error("%s", error)
        print(f"fedprofile: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except (httpx.HTTPError, RunNotRunningException) as error:
        LOG.warning("the SuperLink is gone (%s)", type(error).__name__)
        return TRY_AGAIN
    except OSError as error:
        LOG.error("server=%s: the machine refuses (%s); see its disk", folder.root, error.strerror)
        return TRY_AGAIN
    return 0


def _note_failed(run: Run, message: str) -> None:
    """Notes why a run failed; a full disk is no reason to say nothing at all."""
    try:
        run.note(status="failed", message=message)
    except StorageError as error:
        LOG.error("%s", error)


if __name__ == "__main__":
    status = 1
    try:
        status = main(*sys.argv[1:])
    except Exception:
        LOG.exception("attempt failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # Flower's threads do not end by themselves
