"""Bulk import: one JSON object a line, stored batch by batch while the rest is still coming in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from shared.errors import DataError, FedprofileError

BATCH_LINES = 500
"""Lines that are stored together."""
MAX_LINE = 100_000
"""Bytes of one line at most."""
MAX_REPORTED_FAULTS = 100
"""Refused lines that are named; the others are counted."""
R = TypeVar("R")


@dataclass
class ImportTally:
    """What became of the lines.

    Attributes:
        lines: Lines read that hold something.
        stored: Lines that are on the disk now because of this request.
        repeated: Lines whose event was there already.
        refused: Lines that were not stored.
        details: The first `MAX_REPORTED_FAULTS` of those, with the number of the line and the
            problem.
        stopped: Why nothing after the lines read was stored; None where the end was reached.
    """

    lines: int = 0
    stored: int = 0
    repeated: int = 0
    refused: int = 0
    details: list[dict[str, Any]] = field(default_factory=list)
    stopped: FedprofileError | None = None

    def refuse(self, number: int, problem: str) -> None:
        """Counts a line that is not stored."""
        self.refused += 1
        if len(self.details) < MAX_REPORTED_FAULTS:
            self.details.append({"line": number, "problem": problem})

    def to_json(self) -> dict[str, Any]:
        """Returns the counts and the refused lines."""
        counts = {name: getattr(self, name) for name in ("lines", "stored", "repeated", "refused")}
        return {**counts, "details": self.details}


@dataclass(frozen=True)
class RecordKind(Generic[R]):
    """How lines of one kind are read and stored.

    Attributes:
        read: Turns a line into a record; raises `DataError` or pydantic's `ValidationError`.
        store: Stores records.
        passes_over: Whether `store` leaves out what is stored already and returns the new ones.
    """

    read: Callable[[bytes], R]
    store: Callable[[Sequence[R]], Future[Any]]
    passes_over: bool = False


async def import_lines(kind: RecordKind[R], chunks: AsyncIterator[bytes]) -> ImportTally:
    """Stores lines as they come; a wrong line does not stop the others.

    Args:
        kind: Of what is imported.
        chunks: The text, cut anywhere.
    """
    tally = ImportTally()
    batch: list[tuple[int, R]] = []
    try:
        async for number, line in lines_of(chunks):
            tally.lines += 1
            try:
                batch.append((number, kind.read(line)))
            except ValidationError as error:
                tally.refuse(number, _problem(error))
            except DataError as error:
                tally.refuse(number, str(error))
            if len(batch) == BATCH_LINES:
                full, batch = batch, []
                await _store(kind, full, tally)
        await _store(kind, batch, tally)
    except FedprofileError as error:
        tally.stopped = error
    return tally


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Cuts a text into its lines, with their numbers from 1; leaves out empty ones.

    Raises:
        DataError: A line is longer than `MAX_LINE`.
    """
    number, rest = 0, b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            _check_length(number, line)
            if line.strip():
                yield number, line
        # Checked before the line ends: a body without a newline must not fill the memory.
        _check_length(number + 1, rest)
    if rest.strip():
        yield number + 1, rest


def _check_length(number: int, line: bytes) -> None:
    if len(line) > MAX_LINE:
        raise DataError(
            f"line {number} has more than {MAX_LINE} bytes", remedy="send one object a line"
        )


async def _store(kind: RecordKind[R], batch: list[tuple[int, R]], tally: ImportTally) -> None:
    """Stores one batch; what the data does not allow is refused, other faults end the import.

    A refused batch goes line by line, so that those that are right are stored.
    """
    if not batch:
        return
    # Preparing items encodes their texts, which must not hold up other requests.
    job = await asyncio.to_thread(kind.store, [record for _, record in batch])
    try:
        stored = await asyncio.wrap_future(job)
    except DataError as error:
        if len(batch) == 1:
            tally.refuse(batch[0][0], str(error))
            return
        for line in batch:
            await _store(kind, [line], tally)
        return
    fresh = len(stored) if kind.passes_over else len(batch)
    tally.stored += fresh
    tally.repeated += len(batch) - fresh


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{name}: {first['msg']}" if name else str(first["msg"])
