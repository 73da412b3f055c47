"""A run begins, goes on and ends by commands that never guess, one at a time."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import server as commands
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import InvitedShop
from server.runs.lifecycle import abandon_run, begin_run, stop_command, unfinished_run
from server.runs.training_run import TrainingRun
from shared.errors import ConfigError, RunError
from shared.keys.signing import canonical
from shared.runtime.json_log import log_to, read_log
from shared.runtime.process_lock import lock_holder, take_lock
from tests import ROOT
from tests.deploy.installing import Pair

HOLD = """
import signal, sys, time
from pathlib import Path
from server.coordinator.folder import ServerFolder
from server.runs.lifecycle import work_with_nodes
signal.signal(signal.SIGTERM, signal.default_int_handler)
with work_with_nodes(ServerFolder(Path(sys.argv[1]))):
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def server(pair: Pair) -> ServerFolder:
    """A coordinator of two invited shops."""
    entries = [InvitedShop(shop=name, node_id=i, key="none") for i, name in enumerate("ab")]
    pair.server.shops.write_bytes(canonical([e.model_dump(mode="json") for e in entries]))
    return pair.server


def call(server: ServerFolder, *words: str) -> Result:
    return CliRunner().invoke(commands, [*words, "--dir", str(server.root)])


def run_status(server: ServerFolder) -> str:
    (run,) = json.loads(call(server, "runs", "--json").output)
    return str(run["status"])


@contextmanager
def another_command(server: ServerFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that works with the nodes."""
    command = [sys.executable, "-c", HOLD, str(server.root)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_that_has_not_ended_is_taken_up_or_given_up_and_never_passed_over(
    server: ServerFolder,
) -> None:
    with pytest.raises(ConfigError, match="there is no run; begin a new one with `fedprofile"):
        unfinished_run(server)
    run = begin_run(server)
    run.note(status="failed", round=2, message="replies=1 must be at least 2")
    bad = r"run=1 has not ended: failed after round 2, replies=1 .* resume.* abandon"
    with pytest.raises(ConfigError, match=bad):
        begin_run(server)
    assert len(list(server.runs.iterdir())) == 1
    assert unfinished_run(server) == run
    abandon_run(run, reason="a shop left")
    with pytest.raises(ConfigError, match="run 1 is abandoned"):
        unfinished_run(server)
    assert begin_run(server).number == 2


def test_what_shops_have_paid_for_is_told_when_a_run_is_given_up(server: ServerFolder) -> None:
    run = begin_run(server)
    replies = {"0a": ["b", "0", "counts"], "0b": ["a", "0", "masked"], "0c": ["b", "1", "update"]}
    (run.path / "seen.json").write_bytes(canonical(replies | {"0d": ["b", "2", "update"]}))
    told = call(server, "abandon", "--reason", "a shop left").output.splitlines()
    assert told[:3] == [
        "run 1 is abandoned after round 0",
        "  shop a sent 1 masked sums, and has paid for them",
        "  shop b sent 1 counts, 2 updates, and has paid for them",
    ]
    assert "epsilon 8 at delta 1e-06" in told[3]
    assert "(a shop left)" in call(server, "runs").output
    assert isinstance(call(server, "abandon").exception, ConfigError)


def test_a_run_at_which_nobody_works_is_called_interrupted(server: ServerFolder) -> None:
    begin_run(server)
    assert run_status(server) == "interrupted"
    with another_command(server):
        assert run_status(server) == "running"
    assert run_status(server) == "interrupted"


@pytest.mark.parametrize(
    "words",
    [("run",), ("resume",), ("abandon",), ("roster", "make")],
)
def test_one_command_at_a_time_speaks_with_the_nodes(
    server: ServerFolder, words: tuple[str, ...]
) -> None:
    begin_run(server)
    state = (TrainingRun(server, 1).path / "state.json").read_bytes()
    with another_command(server):
        refused = call(server, *words).exception
    assert isinstance(refused, RunError)
    assert "runs already; wait for it, or end it with `fedprofile server stop`" in str(refused)
    assert (TrainingRun(server, 1).path / "state.json").read_bytes() == state
    assert len(list(server.runs.iterdir())) == 1


def test_stop_ends_the_command_and_says_so(server: ServerFolder) -> None:
    assert call(server, "stop").output == "no command works with the nodes\n"
    with another_command(server) as process:
        assert lock_holder(server.lock) == process.pid
        assert stop_command(server) == process.pid
        assert process.wait(timeout=120) in (-signal.SIGINT, 1, 130)
    assert lock_holder(server.lock) is None


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with take_lock(path, what="node", remedy="wait"), pytest.raises(RunError, match="wait"):
        take_lock(path, what="node", remedy="wait")
    take_lock(path, what="node", remedy="wait").close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_logs_are_one_thing_a_line_across_rotated_files(server: ServerFolder) -> None:
    formatter = log_to(server.log, echo=False, run=1)
    log = logging.getLogger("fedprofile.server")
    log.info("begins")
    server.log.rename(server.log.with_name("server.jsonl.1"))
    formatter = log_to(server.log, echo=False, run=2)
    log.warning("round done", extra={"round": 3, "shop": "a"})
    with server.log.open("a") as file:
        file.write('{"torn')
    assert formatter.context == {"run": 2}
    lines = call(server, "logs").output.splitlines()
    assert [line[20:] for line in lines] == [
        "info run 1: begins",
        "warning run 2 round 3 shop a: round done",
    ]
    assert call(server, "logs", "--run", "1").output.count("\n") == 1
    assert [entry["run"] for entry in read_log(server.log)] == [1, 2]
