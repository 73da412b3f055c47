"""Keys and kinds of what server and shops send each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from shared.array_headers import ONE_READER

FloatArray: TypeAlias = npt.NDArray[np.float32]
CodesArray: TypeAlias = npt.NDArray[np.int64]
Arrays: TypeAlias = dict[str, FloatArray]
"""Adapter matrices, or updates of them, by their name in the PEFT state dict."""

ADAPTER = "adapter"
"""ArrayRecord: the global adapter's trainable and frozen LoRA matrices (server to shop)."""
PLAN = "plan"
"""ConfigRecord: the plan, flat (server to shop)."""
ROUND = "round"
"""Key in the plan record: number of the round, from 1."""
CANDIDATES = "candidates"
"""ArrayRecord with one array, `candidates` `(n,)` unsigned: the public items of a round's softmax
(server to shop)."""
UPDATE = "update"
"""ArrayRecord: trained minus received, trainable matrices only (shop to server)."""
COUNTS = "counts"
"""ArrayRecord with one array, `counts` `(n_items,)`: the noisy item counts (shop to server)."""
COUNTS_QUERY = "counts"
"""Name of the query (`query.counts`) that asks a shop for its noisy counts."""
HEAD = "head"
"""ArrayRecord with one array, `head` `(h,)` unsigned: codes of the items whose pairs are asked for,
ascending (server to shop)."""
PAIRS = "pairs"
"""ArrayRecord with one array, `pairs` `(h (h - 1) / 2,)`: the noisy pair sums (shop to server)."""
PAIRS_QUERY = "pairs"
"""Name of the query (`query.pairs`) that asks a shop for its noisy pair sums."""
STATUS = "status"
"""ConfigRecord: `shop` and, for a refusal, `code` and `remedy`; nothing from the data."""
LORA_A = "lora_A.weight"
"""End of the name of a LoRA matrix A `(rank, in)`."""
LORA_B = "lora_B.weight"
"""End of the name of a LoRA matrix B `(out, rank)`."""


def trainable_names(names: Iterable[str], *, aggregation: str) -> tuple[str, ...]:
    """Returns the names of the matrices that an update holds, sorted.

    Args:
        names: Names of the adapter's matrices, as PEFT saves them (`...lora_A.weight`).
        aggregation: `average` trains A and B; `frozen-a` and `fedsvd` train B alone.
    """
    return tuple(sorted(n for n in names if aggregation == "average" or n.endswith(LORA_B)))


def to_record(arrays: Mapping[str, FloatArray]) -> ArrayRecord:
    """Packs float32 arrays, in order of their names."""
    return ArrayRecord(
        {
            name: Array(np.ascontiguousarray(arrays[name], dtype=np.float32))
            for name in sorted(arrays)
        }
    )


def codes_record(codes: CodesArray, *, name: str = CANDIDATES) -> ArrayRecord:
    """Packs item codes, the round's candidates or the head, in as few bytes a code as hold them."""
    smallest = np.min_scalar_type(codes.max(initial=0))
    return ArrayRecord({name: Array(np.ascontiguousarray(codes, dtype=smallest))})


def from_codes(record: ArrayRecord, *, name: str = CANDIDATES) -> CodesArray:
    """Unpacks item codes `(n,)`.

    Raises:
        TypeError: They are no whole numbers.
    """
    with ONE_READER:
        return record[name].numpy().astype(np.int64, casting="safe")


def from_record(record: ArrayRecord) -> Arrays:
    """Unpacks the arrays of a trusted sender; a server checks first."""
    with ONE_READER:
        return {name: array.numpy() for name, array in record.items()}
