"""What `server run` says when an attempt was the last one."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.coordinator.folder import ServerFolder
from server.runs.supervision import end_of
from server.runs.training_run import TrainingRun, TrainingRunState
from shared.errors import RunError, StorageError

RUN = TrainingRun(ServerFolder(Path("server")), 1)
STATE = TrainingRunState(number=1, status="running")


@pytest.mark.parametrize(
    ("status", "message", "kind", "told"),
    [
        (1, "round=0: too few", RunError, "round=0: too few"),
        (2, "", StorageError, "folder=server/runs/0001 cannot be written; free some space"),
        (130, "", RunError, "run=1 was interrupted; take it up with `fedprofile server resume`"),
    ],
)
def test_the_last_attempt_tells_why_even_where_the_disk_took_no_note(
    status: int, message: str, kind: type[RunError], told: str
) -> None:
    error = end_of(RUN, status, STATE.model_copy(update={"message": message}))
    assert type(error) is kind
    assert str(error) == told
