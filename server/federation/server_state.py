"""All that the server knows between two rounds, and one file a round from which a run goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from server.aggregation.averaging import (
    OptimizerState,
    lora_pairs,
    optimizer_step,
    orthonormal_factors,
    rotate,
)
from server.federation.federated_run import Refusal, RoundInfo
from shared.errors import RunError, RunExistsError
from shared.protocol.messages import Arrays, CodesArray, FloatArray
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import FederationSettings


@dataclass(frozen=True, eq=False)
class ServerState:
    """The server between two rounds.

    Attributes:
        round: Rounds done.
        adapter: Current global matrices.
        optimizer: Moments.
        iterates: Sum of the trainable matrices after each of the last rounds.
        averaged: Rounds in that sum.
        counts: Summed noisy item counts `(n_items,)`, None before they were asked.
        head: Codes of the items whose pairs were asked, ascending `(h,)`; None before.
        pairs: Summed noisy pair sums `(h (h - 1) / 2,)`, None before they were asked.
        rounds: What the rounds did.
        refusals: Replies that did not count.
    """

    round: int
    adapter: Arrays
    optimizer: OptimizerState = field(default_factory=OptimizerState)
    iterates: Arrays = field(default_factory=dict)
    averaged: int = 0
    counts: FloatArray | None = None
    head: CodesArray | None = None
    pairs: FloatArray | None = None
    rounds: tuple[RoundInfo, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def final_adapter(self) -> Arrays:
        """Returns the mean of the last iterates, or the adapter itself before there is one."""
        if not self.averaged:
            return dict(self.adapter)
        share = np.float32(1 / self.averaged)
        return {**self.adapter, **{name: share * total for name, total in self.iterates.items()}}


def averaging_starts(*, rounds: int, average_last: float) -> int:
    """Returns the first round whose iterate counts in the final mean."""
    return rounds - math.ceil(round(average_last * rounds, 9)) + 1


def apply_update(
    state: ServerState, update: Arrays, *, settings: FederationSettings, rounds: int
) -> ServerState:
    """Moves the server by one aggregated update.

    Args:
        state: Before the round.
        update: Aggregated update of the trainable matrices, float32.
        settings: Aggregation, optimizer and share of averaged rounds.
        rounds: Rounds of the whole plan.

    Returns:
        The state after the round; with `fedsvd` all buffers of B's shape are carried over to the
        new A, so that momentum and mean of the iterates stay what they were as products with A.
    """
    change, optimizer = optimizer_step(update, state=state.optimizer, settings=settings)
    moved = {name: state.adapter[name] + change[name] for name in change}
    state = replace(
        state, round=state.round + 1, adapter={**state.adapter, **moved}, optimizer=optimizer
    )
    if settings.aggregation == "fedsvd":
        state = _reorthonormalise(state)
    if state.round < averaging_starts(rounds=rounds, average_last=settings.average_last):
        return state
    iterates = {
        name: state.iterates[name] + state.adapter[name] if state.iterates else state.adapter[name]
        for name in change
    }
    return replace(state, iterates=iterates, averaged=state.averaged + 1)


def _reorthonormalise(state: ServerState) -> ServerState:
    adapter = dict(state.adapter)
    first, iterates = dict(state.optimizer.first), dict(state.iterates)
    for name_A, name_B in lora_pairs(adapter):
        old_A = adapter[name_A]
        adapter[name_A], adapter[name_B] = orthonormal_factors(old_A, adapter[name_B])
        for buffer in (first, iterates):
            if name_B in buffer:
                buffer[name_B] = rotate(buffer[name_B], old_A=old_A, new_A=adapter[name_A])
    optimizer = replace(state.optimizer, first=first)
    return replace(state, adapter=adapter, optimizer=optimizer, iterates=iterates)


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
        """Writes a state, then removes older ones.

        Raises:
            StorageError: The disk is full or cannot be written; earlier files are untouched.
        """
        path = self._folder / f"round-{state.round:05d}.safetensors"
        write_atomic(
            path,
            _pack(state, digest=self._digest),
            durable=True,
            private=False,
            name="checkpoint",
            remedy="free space there, then continue with --resume",
        )
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
                f"holds {files[0].name}",
                name="checkpoints",
                value=self._folder,
                remedy="continue it with --resume or choose another run folder",
            )
        for path in files:
            state = self._read(path)
            if state is not None:
                return state
            LOG.warning("checkpoint=%s is torn and was skipped; using an earlier one", path)
        if files:
            raise RunError(
                f"none of {len(files)} files is whole",
                name="checkpoints",
                value=self._folder,
                remedy="start anew in another run folder",
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
                f"belongs to another run ({metadata['digest'][:12]}, this one is "
                f"{self._digest[:12]})",
                name="checkpoint",
                value=path,
                remedy="use the same settings and data, or another run folder",
            )
        return _unpack(arrays, metadata)


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
        rounds=tuple(_round_info(info) for info in fields["rounds"]),
        refusals=tuple(Refusal(**refusal) for refusal in fields["refusals"]),
    )


def _round_info(fields: dict[str, Any]) -> RoundInfo:
    return RoundInfo(**{**fields, "shops": tuple(fields.get("shops", ()))})


def _checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    state = hashlib.sha256()
    for name in sorted(arrays):
        state.update(f"{name}{arrays[name].shape}".encode())
        state.update(arrays[name].tobytes())
    return state.hexdigest()
