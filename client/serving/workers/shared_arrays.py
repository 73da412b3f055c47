"""Large arrays that several processes map: in memory without a name, gone with the last of them."""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass

_ALIGNED = 64


@dataclass(frozen=True)
class SharedArrays:
    """A piece of memory with arrays behind each other.

    It has no name in any file system, so that a user's data never reach a disk, and needs no
    clearing up after a process that was killed.

    Attributes:
        handle: Its open file; to be closed by `close`.
        places: Where each array begins, and its bytes.
    """

    handle: int
    places: tuple[tuple[int, int], ...]

    @staticmethod
    def of(arrays: Sequence[pickle.PickleBuffer]) -> SharedArrays:
        """Copies arrays into shared memory."""
        handle = os.memfd_create("fedprofile-state", os.MFD_CLOEXEC)
        places, end = [], 0
        for one in arrays:
            raw = one.raw()
            _write(handle, raw, end)
            places.append((end, raw.nbytes))
            end = -(-(end + raw.nbytes) // _ALIGNED) * _ALIGNED
        return SharedArrays(handle, tuple(places))

    def close(self) -> None:
        """Closes the file; what is mapped stays."""
        os.close(self.handle)


def map_arrays(handle: int, places: Sequence[tuple[int, int]]) -> list[memoryview]:
    """Maps shared arrays; a page that is written to becomes the process' own.

    Args:
        handle: Of `SharedArrays`; closed here.
        places: Of `SharedArrays`.
    """
    try:
        whole = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_COPY))
    finally:
        os.close(handle)
    return [whole[first : first + size] for first, size in places]


def _write(handle: int, raw: memoryview, place: int) -> None:
    while raw.nbytes:
        written = os.pwrite(handle, raw, place)
        raw, place = raw[written:], place + written
