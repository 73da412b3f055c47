"""Per-user gradients of a model's trainable parameters by Opacus' hooks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from torch import nn

from shared.errors import ModelError


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
        if not hasattr(module, "max_batch_len"):
            module.max_batch_len = len(backprops)
        return activations, backprops

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.float() if rows.is_floating_point() else rows
        if self._rows_per_user == 1:
            return rows
        if len(rows) % self._rows_per_user:
            raise ModelError(
                f"a trainable layer saw {len(rows)} rows, which must be a multiple of "
                f"rows_per_user={self._rows_per_user}; stack the rows user by user"
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
                f"parameter={name} has no part in the loss; freeze it or take its layer out of "
                "target_modules"
            )
        if len(gradients) != n_users:
            raise ModelError(
                f"parameter={name} has {len(gradients)} gradients but must have one for each of "
                f"{n_users} users; pass only rows of users through trainable layers"
            )
