"""The form of `report.json`, version 1: every key, its unit and when it is null.

`docs/report.md` is written from the docstrings in this file
(`simulation.experiments.single.schema_docs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.privacy.accounting.guarantee import Guarantee
from shared.privacy.accounting.roster_bounds import RosterBounds
from simulation.reporting.records import (
    METHOD_NAMES,
    SURFACES,
    ExperimentReport,
    Interval,
    Record,
    Share,
    Verdict,
)

if TYPE_CHECKING:
    from server.federation.federated_run import Refusal, RoundInfo


METHODS = tuple(METHOD_NAMES)
"""Methods in the order in which reports show them."""
COMPARED = ("best-local", "placebo", "fused")
"""Methods of which a comparison tells the differences."""
NON_PRIVATE = ("fused-non-private", "pooled")
"""References that no shop can have under the guarantee."""


class MechanismRecord(Record):
    """One noisy mechanism: everything that a shop releases is in one of these."""

    name: str
    """`dp-sgd`, `item-counts` or `pair-sums`."""
    noise_multiplier: Annotated[float, Field(ge=0)]
    """Standard deviation of the noise in units of the L2 sensitivity."""
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    """Probability that a user takes part in a step; 1 is the full batch."""
    steps: Annotated[int, Field(ge=1)]
    """Noisy releases."""
    max_norm: Annotated[float, Field(gt=0)]
    """L2 bound of one user's contribution to a step."""
    shared_by: Annotated[int, Field(ge=1)] = 1
    """Shops that add the noise together; above 1, `noise_multiplier` is that of their sum, and the
    guarantee holds for the sum alone."""
    grid: Annotated[int, Field(ge=0)] = 0
    """Whole numbers that the sensitivity is worth, where whole numbers with discrete Gaussian noise
    leave; 0 for noise in floating point."""


class CollusionRecord(Record):
    """The guarantee if some shops help the server and subtract the noise that they added."""

    shops: Annotated[int, Field(ge=0)]
    """Shops that do."""
    epsilon: float | None
    """Epsilon of a user of another shop, by `accountant`; null where no accountant bounds it."""


class ShopPrivacy(Record):
    """The guarantee of one shop; in a run without privacy `epsilon` is null."""

    epsilon: float | None
    """Total epsilon by `accountant`; null in a run without privacy."""
    delta: float | None
    """Total delta; null in a run without privacy."""
    unit: str | None
    """What is protected: one user's whole contribution."""
    adjacency: str | None
    """How neighbouring data sets differ."""
    sampling: str | None
    """`poisson` or `full-batch`."""
    accountant: str | None
    """Library and method behind `epsilon`."""
    epsilon_check: float | None
    """Epsilon by `accountant_check`, an independent implementation."""
    accountant_check: str | None
    """Library and method behind `epsilon_check`."""
    trust: str | None
    """Against whom the guarantee holds."""
    mechanisms: tuple[MechanismRecord, ...]
    """Everything that the shop releases; empty in a run without privacy."""
    noise_multiplier: Annotated[float, Field(ge=0)]
    """Noise of a training step in units of the clip norm; 0 in a run without privacy, or that
    trains nothing."""
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    """Probability that a user takes part in a training step."""
    steps: Annotated[int, Field(ge=0)]
    """Training steps in all; 0 where nothing is trained."""
    collusion: tuple[CollusionRecord, ...] = ()
    """Epsilon if shops collude with the server: as many as the plan allows for, one more, the
    largest minority, and all others; empty where each shop adds all of its noise."""

    @classmethod
    def paid(cls, guarantee: Guarantee, *, bounds: RosterBounds | None = None) -> ShopPrivacy:
        """Builds the record of a private shop; the training mechanism is the one named `dp-sgd`.

        Args:
            guarantee: Of the shop.
            bounds: Of the roster that shares the noise; None for an ideal sum of all shops.
        """
        from shared.privacy.accounting.collusion import (
            collusion_table,  # loads torch, which reading does not
        )

        training = next((m for m in guarantee.mechanisms if m.name == "dp-sgd"), None)
        rows = collusion_table(guarantee.mechanisms, delta=guarantee.delta, bounds=bounds)
        return cls.model_validate(
            {
                **guarantee.to_json(),
                "noise_multiplier": training.noise_multiplier if training else 0.0,
                "sample_rate": training.sample_rate if training else 1.0,
                "steps": training.steps if training else 0,
                "collusion": [asdict(row) for row in rows],
            }
        )

    @classmethod
    def none(cls, *, sample_rate: float, steps: int) -> ShopPrivacy:
        """Builds the record of a shop that trained without privacy."""
        absent = dict.fromkeys(cls.model_fields)
        plan = {"noise_multiplier": 0.0, "sample_rate": sample_rate, "steps": steps}
        return cls.model_validate({**absent, "mechanisms": (), "collusion": (), **plan})


RunLabel = Literal["private", "non-private"]
Methods = dict[str, dict[str, Interval]]


def _known_surfaces(names: Mapping[str, Any]) -> None:
    for name in names:
        if name not in SURFACES:
            raise ValueError(f"surface={name} is not one of {', '.join(SURFACES)}")


class Metrics(BaseModel):
    """Surface -> method -> metric -> interval over all users; the same for each shop.

    Metrics are `ndcg@10`, `hr@10`, `recall@20`, `coverage@20`, `diversity@10`, `novelty@10`, all
    under full ranking. A surface that cannot be measured is empty; `surfaces` says why.
    """

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, Methods] = Field(init=False)

    shops: dict[str, dict[str, Methods]]
    """Shop -> surface -> method -> metric -> interval over the shop's users."""

    @model_validator(mode="after")
    def _surfaces_are_known(self) -> Metrics:
        _known_surfaces(self.surfaces)
        for shop in self.shops.values():
            _known_surfaces(shop)
        return self

    @property
    def surfaces(self) -> dict[str, Methods]:
        """Surface -> method -> metric -> interval over all users, in the order of `SURFACES`."""
        measured = self.__pydantic_extra__
        order = (*SURFACES, *(name for name in measured if name not in SURFACES))
        return {name: measured[name] for name in order if measured.get(name)}


class SurfaceRecord(Record):
    """Whether a surface could be measured."""

    available: bool
    """Whether there are metrics for it."""
    reason: str | None = None
    """Why not; null where it is available."""
    users: Annotated[int, Field(ge=0)] = 0
    """Users with something to predict, over all shops."""


class RefusedReply(Record):
    """One update that did not count."""

    shop: str
    """The shop's name."""
    code: str
    """Reason code of the server's or the shop's check."""


class Round(Record):
    """One federated round."""

    round: Annotated[int, Field(ge=0)]
    """Number of the round, from 1; 0 is a request for noisy item counts or pair sums."""
    kind: Literal["train", "counts", "pairs"] = "train"
    """What shops were asked for: an update, noisy item counts or noisy pair sums."""
    update_norm: Annotated[float, Field(ge=0)]
    """L2 norm of the aggregated update (in round 0, of the summed counts or pair sums)."""
    replies: Annotated[int, Field(ge=0)]
    """Updates that counted."""
    refused: tuple[RefusedReply, ...] = ()
    """Updates that did not count, and why."""
    seconds: Annotated[float, Field(ge=0)]
    """Wall time of the round."""
    bytes_down: Annotated[int, Field(ge=0)]
    """Bytes sent to all shops."""
    bytes_up: Annotated[int, Field(ge=0)]
    """Bytes received from all shops."""

    @classmethod
    def of(cls, info: RoundInfo, refusals: Iterable[Refusal]) -> Round:
        """Builds the record of a round from what the server says of it and of refused replies."""
        refused = [
            {"shop": r.shop, "code": r.code}
            for r in refusals
            if (r.round, r.kind) == (info.round, info.kind)
        ]
        return cls.model_validate(
            {
                "round": info.round,
                "kind": info.kind,
                "update_norm": info.update_norm,
                "replies": info.good,
                "refused": refused,
                "seconds": info.seconds,
                "bytes_down": info.bytes_down,
                "bytes_up": info.bytes_up,
            }
        )


class Comparison(Record):
    """NDCG@10 of `fused` minus `best-local` for the same users: what federation earned."""

    difference: Interval
    """Over all users, with the paired bootstrap interval."""
    over_placebo: Interval
    """`fused` minus `placebo`, as many signals made of what the shop has itself."""
    p: Share
    """Two-sided bootstrap p-value of no gain; of a gain, the larger of those over best local and
    over the placebo."""
    p_adjusted: Share
    """The same after Holm's correction over all surfaces but the primary one, where it is `p`."""
    primary: bool
    """Whether it was named beforehand (`evaluation.primary`) and is judged by itself."""
    verdict: Verdict
    """`better` or `worse` where `p_adjusted` is below .05; better than best local and placebo."""
    shops: dict[str, Interval] = {}  # noqa: RUF012 (pydantic copies it)
    """The same over each shop's users."""


class Report(ExperimentReport):
    """A finished run."""

    data: dict[str, Any]
    """What was read, dropped and changed, and which event types were measured (`target_types`). It
    counts users: it is for the holder of all the data."""
    privacy: dict[str, ShopPrivacy]
    """Shop -> guarantee."""
    guarantee_text: str
    """The guarantee in words, what it does not cover included; paragraphs split by empty lines."""
    surfaces: dict[str, SurfaceRecord]
    """Surface -> whether it could be measured."""
    metrics: Metrics
    """How good the recommendations are."""
    comparison: dict[str, Comparison]
    """Surface -> what federation earned."""
    reliability: Share
    """How far what was released stands out of its noise, by its counts; at 0 nothing of it can be
    told from noise, and shops use nothing of it."""
    fusion: dict[str, dict[str, dict[str, dict[str, float]]]]
    """Shop -> surface -> method -> signal -> weight, chosen on the validation window."""
    training: dict[RunLabel, tuple[Round, ...]]
    """Rounds of the model (`private`; `non-private` is the control, or a run without privacy)."""
    seconds: dict[str, float]
    """Phase -> wall time."""
    peak_rss_mb: Annotated[float, Field(ge=0)]
    """Largest resident memory of the run, MB (10^6 bytes)."""
    files: dict[str, str]
    """What was written -> path relative to the run folder."""

    @model_validator(mode="after")
    def _compared_methods_are_measured(self) -> Report:
        for surface in self.comparison:
            methods = self.metrics.surfaces.get(surface, {})
            if any("ndcg@10" not in methods.get(m, {}) for m in COMPARED):
                raise ValueError(
                    f"comparison={surface} needs ndcg@10 of {', '.join(COMPARED)} in metrics"
                )
        return self

    @property
    def epsilon_set(self) -> float | None:
        """The epsilon that was asked for; None for a run without privacy."""
        return self.settings.privacy.epsilon
