"""The ledger's file: signed lines appended under a lock, and the anchor that knows the last one.

The anchor holds the last line's hash and the public key of the genesis. It lies with the key,
apart from the ledger, so that a ledger restored from an old copy shows on the shop's own machine.
A ledger without its anchor is refused: it may be any older copy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from shared.errors import PrivacyError
from shared.keys.signing import Digest, SigningKey, canonical
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Body, Entry, LedgerRecord
from shared.privacy.ledger.log.line_format import line_hash, signed_bytes
from shared.privacy.ledger.log.shop_files import ShopFiles
from shared.runtime.file_store import LockedFile, locked, write_atomic


class Anchor(LedgerRecord):
    """What the owner knows of a ledger without opening it."""

    shop: str
    """Whose ledger."""
    public_key: Digest
    """Key of the genesis."""
    entry: Annotated[int, Field(ge=0)]
    """Number of the last acknowledged line, or of one before it."""
    head: Digest
    """Hash of that line."""


def write_anchor(path: Path, anchor: Anchor) -> None:
    """Replaces an anchor.

    Raises:
        PrivacyError: The disk refused.
    """
    # Not durable: after a power failure an older anchor is as good (the ledger itself is synced),
    # and each reservation would pay for two more calls of fsync. A file system that leaves an empty
    # one behind costs its owner `fedprofile node ledger restore`.
    write_atomic(
        path,
        canonical(anchor.model_dump()) + b"\n",
        durable=False,
        private=False,
        name="anchor",
        refusal=PrivacyError,
        remedy="free space or make the disk writable, then ask again",
    )


RESTORE_ANCHOR = (
    "restore it from its backup, or run `fedprofile node ledger restore` with the server's receipts"
)
"""Remedy where the anchor is missing or damaged."""


def read_anchor(path: Path) -> Anchor | None:
    """Reads an anchor; None where there is none, or a file that a power failure left empty.

    Raises:
        PrivacyError: The file holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrivacyError(
            f"cannot be read ({error.strerror})",
            name="anchor",
            value=path,
            remedy="let this user read it, or restore it from its backup",
        ) from error
    if not content.strip(b"\0"):
        return None
    try:
        return Anchor.model_validate(json.loads(content))
    except (ValueError, ValidationError) as error:
        raise PrivacyError(
            "is damaged",
            name="anchor",
            value=path,
            remedy=RESTORE_ANCHOR,
        ) from error


LOG = logging.getLogger("fedprofile.ledger")
MAKE_WRITABLE = (
    "nothing is released: check the path, free space or make the disk writable, then ask again"
)
"""Remedy where the disk refuses the ledger: no release leaves before its line is on the disk."""
Clock = Callable[[], datetime]


class LedgerWriter:
    """Keeps a checked copy of a ledger in memory and appends to the file.

    Args:
        files: The shop's paths.
        key: Signs what is appended.
        clock: Current time, UTC.
        anchored: Whether the anchor must know the ledger; False where the owner restores it.

    Attributes:
        chain: What the file said when it was last read.
        torn: Files that torn lines were moved to by this object.
    """

    def __init__(
        self, files: ShopFiles, key: SigningKey, clock: Clock, *, anchored: bool = True
    ) -> None:
        self.files = files
        self.anchored = anchored
        self._anchor_path = files.anchor
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
        with locked(self.files.ledger, name="ledger", remedy=MAKE_WRITABLE, create=create) as file:
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
        self.write_anchor()
        return [number for number, _ in entries]

    def _line(self, body: Body) -> tuple[int, bytes]:
        """Builds the next line and takes it into the chain; the file comes after."""
        chain, number, raw = self.chain, len(self.chain.line_hashes), self.clock()
        # A clock that was set back must neither block a shop nor date spending out of a budget's
        # window: time stands still until the clock has caught up, and `clock` keeps what it said.
        time = raw if chain.time is None else max(raw, chain.time)
        draft = Entry(
            seq=number,
            previous=chain.last_hash,
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
        # Without a line feed, a last line was torn by a crash, even where its JSON is whole.
        content = file.read(self._end)
        complete = content[: content.rfind(b"\n") + 1]
        try:
            for line in complete.split(b"\n")[:-1]:
                self.chain.feed(line)
                self._end += len(line) + 1
                self._last = len(line) + 1
        except PrivacyError as error:
            raise PrivacyError(
                error.message, name="ledger", value=self.files.ledger, remedy=error.remedy
            ) from error
        # Before anything is cut: bytes of a ledger that went back are evidence.
        self._check_anchor()
        if len(complete) < len(content):
            self._set_aside(file)

    def _check_unchanged(self, file: LockedFile) -> None:
        """Sees that the last line known is still where it was."""
        if not self._end:
            return
        # One line alone, or each append would read the whole file: an earlier line that was edited
        # in place shows when the ledger is opened anew.
        line = file.read(self._end - self._last, self._end)
        if line_hash(line[:-1]) != self.chain.last_hash:
            raise PrivacyError(
                "was replaced while it was open",
                name="ledger",
                value=self.files.ledger,
                remedy="keep the file as evidence and restore a copy that verifies",
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
        if not self.anchored:
            return
        anchor = read_anchor(self._anchor_path)
        if anchor is None:
            # What is deleted with the tail of a ledger must not make the rest of it look whole.
            if self.chain.line_hashes:
                raise PrivacyError(
                    f"is missing or empty, but its ledger has {len(self.chain.line_hashes)} lines",
                    name="anchor",
                    value=self._anchor_path,
                    remedy=RESTORE_ANCHOR,
                )
            return
        try:
            check_anchor(self.chain, anchor)
        except PrivacyError as error:
            raise PrivacyError(
                error.message, name="ledger", value=self.files.ledger, remedy=error.remedy
            ) from error

    def write_anchor(self) -> None:
        """Notes the last line.

        Raises:
            PrivacyError: The disk refused.
        """
        start, hashes = self.chain.start, self.chain.line_hashes
        write_anchor(
            self._anchor_path,
            Anchor(
                shop=start.shop,
                public_key=start.public_key,
                entry=len(hashes) - 1,
                head=hashes[-1],
            ),
        )


def check_anchor(chain: Chain, anchor: Anchor) -> None:
    """Holds a ledger against what was known of it before.

    Raises:
        PrivacyError: It is another shop's, began with another key, or went back.
    """
    restore = (
        "keep the file as evidence and restore the newest copy; if there is none, run "
        "`fedprofile node ledger restore` with the server's receipts"
    )
    start = chain.genesis
    if start is not None and start.shop != anchor.shop:
        raise PrivacyError(
            f"must be {anchor.shop}: another ledger",
            name="shop",
            value=start.shop,
            remedy=restore,
        )
    if start is not None and start.public_key != anchor.public_key:
        raise PrivacyError(
            f"public_key={start.public_key[:16]}… must be {anchor.public_key[:16]}…: the key was "
            "exchanged",
            remedy=restore,
        )
    if len(chain.line_hashes) <= anchor.entry:
        raise PrivacyError(
            f"must be at least {anchor.entry + 1}: the ledger went back to an older copy or its "
            "tail was cut",
            name="lines",
            value=len(chain.line_hashes),
            remedy=restore,
        )
    if chain.line_hashes[anchor.entry] != anchor.head:
        raise PrivacyError(f"line {anchor.entry} is not the one known: rewritten", remedy=restore)


def utc_now() -> datetime:
    """Returns what the machine's clock says."""
    return datetime.now(UTC)
