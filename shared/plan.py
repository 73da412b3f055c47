"""The federated plan: every public parameter of a run, fixed before its first step.

The server sends it with each request; a shop checks it and accounts for it. It holds nothing that
depends on anybody's data.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from shared.config import Settings
from shared.privacy.guarantee import own_noise


class Plan(Settings):
    """Public parameters of a federated run."""

    rounds: Annotated[int, Field(ge=0)]
    """Federated rounds in all; 0 trains nothing."""
    local_steps: Annotated[int, Field(ge=1)]
    """DP-SGD steps in each shop and round."""
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    """Poisson probability of a user a step; 1 is the full batch."""
    divisor: Annotated[float, Field(gt=0)]
    """Public divisor of the summed clipped gradients, in users."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """L2 bound of one user's gradient."""
    noise_multiplier: Annotated[float, Field(ge=0)]
    """Noise of a step in units of `max_grad_norm`; 0 only where nothing is trained, or without
    privacy."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Step size per unit of clipped gradient (applied as learning_rate / max_grad_norm)."""
    counts_noise_multiplier: Annotated[float, Field(ge=0)]
    """Noise of the item counts in units of their sensitivity; 0 only without privacy."""
    counts_release: bool
    """Whether item counts are released."""
    pairs_noise_multiplier: Annotated[float, Field(ge=0)]
    """Noise of the pair sums in units of their sensitivity; 0 only without privacy."""
    pairs_release: bool
    """Whether pair sums are released, over the items of largest noisy count."""
    head_items: Annotated[int, Field(ge=2)]
    """Items at most whose pairs are released."""
    noise_shops: Annotated[int, Field(ge=1)]
    """Shops that add the noise together: noise multipliers are those of the sum of so many shops,
    and each adds `noise_multiplier / sqrt(noise_shops)`; 1 where each adds all of it."""
    private: bool
    """Whether the guarantee holds; False marks a run for comparison."""
    aggregation: Literal["frozen-a", "average", "fedsvd"]
    """Which adapter matrices train, and how they are combined."""
    examples_per_user: int
    """Context and target pairs of one user."""
    max_context: int
    """Items in one context at most."""
    max_targets: int
    """Items to predict in one example at most."""
    candidates: int
    """Public items in the training softmax."""
    physical_batch: int
    """Users in memory at once."""
    scale: float
    """Factor on similarities in the training softmax."""
    half_life: float
    """Recency half-life in the data's unit of time."""
    base_hash: str
    """SHA-256 of the frozen base that adapters belong to."""
    seed: int
    """Public seed: candidate draws; in a simulation also the shops' noise."""

    @model_validator(mode="after")
    def _head_is_paid_for(self) -> Plan:
        if self.pairs_release and not self.counts_release:
            raise ValueError(
                "pairs_release=True needs counts_release=True: the items whose pairs are released "
                "are chosen by noisy counts"
            )
        return self

    def own_noise(self, noise_multiplier: float) -> float:
        """Returns what each shop adds itself of a noise multiplier of this plan."""
        return own_noise(noise_multiplier, self.noise_shops)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form."""
        return hashlib.sha256(json.dumps(self.to_record(), sort_keys=True).encode()).hexdigest()

    def to_record(self) -> dict[str, Any]:
        """Returns flat scalars, as Flower's `ConfigRecord` carries them."""
        return self.model_dump()
