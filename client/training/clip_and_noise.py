"""Where each user's gradient is clipped and where the noise is added: one step of DP-SGD.

`PerUserGradients` computes one gradient a user; `PrivateOptimizer` clips each to `max_grad_norm`,
adds them up and adds Gaussian noise to the sum. `client.training.dp_sgd` draws the users and takes
the steps. Both parts are Opacus' own, with what has to differ for records that are whole users.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch import nn
from torch.optim import Optimizer

from shared.errors import ModelError
from shared.privacy.noise import GRID, RandomSource, discrete_gaussian


class PerUserGradients(GradSampleHooks):  # type: ignore[misc]  # Opacus is not typed
    """Hooks that leave each parameter's gradient per user in `grad_sample`, `(b, *shape)`, float32.

    Where the forward pass sees b * rows_per_user rows, user by user, the rows of a user are summed
    inside the product that makes the gradient, before anything is clipped: a user stays one record.
    Activations and output gradients are raised to float32 first, whatever the forward pass ran in.

    Args:
        model: Model whose trainable parameters belong to layers that Opacus supports.
        rows_per_user: Rows of each trainable layer's input that belong to one user.
    """

    def __init__(self, model: nn.Module, *, rows_per_user: int) -> None:
        super().__init__(model, loss_reduction="sum")
        self._rows_per_user = rows_per_user

    def rearrange_grad_samples(
        self,
        *,
        module: Any,
        backprops: torch.Tensor,
        loss_reduction: str,  # noqa: ARG002  # the interface is Opacus'
        batch_first: bool,  # noqa: ARG002
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Splits rows `(b * rows_per_user, ...)` into `(b, rows_per_user, ...)`, in float32."""
        activations = [self._split(tensor) for tensor in module.activations.pop()]
        backprops = self._split(backprops)
        # Opacus allocates `grad_sample` by this, and sets it in the method that this one replaces.
        if not hasattr(module, "max_batch_len"):
            module.max_batch_len = len(backprops)
        return activations, backprops

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        # In bfloat16 the norm that is clipped by would be off by up to 1/256: the bound would not
        # hold.
        rows = rows.float() if rows.is_floating_point() else rows
        if self._rows_per_user == 1:
            return rows
        if len(rows) % self._rows_per_user:
            raise ModelError(
                f"must be a multiple of rows_per_user={self._rows_per_user}",
                name="rows of a trainable layer",
                value=len(rows),
                remedy="stack the rows user by user",
            )
        return rows.reshape(-1, self._rows_per_user, *rows.shape[1:])


@contextmanager
def per_user_gradients(model: nn.Module, *, rows_per_user: int) -> Iterator[None]:
    """Attaches the hooks for the time of a `with` block; names and wrapping stay as they are.

    Inside the block, only the layers with trainable parameters are in training mode, as the hooks
    need it: dropout is off, so that a step depends on nothing but its inputs and its noise.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            module.training = True
    hooks = PerUserGradients(model, rows_per_user=rows_per_user)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield
    finally:
        hooks.cleanup()
        for module, mode in training.items():
            module.training = mode


def check_per_user(parameters: dict[str, nn.Parameter], n_users: int) -> None:
    """Refuses gradients that do not belong to one user each.

    Raises:
        ModelError: A parameter got no gradient, or not one a user.
    """
    for name, parameter in parameters.items():
        gradients: torch.Tensor | None = parameter.grad_sample  # type: ignore[attr-defined]
        if gradients is None:
            raise ModelError(
                "has no part in the loss",
                name="parameter",
                value=name,
                remedy="freeze it or take its layer out of target_modules",
            )
        if len(gradients) != n_users:
            raise ModelError(
                f"has {len(gradients)} gradients but must have one for each of {n_users} users",
                name="parameter",
                value=name,
                remedy="pass only rows of users through trainable layers",
            )


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus is not typed
    """Clips each user's gradient to the grid, sums, adds noise, divides by a public number, steps.

    A step of DP-SGD (https://arxiv.org/abs/1607.00133) with four differences to Opacus' own:
    gradients become whole numbers before they are summed, so that no low bit of a float tells more
    than the noise allows; the noise is a discrete Gaussian from a `RandomSource`; a user whose
    gradient has no finite norm counts as zero; the divisor never depends on the data.

    Args:
        optimizer: What applies the noisy mean.
        noise_variance: Of the discrete noise, for sensitivity `GRID`; 0 for none.
        max_grad_norm: L2 bound of one user's gradient over all parameters together.
        divisor: Public divisor of the noisy sum, in users.
        random: Where the noise comes from.

    Attributes:
        released: Noisy sums of all steps so far, one int64 tensor a parameter, on the CPU.

    Guarantee:
        The noisy sum is a discrete Gaussian mechanism with L2 sensitivity `GRID`, in whole numbers,
        under add or remove of one user, for any data, any batch (an empty one included) and any
        `max_grad_norm`: the square norm of what a user adds is compared with `GRID^2` exactly, and
        a user above it counts as zero.

    Assumes:
        `grad_sample` holds one row a user, and no row depends on another user.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        noise_variance: int,
        max_grad_norm: float,
        divisor: float,
        random: RandomSource,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=0.0,
            max_grad_norm=max_grad_norm,
            expected_batch_size=divisor,
            loss_reduction="mean",
        )
        self.noise_variance = noise_variance
        self.released = [torch.zeros(p.shape, dtype=torch.int64) for p in self.params]
        self._random = random

    def clip_and_accumulate(self) -> None:
        """Clips each user's gradient to the grid and adds it to `summed_grad`, int64."""
        whole = clip_to_grid(self.grad_samples, max_norm=self.max_grad_norm)
        for p, numbers in zip(self.params, whole, strict=True):
            total = numbers.sum(dim=0).long()  # whole numbers far below 2^53: exact
            p.summed_grad = total if p.summed_grad is None else p.summed_grad + total
            _mark_as_processed(p.grad_sample)

    def add_noise(self) -> None:
        """Adds noise to the sums, remembers what may leave, and stores the step in `grad`."""
        for p, released in zip(self.params, self.released, strict=True):
            _check_processed_flag(p.summed_grad)
            noise = discrete_gaussian(self._random, p.numel(), variance=self.noise_variance)
            noisy = p.summed_grad.cpu() + torch.from_numpy(noise).view_as(p)
            released += noisy
            p.grad = (noisy.to(p.device).double() * (self.max_grad_norm / GRID)).to(p.dtype)
            _mark_as_processed(p.summed_grad)


def clip_to_grid(gradients: Sequence[torch.Tensor], *, max_norm: float) -> list[torch.Tensor]:
    """Clips each user's gradient over all parameters, and cuts it towards zero to whole numbers.

    Args:
        gradients: One row a user in each, `(b, *shape)`.
        max_norm: L2 bound; it becomes `GRID`.

    Returns:
        Whole numbers in float64, of the same shapes.

    Guarantee:
        Each user's numbers have a square norm of at most `GRID^2`, exactly, and depend on no other
        user. Squares of whole numbers up to 2^20 and their sums up to 2^53 are exact in float64; a
        sum beyond that is above the bound in any rounding, and that user counts as zero.
    """
    if not gradients:
        return []
    rows = [g.flatten(start_dim=1) for g in gradients]
    norms = torch.stack([g.norm(dim=1, dtype=torch.float64) for g in rows]).norm(dim=0)
    # A little below the grid: rounding in this factor must not push an honest user over the bound.
    factor = GRID * (1 - 2.0**-40) / norms.clamp(min=max_norm)
    whole = [(g * factor[:, None]).trunc_() for g in rows]  # float32 times float64 is float64
    square = torch.stack([torch.linalg.vecdot(g, g) for g in whole]).sum(dim=0)
    within = square <= float(GRID) ** 2  # False also where it is not a number
    if not within.all():
        whole = [torch.where(within[:, None], g, 0.0) for g in whole]
    return [g.view(like.shape) for g, like in zip(whole, gradients, strict=True)]
