"""Files as they lie on the disk: plain, gzip or zstd, as their first bytes say and not a name."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from shared.errors import DataError

PACKED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
"""Endings of packed files."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UNPACK_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException)
"""What reading a damaged file raises."""


def plain_name(path: Path) -> str:
    """Returns a file's name without the ending of a packed file, in lower case."""
    name = path.name.lower()
    for suffix in PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def plain_suffix(path: Path) -> str:
    """Returns the ending of what a packed file holds: `.csv` of `x.csv.gz`."""
    return Path(plain_name(path)).suffix


def source_name(path: Path) -> str:
    """Returns a source's name without endings: packing a file must not rename its shop."""
    name = path.resolve().name
    return name[: len(plain_name(Path(name)))].rpartition(".")[0] or plain_stem(name)


def plain_stem(name: str) -> str:
    """Returns a name without the endings of a packed file and of its kind."""
    return Path(name[: len(plain_name(Path(name)))]).stem


def beside(path: Path, name: str) -> Path | None:
    """Returns the file of this name in the same folder, packed or not; None where there is none."""
    candidates = [path.with_name(name + suffix) for suffix in ("", *PACKED_SUFFIXES)]
    return next((file for file in candidates if file.is_file()), None)


def open_plain(path: Path) -> BinaryIO:
    """Opens a file for reading its content.

    Raises:
        OSError: It cannot be opened.
    """
    stream = path.open("rb")
    start = stream.read(4)
    stream.seek(0)
    if start[:2] == _GZIP:
        return cast(BinaryIO, gzip.open(stream, "rb"))
    if start == _ZSTD:
        return cast(BinaryIO, io.BufferedReader(_Frames(stream), 1 << 20))
    return stream


def read_plain(path: Path) -> bytes:
    """Reads a file's whole content.

    Raises:
        DataError: It cannot be read or unpacked.
    """
    try:
        with open_plain(path) as stream:
            return stream.read()
    except UNPACK_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(
            f"{path}: cannot be read ({reason})", remedy="check the path, or write the file again"
        ) from None


def first_bytes(path: Path) -> bytes:
    """Returns the first 64 KiB of a file's content; b"" where it cannot be read."""
    try:
        with open_plain(path) as stream:
            return stream.read(1 << 16)
    except UNPACK_ERRORS:
        return b""


class _Frames(io.RawIOBase):
    """The content of a zstd file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._source = stream
        self._stream = pa.CompressedInputStream(pa.PythonFile(stream), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        chunk = self._stream.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._source.close()
        super().close()
