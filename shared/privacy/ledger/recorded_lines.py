"""What a ledger records beside reservations: each function returns the line to add.

None where the ledger says so already: whatever process asks again gets the same answer. A commit
says what answered a reservation, a countersignature what the server signed, an adapter line what a
run ended in; of sums over several shops there are roster, set and signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from shared.errors import PrivacyError
from shared.privacy.ledger.admission import ReleaseRequest
from shared.privacy.ledger.log.aggregation import valid_signatures
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import (
    Aggregation,
    Commit,
    Countersignature,
    Opened,
    RecordedAdapter,
    SurvivorSet,
)
from shared.privacy.ledger.log.receipts import Receipt
from shared.privacy.ledger.log.shop_files import digest_file


def commit_line(chain: Chain, entry: int, digest: str, *, repeatable: bool) -> Commit | None:
    """Returns the line of what was released; the same digest twice is one line.

    Args:
        chain: What the ledger holds.
        entry: Line of the round.
        digest: Of what left.
        repeatable: Whether another digest may follow, since a seed draws the noise again.

    Raises:
        PrivacyError: The release was committed with another digest.
    """
    known = chain.commits.get(entry, ())
    if digest in known:
        return None
    if known and not repeatable:
        raise PrivacyError(
            f"was committed with digest {known[0][:16]}…",
            name="entry",
            value=entry,
            remedy="release each reservation once",
        )
    return Commit(entry=entry, digest=digest)


def reserved_entry(chain: Chain, request: ReleaseRequest) -> int:
    """Returns the line of the round that was reserved for a request, by any process.

    Raises:
        PrivacyError: Nothing was reserved for it.
    """
    entry = chain.rounds.get(request.key)
    if entry is None or chain.bodies[entry].inputs != request.inputs:
        raise PrivacyError(
            "was never reserved for this",
            name="round",
            value=request.round,
            remedy="start a run with another seed",
        )
    return entry


def countersignature_line(chain: Chain, receipt: Receipt) -> Countersignature | None:
    """Returns the line of the server's signature under a head; the chain checks it.

    Raises:
        PrivacyError: It is of another shop.
    """
    shop = chain.start.shop
    if receipt.shop != shop:
        raise PrivacyError(
            f"of the receipt must be {shop}",
            name="shop",
            value=receipt.shop,
            remedy="take the receipt of this shop",
        )
    if receipt.entry in chain.countersigned:
        return None
    fields = receipt.model_dump(include={"entry", "head", "server_key", "signature"})
    return Countersignature(**fields)


def adapter_line(run: str, path: Path, *, folder: Path) -> RecordedAdapter:
    """Returns the line of a run's final adapter.

    Args:
        run: Name of the run.
        path: The adapter's file.
        folder: Folder of releases, within which `path` is named.

    Raises:
        PrivacyError: The file cannot be read or is outside `folder`.
    """
    if not path.is_relative_to(folder):
        raise PrivacyError(
            f"must be in {folder}", name="adapter", value=path, remedy="name its folder"
        )
    name = path.relative_to(folder).as_posix()
    return RecordedAdapter(run=run, file=name, sha256=digest_file(path))


def aggregation_line(chain: Chain, body: Aggregation) -> Aggregation | None:
    """Returns the line of a run's roster and set-up; the chain refuses a second one."""
    return None if chain.aggregations.get(body.run) == body else body


def set_line(
    chain: Chain, *, run: str, release: str, binding: str, survivors: Sequence[str]
) -> SurvivorSet | None:
    """Returns the line of a sum's set; the chain refuses a second one.

    Raises:
        PrivacyError: The release has no name of a sum, or the binding is no digest.
    """
    try:
        body = SurvivorSet(run=run, release=release, binding=binding, survivors=tuple(survivors))
    except ValidationError as error:
        raise PrivacyError(
            "and its binding cannot be recorded",
            name="release",
            value=release[:50],
            remedy="start a new run",
        ) from error
    return None if chain.sets.get((run, release)) == body else body


def opened_line(
    chain: Chain, *, run: str, release: str, signatures: Mapping[str, str]
) -> Opened | None:
    """Returns the line of an opening, with the valid ones among the signatures.

    Which signatures a shop was shown depends on who answered the server: the first that were
    enough stay.
    """
    decided = chain.sets.get((run, release))
    if decided is None:
        return Opened(run=run, release=release, signatures={})  # which the chain refuses
    if (run, release) in chain.opened:
        return None
    valid = valid_signatures(chain.aggregations[run], decided, signatures)
    spelt = {shop: bytes.fromhex(signature).hex() for shop, signature in valid.items()}
    return Opened(run=run, release=release, signatures=spelt)
