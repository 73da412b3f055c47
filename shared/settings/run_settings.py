"""Settings of a federated run: frozen, checked, every field with its unit and bounds.

What follows from the data's unit of time is filled in here too, the same for all shops.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.errors import ConfigError
from shared.settings import plan_bounds as bounds

MAX_USERS = 100_000
"""Users that a shop may have where its owner states no other bound: that of delta 1e-6."""


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataSettings(Settings):
    """Which data, which owners and which windows of time."""

    source: str = "complete-journey"
    """`complete-journey` (embedded) or the path of a file or folder."""
    shops: str = "r19"
    """Complete Journey's owners: `r19`, `r10` or `store`; `virtual:N`, N random shops; or
    `items:N`, N shops that share no item."""
    shop_column: str | None = None
    """Column that names the data owner in one table; None for a folder of shops."""
    order_column: str | None = None
    """Column that stands for time where there are no dates, such as `position`."""
    split: Literal["time", "leave-last-out"] = "time"
    """How the validation and test windows are cut."""
    validation_start: str | None = None
    """First week number or ISO date of the validation window; None for the data set's default."""
    test_start: str | None = None
    """First week number or ISO date of the test window; None for the data set's default."""
    test_end: str | None = None
    """First week number or ISO date after the test window; None for the data set's default."""
    malformed_rows: Literal["refuse", "drop"] = "refuse"
    """What happens to a row that cannot be used: `refuse` ends with its place, for files that you
    can mend; `drop` leaves it out and counts it, as a shop does whose answer must not depend on one
    user's row."""
    min_user_items: Annotated[int, Field(ge=1)] | None = None
    """Distinct items that a user needs before the validation window; None for the default."""
    min_shop_users: Annotated[int, Field(ge=1)] | None = None
    """Users that a shop needs to take part; None for the data set's default."""
    max_users: Annotated[int, Field(ge=1)] | None = None
    """Users of all shops together at most, of each shop the same share; those of a smaller number
    are among those of a larger one. None for all."""

    @property
    def drops_malformed(self) -> bool:
        """Whether malformed rows are dropped and counted."""
        return self.malformed_rows == "drop"


class ModelSettings(Settings):
    """The text encoder and the profile projection."""

    encoder: str = "all-MiniLM-L6-v2"
    """Hugging Face name or folder of a text encoder; the default is embedded."""
    revision: str | None = None
    """Revision of the encoder on the hub; None for its newest or for a folder."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 64
    """Item texts are cut after this many tokens."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 256
    """Width of item and profile vectors after whitening of the text vectors."""
    rank: Annotated[int, Field(ge=1, le=512)] = 32
    """Rank of the LoRA adapters."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA scale: the update is (alpha / rank) B A."""
    target_modules: tuple[str, ...] = ("profile_projection",)
    """Modules that get LoRA: `profile_projection`, or names inside `encoder.`."""
    half_life: bounds.HalfLife | None = None
    """Days (or ranks in order data) after which an event counts half in a profile; None for 120
    days or 3 ranks."""
    scale: bounds.Scale | None = None
    """Factor on the similarity of profile and item in softmax and score; None for 3 in dated data,
    where adapters learn to complete baskets, and 10 in order data, what follows."""


class TrainingSettings(Settings):
    """Private local training; one record is one user's whole history, clipped."""

    rounds: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Federated rounds."""
    local_steps: bounds.LocalSteps = 1
    """DP-SGD steps in each shop and round."""
    sample_rate: bounds.SampleRate = 1.0
    """Public probability that a user takes part in a step (Poisson); 1 is the full batch."""
    divisor: bounds.Divisor = 100.0
    """Public divisor of the summed gradients, in users; never the shop's real number."""
    max_grad_norm: bounds.ClipNorm = 0.01
    """Bound of one user's gradient (L2); small values normalise the gradients."""
    learning_rate: bounds.LearningRate | None = None
    """Step size per unit of clipped gradient; None derives it from the noise."""
    examples_per_user: bounds.ExamplesPerUser = 16
    """Context and target pairs drawn from one user's history (bounds the history)."""
    max_context: bounds.MaxContext = 64
    """Items in one context at most."""
    max_targets: bounds.MaxTargets = 8
    """Items to predict in one example at most."""
    candidates: bounds.Candidates = 1024
    """Public items in the training softmax, drawn each round by the estimate of popularity."""
    physical_batch: bounds.PhysicalBatch = 64
    """Users in memory at once; does not change the result beyond rounding."""

    @model_validator(mode="after")
    def _fits_in_memory(self) -> TrainingSettings:
        bounds.check_batch(self)
        return self


ROBUST_LEAST = {"none": 1, "median": 3, "trimmed-mean": 5, "krum": 5}
"""Updates below which a robust method withstands no hostile one: the median of two is their mean, a
fifth of four is nothing to cut, and Krum needs 2 f + 3 updates against f hostile ones."""


class FederationSettings(Settings):
    """Aggregation of the shops' updates."""

    aggregation: Literal["frozen-a", "average", "fedsvd"] = "frozen-a"
    """`frozen-a` trains B alone; `average` both; `fedsvd` re-orthonormalises A each round."""
    robust: Literal["none", "median", "trimmed-mean", "krum"] = "none"
    """Flower's robust aggregation in place of the mean; a median needs 3 good updates in each
    round, the others 5."""
    server_optimizer: Literal["none", "momentum", "adam"] = "momentum"
    """What the server does with the aggregated update."""
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Momentum of the server (first moment for Adam)."""
    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the aggregated update."""
    max_update_norm: Annotated[float, Field(gt=0)] | None = None
    """Updates are clipped to this L2 norm on the server; None for no clipping."""
    max_shop_users: Annotated[int, Field(ge=1, le=1_000_000_000)] = MAX_USERS
    """Users that the largest shop may have, stated and never counted: delta is at most one over ten
    times it, and a larger update than so many clipped gradients and the noise can give is refused,
    not clipped."""
    min_replies: Annotated[int, Field(ge=1)] = 2
    """Good updates that a round needs."""
    average_last: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the last rounds whose mean is the final adapter (free post-processing)."""
    round_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds to wait for the replies of a round."""

    def check_robust(self, shops: int) -> None:
        """Refuses a robust method that so few shops make a plain mean of.

        Raises:
            ConfigError: `shops` is below what `robust` needs.
        """
        if shops < ROBUST_LEAST[self.robust]:
            raise ConfigError(
                f"needs {ROBUST_LEAST[self.robust]} shops, of {shops} it withstands no hostile one",
                name="federation.robust",
                value=self.robust,
                remedy="take more shops, or remove it",
            )


class PrivacySettings(Settings):
    """The guarantee that every shop gives its users."""

    epsilon: Annotated[float, Field(gt=0)] | None = 8.0
    """Total epsilon a shop and run; None trains without privacy (for comparison only)."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Total delta; at most 1 / (10 max_shop_users), a public number, never that of real users."""
    noise: Literal["shop", "shared"] | None = None
    """`shop`: each shop adds all of its noise and trusts nobody; `shared`: each adds its share, and
    the guarantee holds for sums over shops, which are all that secure aggregation shows. None takes
    `shared` where there are shops enough and nothing looks at single updates, else `shop`."""
    secure_aggregation: Literal["real", "ideal"] | None = None
    """How a simulation with shared noise adds up: by the `real` protocol, or by its `ideal`, the
    sum alone, which gives the same numbers. None takes `real`, in sweeps and above 100 shops
    `ideal`."""
    max_missing: Annotated[int, Field(ge=0)] | None = None
    """Shops that may be missing from a sum; None takes 1 (none of 3 shops, 2 from 20 on)."""
    max_colluding: Annotated[int, Field(ge=0)] | None = None
    """Shops that may help the server; None takes a third of all."""
    counts_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the budget (of mu^2) for the noisy item counts; 0 releases none."""
    pairs_share: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of the budget (of mu^2) for the noisy co-purchase pairs; 0 releases none."""
    adapter_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the budget (of mu^2) for training the adapter; 0 trains none."""
    head_items: bounds.HeadItems | None = None
    """Items whose pairs are released, those of largest noisy count; None for 250 in dated data,
    where a user has many items and so little weight in each pair, and 1,000 in order data."""

    @model_validator(mode="after")
    def _split_is_whole(self) -> PrivacySettings:
        total = self.counts_share + self.pairs_share + self.adapter_share
        if abs(total - 1) > 1e-9:
            raise ConfigError(
                f"counts_share={self.counts_share:g} + pairs_share={self.pairs_share:g} + "
                f"adapter_share={self.adapter_share:g} = {total:g} must be 1",
                remedy="change the split with --budget counts=0.2,pairs=0.6,adapter=0.2",
            )
        if self.pairs_share > 0 and self.counts_share == 0:
            raise ConfigError(
                f"must be above 0 where pairs_share={self.pairs_share:g}: the items whose pairs "
                "are released are chosen by noisy counts",
                name="counts_share",
                value=0,
                remedy="raise it with --budget",
            )
        return self


EventType = Literal["purchase", "view", "click", "cart", "rating", "review", "search"]
TARGET_TYPES: tuple[EventType, ...] = ("purchase", "rating", "review")
"""Event types that say that the user has the item; others say only interest."""


class EvaluationSettings(Settings):
    """What is measured, and how often the bootstrap draws."""

    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap draws over users for the 95% intervals."""
    save_rankings: bool = False
    """Also write the top 20 of every method to `rankings.parquet`."""
    save_releases: bool = False
    """Also keep what each shop sent in a private run, as sent, in `releases/`."""
    controls: bool = True
    """Also train without privacy, for the row `fused-non-private`."""
    primary: Literal["for-you", "discover", "tail", "cold", "new-user", "basket"] = "discover"
    """Surface of the one comparison that is judged by itself; all others are corrected for there
    being several. Name it before you look at results."""
    target_types: Annotated[tuple[EventType, ...], Field(min_length=1)] = TARGET_TYPES
    """Event types that a recommendation is measured by, and that say that a user has an item. In
    data that have none of them all types count."""
    new_shops: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Numbers of own users, ascending, with which every shop is also measured as a new shop that
    took no part; each needs a federation of the others. Empty measures none."""
    newcomers: Annotated[int, Field(ge=0)] = 3
    """Shops that a single private run of eight shops and more holds out in turn, where `new_shops`
    is empty, to say what a new shop without users gains by joining; 0 holds out none."""

    @field_validator("new_shops")
    @classmethod
    def _sizes_ascend(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise ValueError("must name each number of users once, in ascending order")
        return sizes


class RunSettings(Settings):
    """A whole federated simulation."""

    name: str | None = None
    """Name of the run folder; None derives one from data, epsilon and seed."""
    seed: bounds.Seed = 1
    """Seed of everything random in a simulation; a run that repeats is not a release."""
    engine: Literal["in-process", "ray"] = "in-process"
    """Flower engine that runs the two apps."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live."""
    data: DataSettings = DataSettings()
    """Data."""
    model: ModelSettings = ModelSettings()
    """Profile model."""
    training: TrainingSettings = TrainingSettings()
    """Local training."""
    federation: FederationSettings = FederationSettings()
    """Aggregation."""
    privacy: PrivacySettings = PrivacySettings()
    """Guarantee."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Evaluation."""

    def needs_single_updates(self) -> bool:
        """Says whether aggregation or training look at single updates: no noise is shared then."""
        federation = self.federation
        by_shop = federation.robust != "none" or federation.max_update_norm is not None
        return by_shop or self.training.local_steps > 1

    @model_validator(mode="after")
    def _sums_alone_are_seen(self) -> RunSettings:
        if self.privacy.noise != "shared":
            return self
        if self.federation.robust != "none" or self.federation.max_update_norm is not None:
            name = "robust" if self.federation.robust != "none" else "max_update_norm"
            raise ConfigError(
                "needs single updates, which noise=shared does not show",
                name=f"federation.{name}",
                value=getattr(self.federation, name),
                remedy="remove it, or use --noise shop",
            )
        if self.training.local_steps > 1:
            raise ConfigError(
                "must be 1 with noise=shared: a second step would build on a first that holds a "
                "share of the noise alone",
                name="local_steps",
                value=self.training.local_steps,
                remedy="take more rounds, or use --noise shop",
            )
        return self

    @model_validator(mode="after")
    def _frozen_encoder_for_private_layers(self) -> RunSettings:
        if self.model.rank > self.model.dim + 1 and self.model.target_modules == (
            "profile_projection",
        ):
            raise ConfigError(
                f"is above dim + 1 = {self.model.dim + 1}",
                name="rank",
                value=self.model.rank,
                remedy="lower it",
            )
        return self


TIME_DEFAULTS = {"days": (120.0, 3.0), "order": (3.0, 10.0)}
"""Half-life and scale by unit of time; see `docs/decisions/001-what-the-adapter-learns.md`."""

HEAD_ITEMS = {"days": 250, "order": 1000}
"""Items whose pairs are released, by unit of time."""


def resolve_time_defaults(model: ModelSettings, time_unit: str) -> ModelSettings:
    """Fills in what follows from the kind of data; public, and the same for all shops.

    Args:
        model: Model settings.
        time_unit: `Dataset.time_unit`.
    """
    half_life, scale = TIME_DEFAULTS[time_unit]
    known = {"half_life": model.half_life or half_life, "scale": model.scale or scale}
    return model.model_copy(update=known)
