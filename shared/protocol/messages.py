"""The federated plan, and the keys and kinds of what server and shops send each other.

The plan holds every public parameter of a run, fixed before its first step. The server sends it
with each request; a shop checks it and accounts for it. It holds nothing that depends on anybody's
data.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord
from pydantic import ConfigDict, Field, model_validator

from shared.privacy.accounting.guarantee import COUNTS_MAX_NORM, PAIRS_MAX_NORM, own_noise
from shared.privacy.noise import GRID, grid_variance
from shared.runtime.file_store import NUMPY_HEADER_LOCK
from shared.settings import plan_bounds as bounds
from shared.settings.run_settings import Settings


class Plan(Settings):
    """Public parameters of a federated run.

    A shop reads it from whoever sends it: no number is out of `shared.settings.plan_bounds`, none
    is infinite, and none is read from a text or a truth value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    rounds: Annotated[int, Field(ge=0, le=10_000)]
    """Federated rounds in all; 0 trains nothing."""
    local_steps: bounds.LocalSteps
    """DP-SGD steps in each shop and round."""
    sample_rate: bounds.SampleRate
    """Poisson probability of a user a step; 1 is the full batch."""
    divisor: bounds.Divisor
    """Public divisor of the summed clipped gradients, in users."""
    max_grad_norm: bounds.ClipNorm
    """L2 bound of one user's gradient."""
    noise_multiplier: bounds.NoiseMultiplier
    """Noise of a step in units of `max_grad_norm`; 0 only where nothing is trained, or without
    privacy."""
    learning_rate: bounds.LearningRate
    """Step size per unit of clipped gradient (applied as learning_rate / max_grad_norm)."""
    counts_noise_multiplier: bounds.NoiseMultiplier
    """Noise of the item counts in units of their sensitivity; 0 only without privacy."""
    counts_release: bool
    """Whether item counts are released."""
    pairs_noise_multiplier: bounds.NoiseMultiplier
    """Noise of the pair sums in units of their sensitivity; 0 only without privacy."""
    pairs_release: bool
    """Whether pair sums are released, over the items of largest noisy count."""
    head_items: bounds.HeadItems
    """Items at most whose pairs are released."""
    noise_shops: bounds.NoiseShops
    """Shops that add the noise together: noise multipliers are those of the sum of so many shops,
    and each adds `noise_multiplier / sqrt(noise_shops)`; 1 where each adds all of it."""
    roster: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the roster under which shops add up by secure aggregation, `noise_shops` being its
    own; empty where each release leaves by itself."""
    private: bool
    """Whether the guarantee holds; False marks a run for comparison."""
    aggregation: Literal["frozen-a", "average", "fedsvd"]
    """Which adapter matrices train, and how they are combined."""
    examples_per_user: bounds.ExamplesPerUser
    """Context and target pairs of one user."""
    max_context: bounds.MaxContext
    """Items in one context at most."""
    max_targets: bounds.MaxTargets
    """Items to predict in one example at most."""
    candidates: bounds.Candidates
    """Public items in the training softmax."""
    physical_batch: bounds.PhysicalBatch
    """Users in memory at once."""
    scale: bounds.Scale
    """Factor on similarities in the training softmax."""
    half_life: bounds.HalfLife
    """Recency half-life in the data's unit of time."""
    base_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the frozen base that adapters belong to."""
    seed: bounds.Seed
    """Public seed: candidate draws; in a simulation also the shops' noise."""

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Plan:
        bounds.check_batch(self)
        return self

    @model_validator(mode="after")
    def _head_is_paid_for(self) -> Plan:
        if self.pairs_release and not self.counts_release:
            raise ValueError(
                "pairs_release=True needs counts_release=True: the items whose pairs are released "
                "are chosen by noisy counts"
            )
        return self

    @model_validator(mode="after")
    def _roster_shares_noise(self) -> Plan:
        if self.roster and not (self.private and self.noise_shops > 1):
            raise ValueError("a roster needs private=True and noise_shops above 1")
        return self

    @property
    def update_scale(self) -> float:
        """What the server multiplies noisy sums of gradients with, so that they are an update."""
        return -self.learning_rate / (self.divisor * GRID)

    def own_variance(self, noise_multiplier: float) -> int:
        """Returns the variance that each shop adds to a whole number, for sensitivity `GRID`."""
        return grid_variance(noise_multiplier, shops=self.noise_shops)

    def own_noise(self, noise_multiplier: float) -> float:
        """Returns what each shop adds itself of a noise multiplier of this plan."""
        return own_noise(noise_multiplier, self.noise_shops)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form."""
        return hashlib.sha256(json.dumps(self.to_record(), sort_keys=True).encode()).hexdigest()

    def to_record(self) -> dict[str, Any]:
        """Returns flat scalars, as Flower's `ConfigRecord` carries them."""
        return self.model_dump()


StatisticKind = Literal["counts", "pairs"]
"""Item counts, or pair sums over the head items."""
RequestKind = Literal["train", "counts", "pairs"]
"""What shops are asked for: an update, noisy item counts or noisy pair sums."""


def noise_of(plan: Plan, kind: RequestKind) -> float:
    """Returns the noise multiplier of what shops are asked for."""
    return {
        "train": plan.noise_multiplier,
        "counts": plan.counts_noise_multiplier,
        "pairs": plan.pairs_noise_multiplier,
    }[kind]


def summed_noise_std(plan: Plan, kind: StatisticKind, *, n_replies: int) -> float:
    """Returns the standard deviation of the noise in each value of a sum; 0 without privacy.

    Every shop adds independent normal noise to its statistic, and variances of independent noise
    add up. So only shops whose reply is in the sum count: with the number of invited shops instead,
    a run in which one of four is missing would assume 15% more noise than there is, and shrink
    real counts away.

    Args:
        plan: Public plan of the run.
        kind: What was summed.
        n_replies: Replies in the sum, refused ones left out.
    """
    max_norm = {"counts": COUNTS_MAX_NORM, "pairs": PAIRS_MAX_NORM}[kind]
    return plan.own_noise(noise_of(plan, kind)) * max_norm * math.sqrt(n_replies)


FloatArray: TypeAlias = npt.NDArray[np.float32]
CodesArray: TypeAlias = npt.NDArray[np.int64]
Arrays: TypeAlias = dict[str, FloatArray]
"""Adapter matrices, or updates of them, by their name in the PEFT state dict."""

Release: TypeAlias = dict[str, npt.NDArray[np.int64]]
"""What leaves a shop: whole numbers on the grid of `shared.privacy.noise`, by name."""

ADAPTER = "adapter"
"""ArrayRecord: the global adapter's trainable and frozen LoRA matrices (server to shop)."""
PLAN = "plan"
"""ConfigRecord: the plan, flat (server to shop)."""
ROUND = "round"
"""Key in the plan record: number of the round, from 1."""
CANDIDATES = "candidates"
"""ArrayRecord with one array, `candidates` `(n,)` unsigned: the public items of a round's softmax
(server to shop)."""
UPDATE = "update"
"""ArrayRecord: noisy sums of clipped gradients on the grid, trainable matrices only (shop to
server)."""
COUNTS = "counts"
"""ArrayRecord with one array, `counts` `(n_items,)`: noisy item counts on the grid (shop to
server)."""
COUNTS_QUERY = "counts"
"""Name of the query (`query.counts`) that asks a shop for its noisy counts."""
HEAD = "head"
"""ArrayRecord with one array, `head` `(h,)` unsigned: codes of the items whose pairs are asked for,
ascending (server to shop)."""
PAIRS = "pairs"
"""ArrayRecord with one array, `pairs` `(h (h - 1) / 2,)`: noisy pair sums on the grid (shop to
server)."""
PAIRS_QUERY = "pairs"
"""Name of the query (`query.pairs`) that asks a shop for its noisy pair sums."""
MASKED = "masked"
"""ArrayRecord with one array, `masked` `(6 n,)` bytes: a release of n numbers under masks, which
vanish in the sum over shops alone (shop to server)."""
AGGREGATION = "aggregation"
"""ConfigRecord: `content`, a message of `shared.secure_aggregation.messages` (both ways). With a
request for a release it asks for a masked one."""
KEYS_QUERY, SHARES_QUERY, CONFIRM_QUERY, OPEN_QUERY, END_QUERY = (
    "keys",
    "shares",
    "confirm",
    "open",
    "end",
)
"""Names of the queries of secure aggregation besides the releases themselves."""
STATUS = "status"
"""ConfigRecord: `shop` and, for a refusal, `code` and `remedy`; nothing from the data."""
LORA_A = "lora_A.weight"
"""End of the name of a LoRA matrix A `(rank, in)`."""
LORA_B = "lora_B.weight"
"""End of the name of a LoRA matrix B `(out, rank)`."""


def trainable_names(names: Iterable[str], *, aggregation: str) -> tuple[str, ...]:
    """Returns the names of the matrices that an update holds, sorted.

    Args:
        names: Names of the adapter's matrices, as PEFT saves them (`...lora_A.weight`).
        aggregation: `average` trains A and B; `frozen-a` and `fedsvd` train B alone.
    """
    return tuple(sorted(n for n in names if aggregation == "average" or n.endswith(LORA_B)))


def to_record(arrays: Mapping[str, FloatArray]) -> ArrayRecord:
    """Packs float32 arrays, in order of their names."""
    return ArrayRecord(
        {
            name: Array(np.ascontiguousarray(arrays[name], dtype=np.float32))
            for name in sorted(arrays)
        }
    )


def release_record(release: Mapping[str, npt.NDArray[np.int64]]) -> ArrayRecord:
    """Packs what a shop releases, in order of the names.

    Raises:
        TypeError: Something is not int64: a fraction must never leave, nor be cut off unseen.
    """
    for name, numbers in release.items():
        if numbers.dtype != np.int64:
            raise TypeError(f"{name} has type {numbers.dtype}, must be int64 on the grid")
    return ArrayRecord(
        {
            name: Array(np.ascontiguousarray(release[name], dtype=np.int64))
            for name in sorted(release)
        }
    )


def codes_record(codes: CodesArray, *, name: str = CANDIDATES) -> ArrayRecord:
    """Packs item codes, the round's candidates or the head, in as few bytes a code as hold them."""
    smallest = np.min_scalar_type(codes.max(initial=0))
    return ArrayRecord({name: Array(np.ascontiguousarray(codes, dtype=smallest))})


def from_codes(record: ArrayRecord, *, name: str = CANDIDATES) -> CodesArray:
    """Unpacks item codes `(n,)`.

    Raises:
        TypeError: They are no whole numbers.
    """
    with NUMPY_HEADER_LOCK:
        return record[name].numpy().astype(np.int64, casting="safe")


def from_record(record: ArrayRecord) -> Arrays:
    """Unpacks the arrays of a trusted sender; a server checks first."""
    with NUMPY_HEADER_LOCK:
        return {name: array.numpy() for name, array in record.items()}


INSTALL_QUERY = "install"
"""Name of the query (`query.install`) that brings a release."""
RELEASE = "release"
"""ConfigRecord: `manifest` and `file` as bytes, `signature` (server to shop)."""
RECEIPTS = "receipts"
"""ConfigRecord: `lines`, receipts of the shop's heads as JSON lines (server to shop)."""
LEDGER = "ledger"
"""ConfigRecord: `entry`, `head` and `account` (JSON) of the shop's ledger after the reply (shop to
server)."""
INSTALLED = "installed"
"""ConfigRecord: `number` of the release that the shop has installed (shop to server)."""
ROSTER_QUERY = "roster"
"""Name of the query (`query.roster`) that asks for a shop's key, and its signature of a roster."""
ROSTER = "roster"
"""ConfigRecord: `content` and `signed` as bytes, both optional (server to shop); `key`, `held` and,
where the owner accepted this roster, `signature` (shop to server)."""
