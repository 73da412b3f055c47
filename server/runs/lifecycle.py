"""Beginning, taking up, giving up and stopping a run: each is a command, and none guesses."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import IO, Any, Literal

from server.coordinator.folder import ServerFolder, ServerSettings
from server.coordinator.invited_shops import read_base, read_shops
from server.coordinator.roster import signed_roster
from server.federation.public_plan import mechanisms_of
from server.runs.training_run import Noise, TrainingRun, TrainingRunState, list_runs
from shared.errors import ConfigError, RunError
from shared.keys.signing import canonical
from shared.runtime.file_store import make_folder, write_atomic
from shared.runtime.process_lock import lock_holder, take_lock
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.roster_file import write_roster
from shared.settings.run_settings import RunSettings

ENDED = ("finished", "abandoned")
STOP_WAIT = 120.0
"""Seconds that a stopped command may take to end."""


@dataclass(frozen=True)
class RunOptions:
    """What differs in one run from `server.toml`.

    Attributes:
        noise: Who adds it; None takes that of the settings, or `shared` where these leave it open
            and all shops have signed a roster.
        only: `adapter` releases no statistics, and gives the whole budget to the adapter.
    """

    noise: Noise | None = None
    only: Literal["adapter"] | None = None

    def apply(self, settings: ServerSettings) -> ServerSettings:
        """Returns the settings of the run."""
        if self.only is None:
            return settings
        shares = {"counts_share": 0.0, "pairs_share": 0.0, "adapter_share": 1.0}
        privacy = settings.privacy.model_copy(update=shares)
        return settings.model_copy(update={"privacy": privacy})


AS_SET = RunOptions()
"""Nothing differs."""


def work_with_nodes(server: ServerFolder) -> IO[bytes]:
    """Takes the lock under which one command at a time speaks with the nodes.

    Raises:
        RunError: Another command holds it.
    """
    return take_lock(
        server.lock,
        what="command of the server",
        remedy="wait for it, or end it with `fedprofile server stop`",
    )


def begin_run(server: ServerFolder, options: RunOptions = AS_SET) -> TrainingRun:
    """Makes a new run; nothing is asked of any shop yet.

    Args:
        server: The coordinator's folder.
        options: What differs from its settings.

    Raises:
        ConfigError: The last run has not ended, too few shops are invited, or no roster is signed
            that shared noise needs.
        FedprofileError: The budget cannot be met.
    """
    earlier = list_runs(server)
    if earlier and (last := earlier[-1].state()).status not in ENDED:
        raise ConfigError(
            f"has not ended: {_how_far(last)}",
            name="run",
            value=last.number,
            remedy="take it up with `fedprofile server resume`, or end it with "
            "`fedprofile server abandon`",
        )
    settings, public, invited = server.settings(), read_base(server), read_shops(server)
    least = settings.federation.min_replies
    if len(invited) < least:
        raise ConfigError(
            f"must be at least min_replies={least}",
            name="shops",
            value=len(invited),
            remedy="invite more with `fedprofile server invite`",
        )
    settings.federation.check_robust(len(invited))
    run = TrainingRun(server, earlier[-1].number + 1 if earlier else 1)
    roster = _roster_of(server, settings, options)
    noise: Noise = "shop" if roster is None else "shared"
    run_settings = options.apply(settings).of_run(run.number, public.model, noise=noise)
    if roster is not None:
        RunSettings.model_validate(run_settings.model_dump())  # what looks at single updates
    mechanisms_of(run_settings)  # refuses before anything is written
    _write_run(run, run_settings, roster, n_shops=len(invited) if roster is None else roster.size)
    return run


def _write_run(
    run: TrainingRun, settings: RunSettings, roster: Roster | None, *, n_shops: int
) -> None:
    make_folder(run.path)
    if roster is not None:
        write_roster(run.roster_file, roster)
    state: dict[str, Any] = {"number": run.number, "status": "running", "nodes": n_shops}
    files = {
        "settings.json": json.loads(settings.model_dump_json()),
        "state.json": TrainingRunState(**state).model_dump(mode="json"),
    }
    for name, content in files.items():
        write_atomic(run.path / name, canonical(content), durable=True, private=True)


def _how_far(state: TrainingRunState) -> str:
    """Says in a few words where a run stands."""
    reason = f", {state.message}" if state.message else ""
    word = "interrupted" if state.status == "running" else state.status
    return f"{word} after round {state.round}{reason}"


def _roster_of(
    server: ServerFolder, settings: ServerSettings, options: RunOptions
) -> Roster | None:
    """Returns the roster under which a new run shares its noise; None where each shop adds all.

    Raises:
        ConfigError: Shared noise is asked for, and not all shops have signed a roster.
    """
    noise = options.noise or settings.privacy.noise
    single = settings.federation.robust != "none" or settings.training.local_steps > 1
    if noise == "shop" or (noise is None and single):
        return None
    try:
        return signed_roster(server).roster
    except ConfigError:
        if noise == "shared":
            raise
        return None


def unfinished_run(server: ServerFolder) -> TrainingRun:
    """Returns the run that has not ended.

    Raises:
        ConfigError: There is none.
        RunError: Its files are damaged.
    """
    runs = list_runs(server)
    if not runs or runs[-1].state().status in ENDED:
        last = f"run {runs[-1].number} is {runs[-1].state().status}" if runs else "there is no run"
        raise ConfigError(
            f"nothing to take up or to end: {last}",
            remedy="begin a new one with `fedprofile server run`",
        )
    return runs[-1]


def abandon_run(run: TrainingRun, *, reason: str) -> None:
    """Ends a run that is not to be taken up again; its releases and its cost stay.

    Args:
        run: One that has not ended.
        reason: The owner's, for `server runs`.
    """
    run.note(status="abandoned", message=reason or "given up by its owner", remedy="")


def sent_by_shops(run: TrainingRun) -> dict[str, Counter[str]]:
    """Counts the arrays that came of each shop in a run, by record: what these have paid for.

    Files that were written before 0.2 do not name the record and are not counted.
    """
    try:
        stored: dict[str, list[str]] = json.loads((run.path / "seen.json").read_bytes())
    except FileNotFoundError:
        return {}
    found: dict[str, Counter[str]] = {}
    for shop, _, record in stored.values():
        found.setdefault(shop, Counter())[record] += 1
    return dict(sorted(found.items()))


def stop_command(server: ServerFolder) -> int | None:
    """Ends the command that works with the nodes, and waits until it has ended.

    Returns:
        The number of its process; None where none works.

    Raises:
        RunError: It did not end.
    """
    holder = lock_holder(server.lock)
    if not holder:
        return None
    os.kill(holder, signal.SIGTERM)
    end = time.monotonic() + STOP_WAIT
    while lock_holder(server.lock) == holder:
        if time.monotonic() >= end:
            raise RunError(
                f"did not end within {STOP_WAIT:g} s",
                name="process",
                value=holder,
                remedy="kill it; the run goes on from its last checkpoint",
            )
        time.sleep(0.1)
    return holder
