"""`fedprofile server run`: Flower run after Flower run until ours is finished or has failed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable

import httpx

from server.deploy.control import Control, control
from server.deploy.folder import ServerFolder
from server.deploy.run_folder import Run, RunState
from server.deploy.superlink import superlink_environment
from shared.errors import RunError
from shared.privacy.key_lock import LOCK
from shared.privacy.ledger.keys import SigningKey

LOG = logging.getLogger("fedprofile.server")
FINAL = (1, 2, 130)
"""Exit statuses after which no other attempt makes sense."""
RETURN_WAIT = 600.0
"""Seconds to wait for the SuperLink to come back."""


def supervise(run: Run) -> RunState:
    """Does a run, over crashes of the SuperLink and of single attempts.

    Raises:
        RunError: It failed for good, or the SuperLink did not come back.
    """
    attempts = run.server.settings().attempts
    run.note(status="running", message="")
    for left in reversed(range(attempts)):
        status = attempt(run.server, "rounds", run.number, note=run)
        state = run.state()
        if state.status == "finished":
            return state
        if status in FINAL:
            raise RunError(state.message or f"run={run.number} was interrupted; run it again")
        seen = {"run": run.number, "round": state.round}
        LOG.warning("attempt ended with status %d; %d left", status, left, extra=seen)
    message = f"run={run.number} crashed {attempts} times; see the log, then start it again"
    run.note(status="failed", message=message)
    raise RunError(message)


def attempt(folder: ServerFolder, task: str, number: int, *, note: Run | None = None) -> int:
    """Starts one Flower run and takes it up in a process of its own.

    Args:
        folder: The coordinator's folder.
        task: `rounds` or `send`.
        number: Of the run or the release.
        note: Run in which the Flower run is noted.

    Returns:
        The process's exit status.
    """

    def start(link: Control) -> int:
        for stale in link.running():
            link.stop_run(stale)
        return link.start_run()

    SigningKey.load(folder.signing_key)  # a wrong passphrase ends it before a run begins
    flower_run = _when_back(folder, start)
    LOG.info("Flower run %d begins; the nodes' logs name it", flower_run)
    if note is not None:
        note.note(flower_run=flower_run, attempts=note.state().attempts + 1)
    words = [sys.executable, "-P", "-m", "server.deploy.attempt", str(folder.root), task]
    environment = superlink_environment(folder, os.environ)
    done = subprocess.run(  # noqa: S603
        [*words, str(number)], env=environment, check=False, input=LOCK.passphrase or b""
    )
    return done.returncode


def _when_back(folder: ServerFolder, do: Callable[[Control], int]) -> int:
    """Does something as soon as the SuperLink answers."""
    end, warned = time.monotonic() + RETURN_WAIT, False
    while True:
        try:
            with control(folder) as link:
                return do(link)
        except (RunError, httpx.HTTPStatusError) as error:
            if time.monotonic() >= end:
                raise
            if not warned:
                LOG.warning("waiting up to %g s for the SuperLink: %s", RETURN_WAIT, error)
            warned = True
            time.sleep(1.0)
