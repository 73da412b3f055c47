"""The DP-SGD optimizer: Opacus' clipping, noise from a cryptographic source."""

from __future__ import annotations

import torch
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch.optim import Optimizer

from shared.privacy.noise import RandomSource


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus is not typed
    """Clips each user's gradient, sums, adds noise, divides by a public number and steps.

    A step of DP-SGD (https://arxiv.org/abs/1607.00133) with three differences to Opacus' own: the
    noise comes from a `RandomSource`; a user whose gradient has no finite norm counts as zero; the
    divisor never depends on the data.

    Args:
        optimizer: What applies the noisy mean.
        noise_multiplier: Standard deviation of the noise in units of `max_grad_norm`.
        max_grad_norm: L2 bound of one user's gradient over all parameters together.
        divisor: Public divisor of the noisy sum, in users.
        random: Where the noise comes from.

    Guarantee:
        The noisy sum is a Gaussian mechanism with sensitivity `max_grad_norm` under add or remove
        of one user, for any data and any batch, an empty one included.

    Assumes:
        `grad_sample` holds one row a user, and no row depends on another user.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        divisor: float,
        random: RandomSource,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=divisor,
            loss_reduction="mean",
        )
        self._random = random

    def clip_and_accumulate(self) -> None:
        """Zeroes what is not finite, clips, and adds the clipped sum to `summed_grad`.

        One such gradient would make all parameters NaN, which also tells that the user is there.
        """
        norms = [g.flatten(start_dim=1).norm(dim=1) for g in self.grad_samples]
        broken = ~torch.stack(norms).norm(dim=0).isfinite()
        if broken.any():
            for gradients in self.grad_samples:
                gradients[broken] = 0
        super().clip_and_accumulate()

    def add_noise(self) -> None:
        """Adds noise from the source to the clipped sums and stores them in `grad`."""
        std = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            _check_processed_flag(p.summed_grad)
            noise = torch.from_numpy(self._random.gaussian(tuple(p.shape), std))
            p.grad = (p.summed_grad + noise.to(p.device)).view_as(p)
            _mark_as_processed(p.summed_grad)
