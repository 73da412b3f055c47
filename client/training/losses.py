"""Losses of the profile model, one number a user: cross-entropy of targets among candidates.

Sampled softmax (https://arxiv.org/abs/1412.2007): a user's target competes with candidates that are
drawn from a public distribution, the same for all users, and with no other user's items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor, nn

from client.training.examples import Examples
from shared.model.profile_model import ProfileModel

FloatArray = npt.NDArray[np.float32]


def profile_model_of(model: nn.Module) -> ProfileModel:
    """Returns the profile model inside a PEFT model."""
    base: ProfileModel = model.base_model.model  # type: ignore[union-attr, assignment]
    return base


def user_losses(target_scores: Tensor, candidate_scores: Tensor, is_target: Tensor) -> Tensor:
    """Mean cross-entropy over a user's pairs.

    Args:
        target_scores: `(b, pairs, targets)`.
        candidate_scores: `(b, pairs, candidates)`.
        is_target: False in places that only fill the array, `(b, pairs, targets)`.

    Returns:
        Losses `(b,)`; 0 for a user without pairs.
    """
    rivals = torch.logsumexp(candidate_scores.float(), dim=-1, keepdim=True)
    losses = torch.logaddexp(rivals, target_scores.float()) - target_scores.float()
    n_targets = is_target.sum(dim=(1, 2)).clamp(min=1)
    return torch.where(is_target, losses, 0.0).sum(dim=(1, 2)) / n_targets


class FrozenTextLoss:
    """Loss on cached item vectors: only the profile projection trains.

    Args:
        examples: Pairs of all users of the shop.
        item_vectors: `(n_items, dim)`.
        candidates: Public item codes `(n,)`.
        scale: Factor on similarities.
        device: Where the model is.
    """

    rows_per_user = 1

    def __init__(
        self,
        examples: Examples,
        item_vectors: FloatArray,
        candidates: npt.NDArray[np.int64],
        *,
        scale: float,
        device: torch.device,
    ) -> None:
        self._items = item_vectors
        self._target = examples.target
        self._scale = scale
        self._device = device
        self._histories = torch.from_numpy(context_vectors(examples, item_vectors))
        self._candidate_vectors = torch.from_numpy(item_vectors[candidates]).to(device)

    def __call__(self, model: nn.Module, users: Tensor) -> Tensor:
        """Computes losses `(b,)` of users `(b,)`."""
        rows = users.cpu()
        target = self._target[rows.numpy()]
        profiles = profile_model_of(model).profile(self._histories[rows].to(self._device))
        vectors = torch.from_numpy(self._items[np.maximum(target, 0)]).to(self._device)
        target_scores = self._scale * torch.einsum("bpd,bptd->bpt", profiles, vectors)
        candidate_scores = self._scale * profiles @ self._candidate_vectors.T
        return user_losses(
            target_scores, candidate_scores, torch.from_numpy(target >= 0).to(self._device)
        )


def context_vectors(examples: Examples, item_vectors: FloatArray) -> FloatArray:
    """Returns the weighted sums of the contexts' item vectors, `(n_users, pairs, dim)`."""
    shape = examples.context.shape
    filled = examples.context >= 0
    row = np.broadcast_to(np.arange(shape[0] * shape[1]).reshape(*shape[:2], 1), shape)
    gather = sparse.csr_array(
        (examples.weight[filled], (row[filled], examples.context[filled])),
        shape=(shape[0] * shape[1], len(item_vectors)),
    )
    vectors: FloatArray = (gather @ item_vectors).astype(np.float32)
    return vectors.reshape(*shape[:2], item_vectors.shape[1])


class EncoderLoss:
    """Loss through the encoder's layers: texts are encoded anew in each step.

    All texts of a user (contexts, targets and its own copy of the candidates) are rows of its own,
    so that the gradient of a layer's weights splits by user. The rows of the profile projection are
    padded to the same number, as the per-user hooks sum a fixed number of rows a user.

    Args:
        examples: Pairs of all users of the shop.
        tokens: Token ids of each catalogue item.
        candidates: Public item codes `(n,)`.
        scale: Factor on similarities.
    """

    def __init__(
        self,
        examples: Examples,
        tokens: Sequence[Sequence[int]],
        candidates: npt.NDArray[np.int64],
        *,
        scale: float,
    ) -> None:
        self._examples = examples
        self._tokens = tokens
        self._candidates = candidates
        self._scale = scale
        pairs, context = examples.context.shape[1:]
        self.rows_per_user = pairs * (context + examples.target.shape[2]) + len(candidates)

    def __call__(self, model: nn.Module, users: Tensor) -> Tensor:
        """Computes losses `(b,)` of users `(b,)`."""
        base = profile_model_of(model)
        rows = users.cpu().numpy()
        context, target = self._examples.context[rows], self._examples.target[rows]
        b, pairs, width = context.shape
        codes = np.concatenate(
            [context.reshape(b, -1), target.reshape(b, -1), np.tile(self._candidates, (b, 1))],
            axis=1,
        )
        vectors = self._encode(base, codes).reshape(b, self.rows_per_user, -1)
        context_items, target_items, candidate_items = torch.split(
            vectors, [pairs * width, target[0].size, len(self._candidates)], dim=1
        )
        weight = torch.from_numpy(self._examples.weight[rows]).to(vectors)
        history = torch.einsum("bpc,bpcd->bpd", weight, context_items.reshape(b, pairs, width, -1))
        padded = nn.functional.pad(history, (0, 0, 0, self.rows_per_user - pairs))
        profiles = base.profile(padded.flatten(0, 1)).reshape(b, self.rows_per_user, -1)[:, :pairs]
        target_scores = torch.einsum(
            "bpd,bptd->bpt", profiles, target_items.reshape(b, pairs, -1, base.dim)
        )
        candidate_scores = torch.einsum("bpd,bcd->bpc", profiles, candidate_items)
        is_target = torch.from_numpy(target >= 0).to(target_scores.device)
        return user_losses(self._scale * target_scores, self._scale * candidate_scores, is_target)

    def _encode(self, base: ProfileModel, codes: npt.NDArray[Any]) -> Tensor:
        """Encodes items `(b, rows)`, -1 as the first item, to vectors `(b * rows, dim)`."""
        assert base.text_encoder is not None  # noqa: S101  # the node builds it with one
        texts = [self._tokens[code] for code in np.maximum(codes, 0).reshape(-1)]
        return base.encode(*base.text_encoder.pad(texts))
