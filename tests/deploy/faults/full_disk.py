"""A disk that is full for some processes: a limit of their files' size, which needs no rights."""

from __future__ import annotations

import resource
import subprocess
import threading

import psutil

from tests.deploy.federations import COMMAND, Federation


class Piped:
    """A command whose words go into a pipe: a file of them could not grow either."""

    def __init__(self, federation: Federation, name: str, *words: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            env=federation.environment(),
            cwd=federation.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        federation.processes[name] = self.process
        self._said: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._said.extend(self.process.stdout)

    def said(self) -> str:
        """Returns what came until now."""
        return b"".join(self._said).decode(errors="replace")

    def ended(self, *, seconds: float) -> str:
        """Waits for its end and returns all that it said."""
        self.process.wait(timeout=seconds)
        self._reader.join(timeout=120)
        return self.said()


def fill_disk(federation: Federation, *names: str) -> None:
    """Lets no file of these processes grow, as a full disk would; needs no rights."""
    _limit_files(federation, names, 0)


def free_disk(federation: Federation, *names: str) -> None:
    _limit_files(federation, names, resource.RLIM_INFINITY)


def _limit_files(federation: Federation, names: tuple[str, ...], size: int) -> None:
    for name in names:
        top = psutil.Process(federation.processes[name].pid)
        if top.status() == psutil.STATUS_ZOMBIE:
            continue
        for process in (top, *top.children(recursive=True)):
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))
