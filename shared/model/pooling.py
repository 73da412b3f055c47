"""From token vectors to one text vector, as sentence-transformers' modules make it.

A contract test holds these against sentence-transformers itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.model.encoder_layout import PoolingMode

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    name: getattr(nn, name)
    for name in ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU", "Mish", "LeakyReLU", "ELU")
}
"""Activations of a Dense module; a class of any other name is refused, never imported."""


def pool(
    hidden: Tensor, mask: Tensor, *, modes: Sequence[PoolingMode], prompt_tokens: int = 0
) -> Tensor:
    """Reduces token vectors `(n, tokens, width)` to text vectors `(n, len(modes) * width)`.

    Args:
        hidden: Token vectors.
        mask: 1 for a token, 0 for padding on the right, `(n, tokens)`.
        modes: How; several are joined end to end.
        prompt_tokens: Tokens at the start that are left out; fewer than each text has.
    """
    if prompt_tokens:
        mask = mask.clone()
        mask[:, :prompt_tokens] = 0
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    vectors = [_pool_one(hidden, mask, weights, mode=mode) for mode in modes]
    return torch.cat(vectors, dim=-1)


def _pool_one(hidden: Tensor, mask: Tensor, weights: Tensor, *, mode: PoolingMode) -> Tensor:
    rows = torch.arange(len(hidden), device=hidden.device)
    if mode == "cls":
        return hidden[rows, mask.int().argmax(dim=1)]
    if mode == "lasttoken":
        last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
        return hidden[rows, last] * weights[rows, last]
    if mode == "max":
        return hidden.masked_fill(weights == 0, -torch.inf).max(dim=1).values
    if mode == "weightedmean":
        places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)
        weights = weights * places.view(1, -1, 1)
    total = weights.sum(dim=1).clamp(min=1e-9)
    divisor = total.sqrt() if mode == "mean_sqrt_len_tokens" else total
    return (hidden * weights).sum(dim=1) / divisor


class Dense(nn.Module):
    """A linear layer with an activation: `(n, in_features)` to `(n, out_features)`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        inputs, outputs = int(config["in_features"]), int(config["out_features"])
        self.linear = nn.Linear(inputs, outputs, bias=bool(config.get("bias", True)))
        self.activation = _activation(config.get("activation_function", "torch.nn.Tanh"))
        self.use_residual = bool(config.get("use_residual"))
        if self.use_residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns `activation(linear(vectors))`, plus the vectors where the layer is residual."""
        out: Tensor = self.activation(self.linear(vectors))
        if not self.use_residual:
            return out
        return out + (self.residual(vectors) if hasattr(self, "residual") else vectors)


def _activation(name: str | None) -> nn.Module:
    """Returns an activation by the name that sentence-transformers saves, as `torch.nn...Tanh`."""
    package, _, kind = (name or "torch.nn.Identity").rpartition(".")
    if kind not in _ACTIVATIONS or not f"{package}.".startswith("torch.nn."):
        raise ValueError(f"the activation {name} is not one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[kind]()


def load_dense(folder: Path, config: dict[str, Any]) -> Dense:
    """Loads a Dense module from its folder.

    Raises:
        ValueError: It reads or writes something else than text vectors, or has another activation.
        Exception: Whatever safetensors or torch raise for missing or damaged weights.
    """
    for side in ("module_input_name", "module_output_name"):
        if config.get(side) not in (None, "sentence_embedding"):
            raise ValueError(f"{folder.name} sets {side} to {config[side]}")
    layer = Dense(config)
    weights = folder / "model.safetensors"
    if weights.is_file():
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    layer.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return layer.float().eval().requires_grad_(False)


class TextPooling(nn.Module):
    """What makes text vectors of token vectors: pooling, Dense and Normalize modules, a cut.

    Args:
        modes: How token vectors become one.
        prompt_tokens: Tokens of the prompt that are left out of pooling.
        after: Dense modules in their order; None stands for Normalize.
        truncate_dim: Leading numbers that are taken, None for all.
    """

    def __init__(
        self,
        modes: tuple[PoolingMode, ...],
        *,
        prompt_tokens: int = 0,
        after: Sequence[Dense | None] = (),
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.modes, self.prompt_tokens, self.truncate_dim = modes, prompt_tokens, truncate_dim
        self.layers = nn.ModuleList([nn.Identity() if layer is None else layer for layer in after])
        self.normalizes = any(layer is None for layer in after)

    def width(self, hidden_size: int) -> int:
        """Length of a text vector of a model whose token vectors have `hidden_size` numbers."""
        dense = [layer.linear.out_features for layer in self.layers if isinstance(layer, Dense)]
        full = int(dense[-1]) if dense else len(self.modes) * hidden_size
        return min(full, self.truncate_dim or full)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Returns text vectors `(n, width)` of token vectors `(n, tokens, hidden_size)`."""
        vectors = pool(hidden, mask, modes=self.modes, prompt_tokens=self.prompt_tokens)
        for layer in self.layers:
            dense = isinstance(layer, Dense)
            vectors = layer(vectors) if dense else nn.functional.normalize(vectors, dim=-1)
        return vectors[:, : self.truncate_dim]
