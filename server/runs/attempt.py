"""One attempt at a run, in a process of its own: takes up Flower's run, trains, publishes, sends.

`python -m server.runs.attempt FOLDER rounds|send|roster NUMBER`, which `server.runs.supervision`
starts.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from server.aggregation.update_checks import ARRAY_HEADER_BYTES
from server.coordinator.folder import ServerFolder, reachable_host
from server.coordinator.invited_shops import read_shops
from server.coordinator.ledger_receipts import ReceiptIssuer
from server.coordinator.metrics import RunMetrics
from server.coordinator.roster import signed_roster
from server.federation.exchange import connected_nodes
from server.federation.federated_run import Federation, RoundInfo
from server.federation.rounds import federate
from server.runs.invited_grid import InvitedGrid
from server.runs.publication import publish_releases, send_releases
from server.runs.releases import ReleaseRegistry, check_release_sizes
from server.runs.roster_signing import collect_signatures, send_signed
from server.runs.training_run import TrainingRun
from shared.cli import options_of
from shared.errors import FedprofileError, StorageError
from shared.flower.server.grid import ENVELOPE_BYTES, BoundedGrid
from shared.flower.server.run import SUPERLINK_GONE, end_with_parent, flower_run
from shared.keys.private_keys import PASSPHRASE, read_owner_file
from shared.keys.signing import SigningKey
from shared.protocol.messages import Arrays, trainable_names
from shared.protocol.secure_sums import sum_names
from shared.releases.pair_sums import n_pairs
from shared.runtime.counters import CounterFile
from shared.runtime.json_log import log_to

LOG = logging.getLogger("fedprofile.server")
COMMAND_OF_TASK = {
    "rounds": ("server", "run"),
    "send": ("server", "releases", "send"),
    "roster": ("server", "roster", "make"),
}
"""The command that the operator typed: a remedy names no option that it lacks."""
LETTER_BYTES_A_SUM, LETTER_BYTES = 200, 600
"""Room for the shares that a shop deals to another: for each sum, and beside them."""
TRY_AGAIN = 75
"""Exit status of an attempt that lost the SuperLink."""


def largest_reply(federation: Federation) -> int:
    """Returns the bytes that an honest shop's reply may have, whatever it is asked for."""
    plan, adapter = federation.plan, federation.adapter
    names = trainable_names(adapter, aggregation=plan.aggregation)
    numbers = [sum(adapter[name].size for name in names), federation.n_items]
    if plan.pairs_release:
        numbers.append(n_pairs(plan.head_items))
    if federation.roster is not None:
        shops, sums = federation.roster.size, len(sum_names(plan))
        numbers.append(shops * (sums * LETTER_BYTES_A_SUM + LETTER_BYTES) // 8)
    return 8 * max(numbers) + ARRAY_HEADER_BYTES * (len(names) + 1) + ENVELOPE_BYTES


def train_and_publish(run: TrainingRun, grid: BoundedGrid) -> None:
    """Waits for the nodes, does the rounds that are left, releases and sends.

    Raises:
        RunError: Too few nodes, or too few good replies.
        ConfigError: The releases would be too large.
    """
    folder, settings = run.server, run.server.settings()
    recorder = RunMetrics(CounterFile(folder.tally))
    with recorder.phase("open"):
        federation, public = run.federation()
        check_release_sizes(federation.adapter, n_items=federation.n_items)
        grid.max_bytes = largest_reply(federation)
    invited = narrow_to_invited(folder, grid, seen=run.path / "seen.json")

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
    if federation.roster is not None:
        signed = signed_roster(folder)
        if signed.roster == federation.roster:  # for nodes that were away when it was signed
            send_signed(invited, folder, signed)
    result = federate(invited, federation)
    with recorder.phase("finish"):
        releases = publish_releases(run, federation, result, public, replies=invited.replies())
    send_releases(invited, releases, folder)
    run.note(status="finished", message="", remedy="")


def _run_of(folder: ServerFolder, task: str, number: int) -> int:
    """Returns the run that the log names: a release's number is not its run's."""
    return number if task == "rounds" else ReleaseRegistry(folder).read(number).manifest.run


def narrow_to_invited(
    folder: ServerFolder, grid: BoundedGrid, *, seen: Path | None = None
) -> InvitedGrid:
    """Narrows a connection to the invited shops."""
    shops = read_shops(folder)
    names = {entry.node_id: entry.shop for entry in shops.values()}
    invited_after = {name: entry.after for name, entry in shops.items()}
    key = SigningKey.load(folder.signing_key)
    receipts = ReceiptIssuer(folder.receipts, key, invited_after)
    return InvitedGrid(grid, names, receipts, seen=seen)


def main(root: str, task: str, number: str) -> int:
    """Does one attempt.

    Args:
        root: The coordinator's folder.
        task: `rounds` of a run, `send` a release, or have a `roster` signed.
        number: Of the run or the release; 0 for a roster.
    """
    folder = ServerFolder(Path(root))
    PASSPHRASE.set(sys.stdin.buffer.read() or None)
    end_with_parent(os.getppid())  # two attempts at once would share a run
    log = log_to(folder.log)
    if task != "roster":
        log.context["run"] = _run_of(folder, task, int(number))
    logging.getLogger("flwr").setLevel(logging.INFO)
    try:
        with _take_up(folder) as grid:
            if task == "send":
                send_releases(
                    narrow_to_invited(folder, grid),
                    [ReleaseRegistry(folder).read(int(number))],
                    folder,
                )
            elif task == "roster":
                collect_signatures(narrow_to_invited(folder, grid), folder)
            else:
                train_and_publish(TrainingRun(folder, int(number)), grid)
    except FedprofileError as error:
        noted = task != "rounds" or _note_failed(TrainingRun(folder, int(number)), error)
        told = error.told(options_of(COMMAND_OF_TASK[task]))
        LOG.error("%s", told)
        print(f"fedprofile: {told}", file=sys.stderr)  # noqa: T201
        return error.exit_code if noted else StorageError.exit_code
    except SUPERLINK_GONE as error:
        LOG.warning("the SuperLink is gone (%s)", type(error).__name__)
        return TRY_AGAIN
    except OSError as error:
        LOG.error("server=%s: the machine refuses (%s); see its disk", folder.root, error.strerror)
        return TRY_AGAIN
    return 0


def _take_up(folder: ServerFolder) -> AbstractContextManager[BoundedGrid]:
    """Takes up the run that waits at the folder's SuperLink."""
    settings = folder.settings()
    return flower_run(
        f"{reachable_host(settings.host)}:{settings.port}",
        authority=folder.authority.read_bytes(),
        executor_secret=read_owner_file(
            folder.executor_secret, remedy="restore it from its backup"
        ),
    )


def _note_failed(run: TrainingRun, cause: FedprofileError) -> bool:
    """Notes why a run failed and says whether it could: a full disk is no reason to say nothing."""
    try:
        remedy = cause.remedy.words(options_of(COMMAND_OF_TASK["rounds"]))
        run.note(status="failed", message=cause.message, remedy=remedy)
    except StorageError as error:
        LOG.error("%s", error)
        return False
    return True


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
