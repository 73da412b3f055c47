"""Decisions: the first one stands, for every process, until the run ends."""

from __future__ import annotations

import stat
import threading
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from shared.errors import StorageError
from shared.secure_aggregation.decisions import Decisions, FolderDecisions, MemoryDecisions


class DecisionsSuite(ABC):
    """What every kind of `Decisions` keeps."""

    @abstractmethod
    def make(self, folder: Path) -> Decisions: ...

    def test_first_decision_stands(self, tmp_path: Path) -> None:
        decisions = self.make(tmp_path / "run")
        assert decisions.read("set") is None
        assert decisions.decide("set", b"first") == b"first"
        assert decisions.decide("set", b"second") == b"first"
        assert decisions.read("set") == b"first"

    def test_threads_agree(self, tmp_path: Path) -> None:
        decisions, seen = self.make(tmp_path / "run"), []
        threads = [
            threading.Thread(target=lambda i=i: seen.append(decisions.decide("set", b"%d" % i)))
            for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(seen) == {decisions.read("set")}

    def test_forgets_all_but_what_is_kept(self, tmp_path: Path) -> None:
        decisions = self.make(tmp_path / "run")
        for name in ("seed", "terms", "ended"):
            decisions.decide(name, b"x")
        decisions.forget(keep=("terms", "ended"))
        assert [decisions.read(n) for n in ("seed", "terms", "ended")] == [None, b"x", b"x"]


class TestMemoryDecisions(DecisionsSuite):
    def make(self, folder: Path) -> Decisions:  # noqa: ARG002
        return MemoryDecisions()


class TestFolderDecisions(DecisionsSuite):
    def make(self, folder: Path) -> Decisions:
        return FolderDecisions(folder)

    def test_outlasts_the_process_and_is_the_owners_alone(self, tmp_path: Path) -> None:
        FolderDecisions(tmp_path).decide("seed", b"secret")
        assert FolderDecisions(tmp_path).decide("seed", b"other") == b"secret"
        assert stat.S_IMODE((tmp_path / "seed").stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["seed"]

    def test_a_disk_that_refuses_decides_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_bytes(b"a file where the folder should be")
        decisions = FolderDecisions(tmp_path / "run")
        with pytest.raises(StorageError):
            decisions.decide("set", b"first")
