"""What makes two events the same: the shop's own id, else the content and its place among equals.

A number of 64 bits stands for an event's content. Two different events of a store of 5 million get
the same one with a probability of one in a million; they would then count as equals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
_MICROSECONDS_A_DAY = 86_400e6
_C1, _C2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def id_hashes(ids: Sequence[str] | npt.NDArray[np.object_]) -> Hashes:
    """Returns a hash of each id, `(n,)`; the same on every machine."""
    digests = b"".join(
        hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for name in ids
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def content_digests(
    *,
    user: Hashes,
    item: Hashes,
    session: Hashes | None,
    time: npt.NDArray[np.float64],
    event_type: npt.NDArray[np.integer[Any]],
    weight: npt.NDArray[np.floating[Any]],
    quantity: npt.NDArray[np.floating[Any]],
    price: npt.NDArray[np.floating[Any]],
) -> npt.NDArray[np.int64]:
    """Returns one number for the content of each event, `(n,)`.

    Args:
        user: Hash of each event's user.
        item: Hash of its item.
        session: Hash of the shop's name of the visit, 0 for none; None where no event has one.
        time: In the unit of the shop's data.
        event_type: Index into `EVENT_TYPES`.
        weight: The shop's own weight.
        quantity: Number of pieces.
        price: NaN where unknown.
    """
    digest = np.full(len(user), np.uint64(0x243F6A8885A308D3))
    # A date reaches us as text, as seconds or as a Python moment, which agree to a microsecond.
    moment = np.round(np.asarray(time, np.float64) * _MICROSECONDS_A_DAY) + 0.0
    known = np.where(np.isnan(price), np.float32(-1.0), np.asarray(price, np.float32))
    for part in (
        *(user, item, moment.view(np.uint64), np.asarray(event_type, np.uint64)),
        *(_bits(weight), _bits(quantity), _bits(known)),
        *(() if session is None else (session,)),
    ):
        _mix(digest, part)
    if session is None:
        _mix(digest, np.zeros(len(user), np.uint64))
    return digest.view(np.int64)


def _bits(values: npt.NDArray[np.floating[Any]]) -> Hashes:
    # float32: what an older version stored had gone through it.
    single = np.asarray(values, np.float32) + np.float32(0.0)
    return single.view(np.uint32).astype(np.uint64)


def _mix(digest: Hashes, part: Hashes) -> None:
    """Folds a number into each digest, in place; multiplications as in SplitMix64."""
    digest ^= part
    digest *= _C1
    digest ^= digest >> np.uint64(32)
    digest *= _C2
    digest ^= digest >> np.uint64(29)


def pair_equals(
    ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs equal numbers one to one: the first of each with the first, the second with the second.

    Args:
        ours: `(n,)`.
        theirs: `(m,)`.

    Returns:
        Places in `ours` and in `theirs`, both `(n_pairs,)`.
    """
    own_order, other_order = np.argsort(ours, kind="stable"), np.argsort(theirs, kind="stable")
    own, other = ours[own_order], theirs[other_order]
    places = np.arange(len(own))
    begins = np.r_[True, own[1:] != own[:-1]] if len(own) else np.zeros(0, bool)
    ordinal = places - np.maximum.accumulate(np.where(begins, places, 0)) if len(own) else places
    first = np.searchsorted(other, own, side="left")
    paired = ordinal < np.searchsorted(other, own, side="right") - first
    return own_order[paired], other_order[first[paired] + ordinal[paired]]


def session_code(session_id: str | None) -> int:
    """Returns a number for a visit's name, above those of unnamed visits; -1 for None."""
    if session_id is None:
        return -1
    # A hash, as the database holds numbers; of 61 bits, so that no two visits share one.
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 2 | 1 << 61
