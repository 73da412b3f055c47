"""Tiny LoRA models and user losses for the tests of private training."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel

DIM, EXAMPLES, USERS = 6, 3, 7


class Projection(nn.Module):
    """One frozen linear layer, as the profile projection is."""

    def __init__(self, dim: int = DIM, out: int = DIM) -> None:
        super().__init__()
        self.profile_projection = nn.Linear(dim, out, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.profile_projection(x)  # type: ignore[no-any-return]


def lora(base: nn.Module, targets: list[str], *, rank: int = 2, dropout: float = 0.0) -> nn.Module:
    """Adds LoRA and moves B from zero, so that A has a gradient too."""
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, lora_dropout=dropout)
    model: nn.Module = get_peft_model(base, config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad and "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=generator))
    return model


def projection_model(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return lora(Projection(), ["profile_projection"], **changes)


def bert_model() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        initializer_range=0.5,
    )
    return lora(BertModel(config, add_pooling_layer=False), ["query", "value", "dense"])


class SoftmaxLoss:
    """Cross-entropy of contexts `(n, m, d)` over public candidates `(c, d)`, summed a user.

    `flat` sends rows `(b * m, d)` through the model in place of `(b, m, d)`.
    """

    def __init__(self, n_users: int = USERS, *, flat: bool = False, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.contexts = torch.randn(n_users, EXAMPLES, DIM, generator=generator)
        self.targets = torch.randint(0, 9, (n_users, EXAMPLES), generator=generator)
        self.candidates = torch.randn(9, DIM, generator=generator)
        self.flat = flat
        self.rows_per_user = EXAMPLES if flat else 1

    def without(self, user: int) -> SoftmaxLoss:
        """Removes one user's data."""
        other = SoftmaxLoss(flat=self.flat)
        keep = torch.arange(len(self.contexts)) != user
        other.contexts, other.targets = self.contexts[keep], self.targets[keep]
        other.candidates = self.candidates
        return other

    def __call__(self, model: nn.Module, users: torch.Tensor) -> torch.Tensor:
        x = self.contexts[users]
        profiles = model(x.flatten(0, 1)).view_as(x) if self.flat else model(x)
        logits = profiles @ self.candidates.T
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), self.targets[users].flatten(), reduction="none"
        )
        return losses.view(len(users), -1).sum(dim=1)


class TextLoss:
    """A profile is the mean token vector of a user's texts `(n, m, s)`; each has a target."""

    rows_per_user = EXAMPLES

    def __init__(self, n_users: int = USERS) -> None:
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(0, 20, (n_users, EXAMPLES, 5), generator=generator)
        self.targets = torch.randn(n_users, 8, generator=generator)

    def __call__(self, model: nn.Module, users: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens[users].flatten(0, 1)
        mask = torch.ones_like(tokens)
        states = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        profiles = states.mean(dim=1).view(len(users), EXAMPLES, -1).mean(dim=1)
        return (profiles - self.targets[users]).square().sum(dim=1)


def naive_gradients(model: nn.Module, loss: Any, n_users: int) -> list[dict[str, torch.Tensor]]:
    """Each user's gradient by a backward pass of its own."""
    model.eval()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    gradients = []
    for user in range(n_users):
        total = loss(model, torch.tensor([user])).sum()
        values = torch.autograd.grad(total, list(parameters.values()))
        gradients.append(dict(zip(parameters, values, strict=True)))
    return gradients
