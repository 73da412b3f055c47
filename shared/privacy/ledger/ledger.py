"""One shop's ledger: reserve before the first noisy step, commit what left, never unspend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.admission import ReleaseRequest, admit
from shared.privacy.ledger.log.entries import Aggregation, Body, LifetimeLimits, Renewal
from shared.privacy.ledger.log.receipts import Receipt
from shared.privacy.ledger.opened_ledger import OpenedLedger, rotate_key
from shared.privacy.ledger.own_guarantee import check_own_epsilon
from shared.privacy.ledger.recorded_lines import (
    adapter_line,
    aggregation_line,
    commit_line,
    countersignature_line,
    opened_line,
    reserved_entry,
    set_line,
)
from shared.privacy.ledger.renewal import renewal_line
from shared.privacy.ledger.restoration import (
    check_nothing_lost,
    lost_lines,
    receipts_of,
    restore,
    store_if_lost,
)
from shared.privacy.ledger.spending import Spending, alerts, recorded_epsilon, spent
from shared.privacy.ledger.user_bound import raised_bound
from shared.runtime.file_store import LockedFile


@dataclass(frozen=True)
class ReleasePermit:
    """Permission for one release; the budget is spent whether it is used or not.

    Attributes:
        entry: Line of the round.
        mechanism: What may be released.
        epsilon: What counts against the limit, everything that is reserved included: since the
            last renewal of the budget, or since the genesis.
        limit: The limit in force.
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


class Ledger(OpenedLedger):
    """A shop's ledger, open for writing; safe for several processes and threads.

    Every method reads what others appended under a lock, checks, appends, and returns when the
    lines are on the disk. Use `Ledger.open` or `Ledger.open_or_create`.
    """

    def spent(self) -> Spending:
        """Returns what is spent by everything reserved."""
        with self._writer.locked():
            return spent(self.chain)

    def reserve(
        self, request: ReleaseRequest, *, max_own_epsilon: float | None = None
    ) -> ReleasePermit:
        """Reserves one release; the first of a planned run reserves the whole plan.

        Args:
            request: What is to be released.
            max_own_epsilon: Largest epsilon of everything reserved, if all other shops that share
                noise help the server; None sets no limit.

        Returns:
            Permission, on the disk already.

        Raises:
            PrivacyError: It would pass a limit, is spent already, does not fit its plan, or the
                disk cannot be written. Nothing may be released then.
        """
        writer = self._writer
        with writer.locked() as file:
            check_nothing_lost(writer)
            limit, before = writer.chain.limits.epsilon, recorded_epsilon(writer.chain)
            bodies = admit(writer.chain, request, now=writer.clock())
            if max_own_epsilon is not None:
                check_own_epsilon(writer.chain, bodies, max_own_epsilon)
            writer.append(file, bodies)
            epsilon = recorded_epsilon(writer.chain)
            reached = set(alerts(epsilon, limit)) - set(alerts(before, limit))
            return ReleasePermit(
                entry=writer.chain.rounds[request.key],
                mechanism=request.mechanism,
                epsilon=epsilon,
                limit=limit,
                delta=writer.chain.limits.delta,
                alerts=tuple(sorted(reached)),
                repeated=not bodies,
            )

    def committed(self, request: ReleaseRequest) -> tuple[int, str] | None:
        """Returns line and digest of the release that already answered this very request.

        Sending that release once more costs nothing; computing it again would.

        Raises:
            PrivacyError: A receipt shows that the ledger has lost lines, or it does not verify.
        """
        with self._writer.locked():
            check_nothing_lost(self._writer)
            entry = self.chain.rounds.get(request.key)
            if entry is None or entry not in self.chain.commits:
                return None
            before = self.chain.bodies[entry]
            same = (before.inputs, before.mechanism) == (request.inputs, request.mechanism)
            return (entry, self.chain.commits[entry][-1]) if same else None

    def commit(self, reservation: ReleasePermit, digest: str) -> None:
        """Records what was released; the same digest twice is one line.

        Raises:
            PrivacyError: The release was committed with another digest, or the disk refused.
        """
        with self._writer.locked() as file:
            entry, repeatable = reservation.entry, reservation.repeated
            body = commit_line(self.chain, entry, digest, repeatable=repeatable)
            self._record(file, body)

    def commit_round(self, request: ReleaseRequest, digest: str) -> None:
        """Records what was released for a request that was reserved, by any process.

        Raises:
            PrivacyError: Nothing was reserved for it, it was committed with another digest, or the
                disk refused.
        """
        with self._writer.locked() as file:
            entry = reserved_entry(self.chain, request)
            body = commit_line(self.chain, entry, digest, repeatable=request.repeatable)
            self._record(file, body)

    def countersign(self, receipt: Receipt) -> None:
        """Records the server's signature under a head of this ledger.

        Raises:
            PrivacyError: It is of another shop or line, or not signed by its key.
        """
        with self._writer.locked() as file:
            self._record(file, countersignature_line(self.chain, receipt))

    def take_receipt(self, receipt: Receipt) -> None:
        """Countersigns a receipt of this ledger; stops every release at one of lost lines.

        Args:
            receipt: Of the server that the owner trusts to sign; the caller looks at its key.

        Raises:
            PrivacyError: As `countersign`, or the receipt is of a line that the ledger has lost: it
                is stored, and nothing is released until `restore`.
        """
        with self._writer.locked():
            store_if_lost(self._writer, receipt)
            held = self.chain.holds(receipt)
        if held:
            self.countersign(receipt)

    def lost_lines(self) -> tuple[Receipt, ...]:
        """Returns the receipts that stop every release: of lines that the ledger has lost."""
        return lost_lines(self._writer)

    def restore(self, receipts: Sequence[Receipt] = ()) -> Receipt | None:
        """Counts what the lost lines had reserved, as the server's receipts prove it.

        Args:
            receipts: Of the server that the owner trusts to sign, besides those that stopped the
                ledger; the caller looks at their keys.

        Returns:
            The receipt that was counted: the last one, whose account holds all before; None where
            no line was lost.

        Raises:
            PrivacyError: The receipt does not say what was reserved, its filter is not the
                ledger's, or the disk refused.
        """
        with self._writer.locked():
            mine = receipts_of(self._writer, receipts)
            held = [receipt for receipt in mine if self.chain.holds(receipt)]
        for receipt in held[-1:]:
            self.countersign(receipt)  # the later the last line that both know, the less is lost
        with self._writer.locked() as file:
            return restore(self._writer, file, mine)

    def record_adapter(self, run: str, path: Path, *, folder: Path) -> None:
        """Records the final adapter of a run.

        Args:
            run: Name of the run.
            path: The adapter's file.
            folder: Folder of releases, within which `path` is named.

        Raises:
            PrivacyError: The file cannot be read or is outside `folder`, or the disk refused.
        """
        body = adapter_line(run, path, folder=folder)
        with self._writer.locked() as file:
            self._record(file, None if body in self.chain.adapters else body)

    def record_aggregation(self, body: Aggregation) -> None:
        """Records roster and set-up of a run; the same again adds no line.

        Args:
            body: What the shop checked: signatures of the roster, keys of the set-up.

        Raises:
            PrivacyError: The run has another roster or set-up, the roster does not hold or leaves
                the shop out, lines were lost, or the disk refused.
        """
        with self._writer.locked() as file:
            check_nothing_lost(self._writer)
            self._record(file, aggregation_line(self.chain, body))

    def decide_set(self, *, run: str, release: str, binding: str, survivors: Sequence[str]) -> None:
        """Records which shops are in a sum, before the shop signs it; the same adds no line.

        Args:
            run: Its `aggregation` line stands.
            release: Which sum of the run, such as `counts` or `adapter-3`.
            binding: Digest of what masks and signatures of the sum are bound to.
            survivors: Shops in the sum, in order of their names.

        Raises:
            PrivacyError: The sum has another set, the roster does not allow this one, nothing of
                the run was reserved, lines were lost, or the disk refused. Nothing may be signed
                then.
        """
        with self._writer.locked() as file:
            check_nothing_lost(self._writer)
            body = set_line(
                self.chain, run=run, release=release, binding=binding, survivors=survivors
            )
            self._record(file, body)

    def record_opened(self, *, run: str, release: str, signatures: Mapping[str, str]) -> None:
        """Records the signatures under which a sum was opened; a second time adds no line.

        Args:
            run: As in the set.
            release: As in the set.
            signatures: By shop; those that are not valid under the set are left out.

        Raises:
            PrivacyError: There is no set, too few have signed it, or the disk refused.
        """
        with self._writer.locked() as file:
            body = opened_line(self.chain, run=run, release=release, signatures=signatures)
            self._record(file, body)

    def raise_max_users(self, max_users: int, *, delta: float | None = None) -> LifetimeLimits:
        """States that the shop may have more users; see `user_bound.raised_bound`.

        Args:
            max_users: The new bound, a public number.
            delta: Lifetime delta from here on; None takes the largest that both allow.

        Raises:
            PrivacyError: The bound does not go up, delta does, what is spent would pass the limit
                at that delta, or lines were lost. Nothing is written then.
        """
        with self._writer.locked() as file:
            check_nothing_lost(self._writer)
            self._writer.append(file, [raised_bound(self.chain, max_users, delta=delta)])
            return self.chain.stated_limits

    def renew(
        self,
        *,
        epsilon: float,
        reason: str,
        window_days: float | None = None,
        window_epsilon: float | None = None,
    ) -> Renewal:
        """Gives the shop a new budget; nothing that was spent is forgotten.

        Args:
            epsilon: What may be reserved from here on.
            reason: Why, in the owner's words; stays in the ledger.
            window_days: Length of the window from here on, days; None leaves the window as it is.
            window_epsilon: Epsilon within a window from here on.

        Raises:
            PrivacyError: The limits are out of bounds, the reason is empty or too long, lines are
                lost, or the disk refused. Nothing is written then.
        """
        with self._writer.locked() as file:
            check_nothing_lost(self._writer)
            limits = self.chain.limits.model_copy(update={"epsilon": epsilon})
            if (window_days, window_epsilon) != (None, None):
                window = {"window_days": window_days, "window_epsilon": window_epsilon}
                limits = limits.model_copy(update=window)
            body = renewal_line(self.chain, limits, reason)
            self._writer.append(file, [body])
            return body

    def rotate_key(self) -> None:
        """Lets a new key sign from here on; the old key signs the line that says so.

        Raises:
            PrivacyError: The disk refused; the old key is still valid then.
        """
        with self._writer.locked() as file:
            rotate_key(self._writer, file)

    def _record(self, file: LockedFile, body: Body | None) -> None:
        if body is not None:
            self._writer.append(file, [body])
