"""One shop's ledger: reserve before the first noisy step, commit what left, never unspend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.errors import PrivacyError
from shared.privacy.accounting import ADJACENCY, UNIT
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.admission import Request, admit
from shared.privacy.ledger.chain import Chain, rotation_bytes
from shared.privacy.ledger.digests import digest_file
from shared.privacy.ledger.entries import (
    Adapter,
    Commit,
    Countersignature,
    Genesis,
    KeyRotation,
    Limits,
)
from shared.privacy.ledger.keys import SigningKey
from shared.privacy.ledger.receipts import Receipt
from shared.privacy.ledger.shop_files import ShopFiles, make_key, shop_of
from shared.privacy.ledger.spending import (
    Spending,
    alerts,
    check_limits,
    claimed,
    limits_in_words,
    spent,
)
from shared.privacy.ledger.writer import Clock, LedgerWriter, utc_now


@dataclass(frozen=True)
class Reservation:
    """Permission for one release; the budget is spent whether it is used or not.

    Attributes:
        entry: Line of the round.
        mechanism: What may be released.
        epsilon: Lifetime epsilon with everything that is reserved.
        limit: Lifetime limit.
        delta: Of both.
        alerts: Percent of the limit that this reservation has reached, of 50, 80 and 95.
        repeated: Whether it was admitted before, as the same seeded release.
    """

    entry: int
    mechanism: Mechanism
    epsilon: float
    limit: float
    delta: float
    alerts: tuple[int, ...]
    repeated: bool


class Ledger:
    """A shop's ledger, open for writing; safe for several processes and threads.

    Every method reads what others appended under a lock, checks, appends, and returns when the
    lines are on the disk. Use `Ledger.open` or `Ledger.open_or_create`.
    """

    def __init__(self, writer: LedgerWriter) -> None:
        self._writer = writer

    @classmethod
    def open_or_create(
        cls,
        folder: Path,
        *,
        shop: str,
        limits: Limits,
        keys: Path | None = None,
        clock: Clock = utc_now,
    ) -> Ledger:
        """Opens a shop's ledger in a folder; makes key and ledger the first time.

        Args:
            folder: Holds one `<shop>.jsonl` a shop.
            shop: The shop's public name.
            limits: What the shop will never pass; fixed at the genesis.
            keys: Folder of keys and anchors; None takes `keys/` in `folder`.
            clock: Current time, UTC.

        Raises:
            PrivacyError: The ledger has other limits, cannot be written or does not verify.
        """
        check_limits(limits)
        files = ShopFiles.of(folder, shop, keys=keys)
        if not files.key.exists():
            make_key(files)
        ledger = cls(LedgerWriter(files, SigningKey.load(files.key), clock))
        with ledger._writer.locked(create=True) as file:
            if not ledger.chain.heads:
                genesis = Genesis(
                    shop=shop,
                    unit=UNIT,
                    adjacency=ADJACENCY,
                    limits=limits,
                    public_key=ledger._writer.key.public,
                )
                ledger._writer.append(file, [genesis])
            ledger._check_owner(files)
        found = ledger.chain.start.limits
        if found != limits:
            raise PrivacyError(
                f"limits={limits_in_words(limits)} of shop={shop} must be those of its ledger, "
                f"{limits_in_words(found)}; limits are fixed at the genesis"
            )
        return ledger

    @classmethod
    def open(cls, path: Path, *, keys: Path | None = None, clock: Clock = utc_now) -> Ledger:
        """Opens an existing ledger by its file.

        Raises:
            PrivacyError: It is missing, empty, not this key's, or does not verify.
        """
        files = ShopFiles(path, keys or path.parent / "keys")
        ledger = cls(LedgerWriter(files, SigningKey.load(files.key), clock))
        with ledger._writer.locked():
            _ = ledger.chain.start
            ledger._check_owner(files)
        return ledger

    @property
    def chain(self) -> Chain:
        """What the file said when it was last read; not to be changed."""
        return self._writer.chain

    @property
    def shop(self) -> str:
        """The shop's public name."""
        return self.chain.start.shop

    @property
    def torn(self) -> tuple[Path, ...]:
        """Where torn lines were moved to while this object read the ledger."""
        return tuple(self._writer.torn)

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last line: what a server signs."""
        return len(self.chain.heads) - 1, self.chain.head

    def spent(self) -> Spending:
        """Returns what is spent by everything reserved."""
        with self._writer.locked():
            return spent(self.chain)

    def reserve(self, request: Request) -> Reservation:
        """Reserves one release; the first of a planned run reserves the whole plan.

        Args:
            request: What is to be released.

        Returns:
            Permission, on the disk already.

        Raises:
            PrivacyError: It would pass a limit, is spent already, does not fit its plan, or the
                disk cannot be written. Nothing may be released then.
        """
        with self._writer.locked() as file:
            limit, before = self.chain.start.limits.epsilon, claimed(self.chain)
            bodies = admit(self.chain, request, now=self._writer.clock())
            self._writer.append(file, bodies)
            epsilon = claimed(self.chain)
            reached = set(alerts(epsilon, limit)) - set(alerts(before, limit))
            return Reservation(
                entry=self.chain.rounds[request.key],
                mechanism=request.mechanism,
                epsilon=epsilon,
                limit=limit,
                delta=self.chain.start.limits.delta,
                alerts=tuple(sorted(reached)),
                repeated=not bodies,
            )

    def committed(self, request: Request) -> tuple[int, str] | None:
        """Returns line and digest of the release that already answered this very request.

        Sending that release once more costs nothing; computing it again would.
        """
        with self._writer.locked():
            entry = self.chain.rounds.get(request.key)
            if entry is None or entry not in self.chain.commits:
                return None
            before = self.chain.bodies[entry]
            same = (before.inputs, before.mechanism) == (request.inputs, request.mechanism)
            return (entry, self.chain.commits[entry][-1]) if same else None

    def commit(self, reservation: Reservation, digest: str) -> None:
        """Records what was released; the same digest twice is one line.

        Raises:
            PrivacyError: The release was committed with another digest, or the disk refused.
        """
        with self._writer.locked() as file:
            known = self.chain.commits.get(reservation.entry, [])
            if digest in known:
                return
            if known and not reservation.repeated:
                raise PrivacyError(
                    f"entry={reservation.entry} was committed with digest {known[0][:16]}…; "
                    "release each reservation once"
                )
            self._writer.append(file, [Commit(entry=reservation.entry, digest=digest)])

    def countersign(self, receipt: Receipt) -> None:
        """Records the server's signature under a head of this ledger.

        Raises:
            PrivacyError: It is of another shop or line, or not signed by its key.
        """
        with self._writer.locked() as file:
            if receipt.shop != self.shop:
                raise PrivacyError(f"shop={receipt.shop} of the receipt must be {self.shop}")
            if receipt.entry in self.chain.countersigned:
                return
            fields = receipt.model_dump(exclude={"shop"})
            self._writer.append(file, [Countersignature(**fields)])

    def record_adapter(self, run: str, path: Path, *, folder: Path) -> None:
        """Records the final adapter of a run.

        Args:
            run: Name of the run.
            path: The adapter's file.
            folder: Folder of releases, within which `path` is named.

        Raises:
            PrivacyError: The file cannot be read or is outside `folder`, or the disk refused.
        """
        if not path.is_relative_to(folder):
            raise PrivacyError(f"adapter={path} must be in {folder}; name its folder")
        name = path.relative_to(folder).as_posix()
        body = Adapter(run=run, file=name, sha256=digest_file(path))
        with self._writer.locked() as file:
            if body not in self.chain.adapters:
                self._writer.append(file, [body])

    def rotate_key(self) -> None:
        """Lets a new key sign from here on; the old key signs the line that says so.

        Raises:
            PrivacyError: The disk refused; the old key is still valid then.
        """
        files = self._writer.files
        with self._writer.locked() as file:
            files.next_key.unlink(missing_ok=True)
            new = SigningKey.generate()
            new.save(files.next_key)
            chain = self.chain
            message = rotation_bytes(self.shop, len(chain.heads), chain.head)
            body = KeyRotation(public_key=new.public, proof=new.sign(message))
            self._writer.append(file, [body])
            files.next_key.replace(files.key)
            self._writer.key = new

    def _check_owner(self, files: ShopFiles) -> None:
        """Checks name and key, and finishes a rotation that a crash cut short.

        Raises:
            PrivacyError: The ledger is of another shop, or the key does not fit.
        """
        if self.shop != shop_of(files.ledger):
            raise PrivacyError(
                f"ledger={files.ledger} is of shop={self.shop}; another shop's ledger was put here"
            )
        if files.next_key.exists() and self.chain.public_key != self._writer.key.public:
            new = SigningKey.load(files.next_key)
            if new.public == self.chain.public_key:
                files.next_key.replace(files.key)
                self._writer.key = new
        if self.chain.public_key != self._writer.key.public:
            raise PrivacyError(
                f"key={files.key} does not fit the ledger, which {self.chain.public_key[:16]}… "
                "signs; restore the key that belongs to it"
            )
