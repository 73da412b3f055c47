"""What a federated run is started with, and what it returns."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from server.aggregation.averaging import lora_pairs
from shared.errors import ConfigError
from shared.protocol.messages import Arrays, CodesArray, FloatArray, Plan, RequestKind
from shared.secure_aggregation.roster import Roster
from shared.settings.run_settings import FederationSettings

CandidateDraw: TypeAlias = Callable[[int, FloatArray | None, int], CodesArray]
"""From the round, the summed noisy counts and the number of replies in them."""


@dataclass(frozen=True)
class Refusal:
    """A reply that did not count.

    Attributes:
        round: Round of the request, 0 for item counts and pair sums.
        shop: The name that the shop gave itself, or `node-<id>` where it gave none.
        code: A `RefusalCode` of the server, or the shop's own code.
        remedy: What to do, one line.
        kind: What was asked for.
    """

    round: int
    shop: str
    code: str
    remedy: str
    kind: RequestKind = "train"


@dataclass(frozen=True)
class RoundInfo:
    """What one round did; nothing in it comes from a single shop's data.

    Attributes:
        round: From 1; 0 is a request for item counts or pair sums.
        asked: Shops asked.
        good: Replies that counted.
        refused: Replies that did not.
        update_norm: L2 norm of the aggregated update (of the sum, for item counts and pair sums).
        bytes_down: Bytes of arrays sent to shops.
        bytes_up: Bytes of arrays received.
        seconds: Wall time.
        kind: What was asked for.
        shops: Names of those in the sum, in order, where secure aggregation tells them.
    """

    round: int
    asked: int
    good: int
    refused: int
    update_norm: float
    bytes_down: int
    bytes_up: int
    seconds: float
    kind: RequestKind = "train"
    shops: tuple[str, ...] = ()


def n_replies(rounds: Sequence[RoundInfo], kind: RequestKind) -> int:
    """Returns the number of replies in the sum of a statistic; 0 where it was not asked for."""
    return sum(info.good for info in rounds if info.kind == kind)


@dataclass(frozen=True, eq=False)
class FederationResult:
    """The end of a federated run.

    Attributes:
        adapter: Mean of the last iterates, by matrix name; float32.
        counts: Sum of the shops' noisy item counts `(n_items,)`, None where none were released.
        rounds: One entry a round, also those before a resumption.
        refusals: All replies that did not count, in order of round and shop.
        seconds: Wall time of this call.
        head: Codes of the items whose pairs were asked for, ascending `(h,)`; None where none were.
        pairs: Sum of the shops' noisy pair sums `(h (h - 1) / 2,)`, None where none were released.
    """

    adapter: Arrays
    counts: FloatArray | None
    rounds: tuple[RoundInfo, ...]
    refusals: tuple[Refusal, ...]
    seconds: float
    head: CodesArray | None = None
    pairs: FloatArray | None = None

    def n_replies(self, kind: RequestKind) -> int:
        """Returns the number of replies in the sum of a statistic; 0 where it was not asked for."""
        return n_replies(self.rounds, kind)

    @property
    def bytes_down(self) -> int:
        """Bytes of arrays sent to all shops."""
        return sum(info.bytes_down for info in self.rounds)

    @property
    def bytes_up(self) -> int:
        """Bytes of arrays received from all shops."""
        return sum(info.bytes_up for info in self.rounds)


@dataclass(eq=False)
class Federation:
    """A federated run to be made: everything but the shops.

    Attributes:
        plan: Public parameters, sent with each request.
        settings: Aggregation and the server's optimizer.
        adapter: The first global LoRA matrices by their PEFT names, float32.
        n_items: Length of the item counts; needed where the plan releases them.
        weights: Public weight in (0, 1] by shop; None weighs all shops the same.
        nodes: Nodes to wait for before a round starts; None waits for `settings.min_replies`.
        candidates: Draws the public items of a round's training softmax from its number, the
            noisy item counts and the number of replies in them; must depend on nothing else. None
            sends none.
        checkpoints: Folder for one file a round; None keeps none.
        resume: Go on from the newest checkpoint; False refuses a folder that has one.
        on_round: Called after each round with what it did and the adapter after it.
        on_reply: Called after each reply with round, replies so far and replies expected.
        on_refused: Called with the replies of one request that did not count, also where too few
            are left.
        stop: Set it from another thread to end the run at the next reply.
        roster: Shops that add up by secure aggregation; None where the plan has no roster.
        min_shops: Least number of shops in a sum whose noise is shared; the roster's, where there
            is one.
        result: Filled in when the run has ended.
    """

    plan: Plan
    settings: FederationSettings
    adapter: Arrays
    n_items: int = 0
    weights: Mapping[str, float] | None = None
    nodes: int | None = None
    candidates: CandidateDraw | None = None
    checkpoints: Path | None = None
    resume: bool = False
    on_round: Callable[[RoundInfo, Arrays], None] | None = None
    on_reply: Callable[[int, int, int], None] | None = None
    on_refused: Callable[[Sequence[Refusal]], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    roster: Roster | None = None
    min_shops: int = 1
    result: FederationResult | None = None

    def __post_init__(self) -> None:
        """Checks what the types cannot say.

        Raises:
            ConfigError: Settings that do not fit each other.
            ModelError: The adapter is not made of LoRA pairs.
        """
        pairs = lora_pairs(self.adapter)
        _check_adapter(self.adapter)
        if self.plan.aggregation != self.settings.aggregation:
            raise ConfigError(
                f"must be federation.aggregation={self.settings.aggregation}",
                name="plan.aggregation",
                value=self.plan.aggregation,
                remedy="build the plan from the same settings",
            )
        if self.plan.counts_release and self.n_items < 1:
            raise ConfigError(
                "must be at least 1 where the plan releases item counts",
                name="n_items",
                value=self.n_items,
                remedy="pass the size of the catalogue",
            )
        if self.settings.aggregation == "fedsvd":
            _check_fedsvd(self.settings, ranks=[self.adapter[a].shape for a, _ in pairs])
        _check_weights(self.weights, self.settings)
        _check_shared(self.plan, self.settings, self.weights)
        if (self.roster.digest() if self.roster else "") != self.plan.roster:
            raise ConfigError(
                "must be the one that the plan names",
                name="roster",
                value="none" if self.roster is None else f"{self.roster.digest()[:16]}…",
                remedy="build the plan for the same roster",
            )
        if self.roster is not None:
            self.min_shops = self.roster.threshold
        if self.nodes is not None and self.nodes < self.settings.min_replies:
            raise ConfigError(
                f"must be at most the number of shops={self.nodes}",
                name="min_replies",
                value=self.settings.min_replies,
                remedy="lower it or add shops",
            )
        if self.nodes is not None:
            self.settings.check_robust(self.nodes)

    def draw_candidates(
        self, server_round: int, counts: FloatArray | None, n_replies: int
    ) -> CodesArray:
        """Returns the public items of a round's training softmax, none where none are drawn.

        Args:
            server_round: From 1.
            counts: Summed noisy counts `(n_items,)`, None where none were released.
            n_replies: Replies in `counts`.
        """
        if self.candidates is None:
            return np.zeros(0, dtype=np.int64)
        return self.candidates(server_round, counts, n_replies)

    def digest(self) -> str:
        """SHA-256 of all that decides the result: what a checkpoint must have in common."""
        state = hashlib.sha256(self.plan.digest().encode())
        settings = self.settings.model_dump(exclude={"round_timeout"})
        public = [settings, dict(self.weights or {}), self.n_items]
        state.update(json.dumps(public, sort_keys=True).encode())
        for name in sorted(self.adapter):
            state.update(name.encode())
            state.update(np.ascontiguousarray(self.adapter[name]).tobytes())
        return state.hexdigest()


def _check_adapter(adapter: Arrays) -> None:
    for name, array in adapter.items():
        if array.dtype != np.float32 or array.ndim != 2 or not np.isfinite(array).all():
            raise ConfigError(
                f"adapter matrix {name}: dtype={array.dtype}, ndim={array.ndim} must be float32, 2 "
                "and finite",
                remedy="convert it first",
            )


def _check_fedsvd(settings: FederationSettings, *, ranks: list[tuple[int, ...]]) -> None:
    if settings.server_optimizer == "adam":
        raise ConfigError(
            "server_optimizer=adam keeps a scale for each number, which fedsvd's rotations undo",
            remedy="use momentum or none",
        )
    for rank, width in ranks:
        if rank > width:
            raise ConfigError(
                f"must be at most the module's input width={width} for fedsvd",
                name="rank",
                value=rank,
                remedy="lower it",
            )


def _check_shared(
    plan: Plan, settings: FederationSettings, weights: Mapping[str, float] | None
) -> None:
    """Refuses what would look at single updates, or give the noise of some shops less weight."""
    if plan.noise_shops == 1:
        return
    per_shop = {"robust": settings.robust, "max_update_norm": settings.max_update_norm}
    for name, value in {**per_shop, "weights": weights}.items():
        if value not in (None, "none"):
            raise ConfigError(
                f"{name}={value} does not go with noise_shops={plan.noise_shops}: shared noise "
                "protects the plain sum alone",
                remedy="remove it, or let each shop add all of its noise",
            )


def _check_weights(weights: Mapping[str, float] | None, settings: FederationSettings) -> None:
    if weights is None:
        return
    if settings.robust != "none":
        raise ConfigError(
            f"robust={settings.robust} counts shops alike",
            remedy="remove the weights or use robust=none",
        )
    for shop, weight in weights.items():
        if not 0 < weight <= 1:
            raise ConfigError(
                f"weight={weight} of shop={shop} must be in (0, 1]", remedy="scale the weights"
            )
