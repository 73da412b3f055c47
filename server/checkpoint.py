"""One file a round, written whole or not at all, from which a run goes on bit for bit."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from server.federation import Refusal, RoundInfo
from server.optimizers import OptimizerState
from server.state import ServerState
from shared.errors import RunError, RunExistsError
from shared.messages import Arrays
from shared.storage import writing

LOG = logging.getLogger("fedprofile.server")
KEEP = 2
"""Newest files that are kept: the last one, and one to fall back on should it be torn."""
_GROUPS = ("adapter", "first", "second", "iterates")


class Checkpoints:
    """A folder with files `round-00012.safetensors`, all of one run.

    Args:
        folder: Made where it is missing.
        digest: `Federation.digest()` of the run; files of another are refused.
    """

    def __init__(self, folder: Path, *, digest: str) -> None:
        self._folder = folder
        self._digest = digest

    def save(self, state: ServerState) -> None:
        """Writes a state: temporary file, fsync, rename; then removes older ones.

        Raises:
            StorageError: The disk is full or cannot be written; earlier files are untouched.
        """
        path = self._folder / f"round-{state.round:05d}.safetensors"
        temporary = path.with_suffix(".tmp")
        remedy = "free space there, then continue with --resume"
        with writing(path, remedy=remedy), _removed_on_error(temporary):
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(_pack(state, digest=self._digest))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(self._folder)
        for old in self._files()[KEEP:]:
            old.unlink(missing_ok=True)

    def load(self, *, resume: bool) -> ServerState | None:
        """Returns the newest whole state, None where there is none.

        Args:
            resume: Whether files in the folder are expected.

        Raises:
            RunExistsError: There are files, and `resume` is False.
            RunError: The files belong to another run, or none of them is whole.
        """
        files = self._files()
        if files and not resume:
            raise RunExistsError(
                f"checkpoints={self._folder} holds {files[0].name}; continue it with --resume or "
                "choose another run folder"
            )
        for path in files:
            state = self._read(path)
            if state is not None:
                return state
            LOG.warning("checkpoint=%s is torn and was skipped; using an earlier one", path)
        if files:
            raise RunError(
                f"checkpoints={self._folder}: none of {len(files)} files is whole; start anew in "
                "another run folder"
            )
        return None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("round-*.safetensors"), reverse=True)

    def _read(self, path: Path) -> ServerState | None:
        try:
            with safe_open(path, framework="numpy") as file:
                names = file.keys()
                arrays = {name: np.array(file.get_tensor(name)) for name in names}
                metadata = json.loads((file.metadata() or {})["state"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        if metadata["sha256"] != _checksum(arrays):
            return None
        if metadata["digest"] != self._digest:
            raise RunError(
                f"checkpoint={path} belongs to another run ({metadata['digest'][:12]}, this one is "
                f"{self._digest[:12]}); use the same settings and data, or another run folder"
            )
        return _unpack(arrays, metadata)


@contextmanager
def _removed_on_error(temporary: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _pack(state: ServerState, *, digest: str) -> bytes:
    groups: Mapping[str, Arrays] = {
        "adapter": state.adapter,
        "first": state.optimizer.first,
        "second": state.optimizer.second,
        "iterates": state.iterates,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{group}/{name}": np.ascontiguousarray(array)
        for group in _GROUPS
        for name, array in groups[group].items()
    }
    sums = {"counts": state.counts, "head": state.head, "pairs": state.pairs}
    arrays |= {name: array for name, array in sums.items() if array is not None}
    metadata = {
        "digest": digest,
        "sha256": _checksum(arrays),
        "round": state.round,
        "steps": state.optimizer.steps,
        "averaged": state.averaged,
        "rounds": [asdict(info) for info in state.rounds],
        "refusals": [asdict(refusal) for refusal in state.refusals],
    }
    return save(arrays, metadata={"state": json.dumps(metadata)})


def _unpack(arrays: Mapping[str, npt.NDArray[Any]], fields: dict[str, Any]) -> ServerState:
    groups: dict[str, Arrays] = {group: {} for group in _GROUPS}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        if name:
            groups[group][name] = array
    return ServerState(
        round=fields["round"],
        adapter=groups["adapter"],
        optimizer=OptimizerState(
            first=groups["first"], second=groups["second"], steps=fields["steps"]
        ),
        iterates=groups["iterates"],
        averaged=fields["averaged"],
        counts=arrays.get("counts"),
        head=arrays.get("head"),
        pairs=arrays.get("pairs"),
        rounds=tuple(RoundInfo(**info) for info in fields["rounds"]),
        refusals=tuple(Refusal(**refusal) for refusal in fields["refusals"]),
    )


def _checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    state = hashlib.sha256()
    for name in sorted(arrays):
        state.update(f"{name}{arrays[name].shape}".encode())
        state.update(arrays[name].tobytes())
    return state.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
