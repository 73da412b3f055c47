"""What each shop sent, as sent, kept in the run folder for auditors: `releases/SHOP/*.npz`.

A file holds the reply's arrays by their names, whole numbers, and beside them the grid (`grid`) and
what was asked (`asked`, JSON). Of a secure sum it holds the one array that left, `masked`: uint8,
six bytes a number.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from client.federation.node_interface import read_plan
from shared.errors import DataError
from shared.privacy.ledger.log.shop_files import RELEASES, digest_arrays, file_stem
from shared.privacy.noise import GRID
from shared.protocol import messages
from shared.protocol.messages import Plan, RequestKind
from shared.protocol.secure_sums import asked_of
from shared.runtime.file_store import write_atomic
from shared.secure_aggregation.masks import NUMBER_BYTES

Arrays = dict[str, npt.NDArray[Any]]
KINDS: dict[str, RequestKind] = {
    messages.COUNTS: "counts",
    messages.PAIRS: "pairs",
    messages.UPDATE: "train",
}
"""Record of a reply that holds a release -> what is asked then."""
RECORDS = (*KINDS, messages.MASKED)
"""Records of a reply that hold what leaves, in whole numbers or under masks."""
GRID_NAME, ASKED_NAME = "grid", "asked"


@dataclass(frozen=True)
class AskedRelease:
    """What was asked, beside the numbers that answered.

    Attributes:
        shop: The shop's public name, as it replied.
        kind: `counts`, `pairs` or `update`.
        round: From 1; 0 for statistics.
        grid: Steps of the whole numbers for a norm of 1.
        variance: Of the shop's own noise in each number, in steps, under masks too; as text, since
            it may pass 64 bits.
        run: Run, as the ledgers name it.
        plan: Digest of the plan.
        inputs: Digest of all that was asked, as the ledger's line has it; under masks the line
            binds it to the run's set-up.
        head: Digest of the head that was sent; empty for other releases.
        candidates: Digest of the candidates that were sent; empty for other releases.
    """

    shop: str
    kind: str
    round: int
    grid: int
    variance: str
    run: str
    plan: str
    inputs: str
    head: str = ""
    candidates: str = ""


@dataclass(frozen=True, eq=False)
class SavedRelease:
    """One file.

    Attributes:
        path: Where it is.
        asked: What was asked.
        arrays: What left, by name.
    """

    path: Path
    asked: AskedRelease
    arrays: Arrays

    @property
    def masked(self) -> bool:
        """Whether it left under masks."""
        return set(self.arrays) == {messages.MASKED}

    @property
    def length(self) -> int:
        """How many numbers left."""
        size = sum(array.size for array in self.arrays.values())
        return size // NUMBER_BYTES if self.masked else size

    @property
    def numbers(self) -> npt.NDArray[Any]:
        """All numbers, in order of their names, `(n,)`; of masked ones the bytes."""
        return np.concatenate([self.arrays[name].ravel() for name in sorted(self.arrays)])


@dataclass(frozen=True)
class SaveReleases:
    """A mod of the ClientApp, the outermost: keeps each release as the reply holds it.

    Attributes:
        folder: Of the run; `releases/` is made in it.
    """

    folder: Path

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Answers, and keeps what the answer releases; refusals are not kept."""
        reply = call_next(message, context)
        content = reply.content
        for record in RECORDS:
            if record in content.array_records:
                shop = str(content.config_records[messages.STATUS]["shop"])
                arrays = messages.from_record(content.array_records[record])
                write_release(self.folder, asked_release(message, shop=shop), {**arrays})
        return reply


def asked_release(message: Message, *, shop: str) -> AskedRelease:
    """Says what a request asked."""
    content = message.content
    plan, number = read_plan(content.config_records[messages.PLAN], round_key=messages.ROUND)
    kind = _kind_asked(message)
    digests = {}
    if kind == messages.UPDATE:
        codes = messages.from_codes(content.array_records[messages.CANDIDATES])
        digests["candidates"] = digest_arrays({messages.CANDIDATES: codes})
    elif kind == messages.PAIRS:
        head = messages.from_codes(content.array_records[messages.HEAD], name=messages.HEAD)
        digests["head"] = digest_arrays({messages.HEAD: head})
    return AskedRelease(
        shop=shop,
        kind=kind,
        round=number if kind == messages.UPDATE else 0,
        grid=GRID,
        variance=str(planned_variance(plan, kind)),
        run=plan.digest()[:16],
        plan=plan.digest(),
        inputs=asked_of(content, KINDS[kind]),
        **digests,
    )


def _kind_asked(message: Message) -> str:
    """Returns the record that answers a request, whether or not it leaves under masks."""
    action, _, query = message.metadata.message_type.partition(".")
    return messages.UPDATE if action == "train" else query


def planned_variance(plan: Plan, kind: str) -> int:
    """Returns the variance that each number of a shop's release should have."""
    if kind == messages.UPDATE:
        return plan.local_steps * plan.own_variance(plan.noise_multiplier)
    if kind == messages.COUNTS:
        return plan.own_variance(plan.counts_noise_multiplier)
    return plan.own_variance(plan.pairs_noise_multiplier)


def write_release(folder: Path, asked: AskedRelease, arrays: Arrays) -> Path:
    """Writes one file; a release that is sent again after a resumption replaces itself."""
    name = f"round-{asked.round:04d}" if asked.kind == messages.UPDATE else asked.kind
    path = folder / RELEASES / file_stem(asked.shop) / f"{name}.npz"
    content = io.BytesIO()
    named: dict[str, Any] = {
        **arrays,
        GRID_NAME: np.int64(asked.grid),
        ASKED_NAME: np.str_(json.dumps(asdict(asked))),
    }
    np.savez(content, **named)
    write_atomic(path, content.getvalue(), durable=False, private=False)
    return path


def read_releases(folder: Path) -> tuple[SavedRelease, ...]:
    """Reads all releases of a run folder, by shop and name.

    Raises:
        DataError: A file is none of these.
    """
    return tuple(_read(path) for path in sorted((folder / RELEASES).glob("*/*.npz")))


def _read(path: Path) -> SavedRelease:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        asked = AskedRelease(**json.loads(str(arrays.pop(ASKED_NAME))))
        if int(arrays.pop(GRID_NAME)) != asked.grid or not arrays:
            raise ValueError("grid or numbers are missing")
    except (OSError, BadZipFile, ValueError, TypeError, KeyError, EOFError) as error:
        raise DataError(
            f"is no saved release ({type(error).__name__})",
            name="release",
            value=path,
            remedy="run again with --save-releases",
        ) from error
    return SavedRelease(path, asked, arrays)
