"""Signed lines at the end of a ledger: read under the lock, check, append, then act."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import PrivacyError
from shared.privacy.ledger.chain import Chain
from shared.privacy.ledger.entries import Body, Entry, canonical, line_hash, signed_bytes
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.shop_files import Anchor, ShopFiles, read_anchor, write_anchor
from shared.privacy.ledger.storage import LockedFile, locked

LOG = logging.getLogger("fedprofile.ledger")
Clock = Callable[[], datetime]


class LedgerWriter:
    """Keeps a checked copy of a ledger in memory and appends to the file.

    Args:
        files: The shop's paths.
        key: Signs what is appended.
        clock: Current time, UTC.

    Attributes:
        chain: What the file said when it was last read.
        torn: Files that torn lines were moved to by this object.
    """

    def __init__(self, files: ShopFiles, key: SigningKey, clock: Clock) -> None:
        self.files = files
        self.key = key
        self.clock = clock
        self.torn: list[Path] = []
        self._forget()

    @contextmanager
    def locked(self, *, create: bool = False) -> Iterator[LockedFile]:
        """Locks the file and reads what others appended.

        Raises:
            PrivacyError: The file cannot be written, was damaged, went back or belongs to others.
        """
        with locked(self.files.ledger, create=create) as file:
            self._check_unchanged(file)
            self._read(file)
            yield file

    def append(self, file: LockedFile, bodies: Sequence[Body]) -> list[int]:
        """Signs and appends lines, all or none, and returns their numbers once on the disk.

        Raises:
            PrivacyError: A line breaks the ledger's rules, or the disk refused.
        """
        if not bodies:
            return []
        try:
            entries = [self._line(body) for body in bodies]
            file.append(b"".join(line + b"\n" for _, line in entries))
        except BaseException:
            self._forget()  # some lines may be in the chain only, or on the disk only
            with suppress(PrivacyError):
                self._read(file)
            raise
        self._end = file.size
        self._last = len(entries[-1][1]) + 1
        self._write_anchor()
        return [number for number, _ in entries]

    def _line(self, body: Body) -> tuple[int, bytes]:
        """Builds the next line and takes it into the chain; the file comes after."""
        chain, number, raw = self.chain, len(self.chain.heads), self.clock()
        time = raw if chain.time is None else max(raw, chain.time)
        draft = Entry(
            seq=number,
            previous=chain.head,
            time=time,
            clock=None if time == raw else raw,
            body=body,
            signature="0" * 128,
        )
        fields = draft.model_dump(mode="json")
        fields["signature"] = self.key.sign(signed_bytes(fields))
        line = canonical(fields)
        chain.feed(line)
        return number, line

    def _forget(self) -> None:
        self.chain, self._end, self._last = Chain(), 0, 0

    def _read(self, file: LockedFile) -> None:
        content = file.read(self._end)
        complete = content[: content.rfind(b"\n") + 1]
        try:
            for line in complete.split(b"\n")[:-1]:
                self.chain.feed(line)
                self._end += len(line) + 1
                self._last = len(line) + 1
        except PrivacyError as error:
            raise PrivacyError(f"ledger={self.files.ledger}: {error}") from error
        self._check_anchor()
        if len(complete) < len(content):
            self._set_aside(file)

    def _check_unchanged(self, file: LockedFile) -> None:
        """Sees that the last line known is still where it was."""
        if not self._end:
            return
        line = file.read(self._end - self._last, self._end)
        if line_hash(line[:-1]) != self.chain.head:
            raise PrivacyError(
                f"ledger={self.files.ledger} was replaced while it was open; keep the file as "
                "evidence and restore a copy that verifies"
            )

    def _set_aside(self, file: LockedFile) -> None:
        """Recovers from a crash within a write: such a line was never acknowledged or acted on."""
        torn = file.set_aside(self._end)
        self.torn.append(torn)
        LOG.warning(
            "ledger=%s ended in a torn line, which nobody acted on; moved to %s",
            self.files.ledger,
            torn,
        )

    def _check_anchor(self) -> None:
        anchor = read_anchor(self.files.anchor)
        if anchor is None:
            return
        try:
            check_anchor(self.chain, anchor)
        except PrivacyError as error:
            raise PrivacyError(f"ledger={self.files.ledger}: {error}") from error

    def _write_anchor(self) -> None:
        start, heads = self.chain.start, self.chain.heads
        write_anchor(
            self.files.anchor,
            Anchor(
                shop=start.shop,
                public_key=start.public_key,
                entry=len(heads) - 1,
                head=heads[-1],
            ),
        )


def check_anchor(chain: Chain, anchor: Anchor) -> None:
    """Holds a ledger against what was known of it before.

    Raises:
        PrivacyError: It is another shop's, began with another key, or went back.
    """
    restore = "keep the file as evidence and restore the newest copy"
    start = chain.genesis
    if start is not None and start.shop != anchor.shop:
        raise PrivacyError(f"shop={start.shop} must be {anchor.shop}: another ledger; {restore}")
    if start is not None and start.public_key != anchor.public_key:
        raise PrivacyError(
            f"public_key={start.public_key[:16]}… must be {anchor.public_key[:16]}…: the key was "
            f"exchanged; {restore}"
        )
    if len(chain.heads) <= anchor.entry:
        raise PrivacyError(
            f"lines={len(chain.heads)} must be at least {anchor.entry + 1}: the ledger went back "
            f"to an older copy or its tail was cut; {restore}"
        )
    if chain.heads[anchor.entry] != anchor.head:
        raise PrivacyError(f"line {anchor.entry} is not the one known: rewritten; {restore}")


def utc_now() -> datetime:
    """Returns what the machine's clock says."""
    return datetime.now(UTC)
