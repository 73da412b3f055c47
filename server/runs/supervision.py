"""`fedprofile server run` and `status`.

Starts attempt after attempt until a run has ended, and says how all stands.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import read_shops
from server.coordinator.ledger_receipts import last_receipt, refused_head
from server.coordinator.roster import roster_state
from server.coordinator.superlink import connect_superlink, superlink_environment
from server.runs.training_run import TrainingRun, TrainingRunState, list_runs
from shared.errors import RunError, StorageError
from shared.flower.server.control import SuperLinkControl
from shared.keys.certificates import days_left
from shared.keys.private_keys import PASSPHRASE
from shared.keys.signing import SigningKey
from shared.runtime.process_lock import lock_holder

LOG = logging.getLogger("fedprofile.server")
FINAL = (1, 2, 130)
"""Exit statuses after which no other attempt makes sense."""
RESUME_REMEDY = "take it up with `fedprofile server resume`"
RETURN_WAIT = 600.0
"""Seconds to wait for the SuperLink to come back."""


def supervise_run(run: TrainingRun) -> TrainingRunState:
    """Does a run, over crashes of the SuperLink and of single attempts.

    Raises:
        RunError: It failed for good, or the SuperLink did not come back.
    """
    attempts = run.server.settings().attempts
    run.note(status="running", message="", remedy="")
    for left in reversed(range(attempts)):
        status = run_attempt(run.server, "rounds", run.number, note=run)
        state = run.state()
        if state.status == "finished":
            return state
        if status in FINAL:
            raise end_of(run, status, state)
        seen = {"run": run.number, "round": state.round}
        LOG.warning("attempt ended with status %d; %d left", status, left, extra=seen)
    error = RunError(
        f"crashed {attempts} times",
        name="run",
        value=run.number,
        remedy=f"see the log, then {RESUME_REMEDY}",
    )
    run.note(status="failed", message=error.message, remedy=error.remedy.text)
    raise error


def end_of(run: TrainingRun, status: int, state: TrainingRunState) -> RunError:
    """Returns why a run has ended with an attempt."""
    if state.message:
        return RunError(state.message, remedy=state.remedy)
    if status == StorageError.exit_code:
        return StorageError(
            "cannot be written", name="folder", value=run.path, remedy="free some space"
        )
    return RunError("was interrupted", name="run", value=run.number, remedy=RESUME_REMEDY)


def run_attempt(
    folder: ServerFolder, task: str, number: int, *, note: TrainingRun | None = None
) -> int:
    """Starts one Flower run and takes it up in a process of its own.

    Args:
        folder: The coordinator's folder.
        task: `rounds`, `send` or `roster`.
        number: Of the run or the release; 0 for a roster.
        note: Run in which the Flower run is noted.

    Returns:
        The process's exit status.
    """

    def start(link: SuperLinkControl) -> int:
        for stale in link.running():
            link.stop_run(stale)
        return link.start_run()

    SigningKey.load(folder.signing_key)  # a wrong passphrase ends it before a run begins
    flower_run = _when_back(folder, start)
    LOG.info("Flower run %d begins; the nodes' logs name it", flower_run)
    if note is not None:
        note.note(flower_run=flower_run, attempts=note.state().attempts + 1)
    words = [sys.executable, "-P", "-m", "server.runs.attempt", str(folder.root), task]
    environment = superlink_environment(folder, os.environ)
    done = subprocess.run(  # noqa: S603
        [*words, str(number)], env=environment, check=False, input=PASSPHRASE.passphrase or b""
    )
    return done.returncode


def _when_back(folder: ServerFolder, do: Callable[[SuperLinkControl], int]) -> int:
    """Does something as soon as the SuperLink answers."""
    end, warned = time.monotonic() + RETURN_WAIT, False
    while True:
        try:
            with connect_superlink(folder) as link:
                return do(link)
        except (RunError, httpx.HTTPStatusError) as error:
            if time.monotonic() >= end:
                raise
            if not warned:
                LOG.warning("waiting up to %g s for the SuperLink: %s", RETURN_WAIT, error)
            warned = True
            time.sleep(1.0)


def server_status(folder: ServerFolder) -> dict[str, Any]:
    """Returns plain values.

    Raises:
        ConfigError: The folder is not a coordinator's, or not whole.
    """
    settings, invited = folder.settings(), read_shops(folder)
    try:
        with connect_superlink(folder) as link:
            online, up = link.online(), "up"
    except RunError:
        online, up = set(), "down"
    shops = []
    for entry in invited.values():
        receipt = last_receipt(folder.receipts, entry.shop)
        shops.append(
            {
                "shop": entry.shop,
                "node": "connected" if entry.node_id in online else "not connected",
                "signed": None if receipt is None else receipt.entry,
                "refused": refused_head(folder.receipts, entry.shop),
            }
        )
    return {
        "name": settings.name,
        "address": settings.address,
        "server": up,
        "certificate_days": days_left(folder.certificate),
        "shops": shops,
        "roster": roster_state(folder),
        "runs": run_states(folder),
    }


def run_states(folder: ServerFolder) -> list[dict[str, Any]]:
    """Returns how each run stands and its price, as plain values, oldest first.

    The status of a run that nobody works at is `interrupted`, whatever its file says.
    """
    works = lock_holder(folder.lock) is not None
    states = []
    for run in list_runs(folder):
        state = run.state().model_dump(mode="json")
        if state["status"] == "running" and not works:
            state |= {"status": "interrupted", "remedy": RESUME_REMEDY}
        states.append(state | {"price": run.price()})
    return states
