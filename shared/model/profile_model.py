"""The profile model: histories become profiles in the space of the item vectors.

Items: text -> frozen encoder -> whitening -> unit length. Profile: weighted mean of the history's
item vectors -> unit length -> append 1 -> `profile_projection`. The score of an item is the inner
product of profile and item vector, plus a prior that the caller may add.

The base projection is `[I | 0]`, so without an adapter a profile is the history itself (zero-shot
text). The appended 1 lets LoRA learn a bias, which is what a popularity that follows from text is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from shared.errors import ModelError
from shared.model.encoder_files import find_encoder
from shared.model.encoder_loading import load_source
from shared.model.profile_space import PROJECTION, Whitening
from shared.model.text_encoder import TextEncoder
from shared.settings.run_settings import ModelSettings


class ProfileModel(nn.Module):
    """The frozen base that LoRA adapters belong to.

    Args:
        whitening: Public map from text vectors to item vectors.
        text_space: Name of the text vectors' space (`encoder_source.text_space`).
        text_encoder: Loaded encoder, only where layers of it get LoRA; its Hugging Face module
            becomes the submodule `encoder`.

    Attributes:
        dim: Width of item and profile vectors.
        base_hash: SHA-256 over text space and whitening; an adapter fits no other base.
    """

    whitening_mean: Tensor
    whitening_components: Tensor

    def __init__(
        self, whitening: Whitening, *, text_space: str, text_encoder: TextEncoder | None = None
    ) -> None:
        super().__init__()
        self.dim = whitening.dim
        self.whitening = whitening
        self.text_space = text_space
        self.base_hash = whitening.base_hash(text_space)
        # on "meta", PyTorch's own random start takes nothing from the global generator
        self.profile_projection = nn.Linear(self.dim + 1, self.dim, bias=False, device="meta")
        self.profile_projection.weight = nn.Parameter(torch.eye(self.dim, self.dim + 1))
        self.register_buffer("whitening_mean", torch.from_numpy(whitening.mean))
        self.register_buffer("whitening_components", torch.from_numpy(whitening.components))
        self.text_encoder = text_encoder
        self.encoder = None if text_encoder is None else text_encoder.model
        self.requires_grad_(False)

    def forward(self, history_vectors: Tensor) -> Tensor:
        """Same as `profile`."""
        return self.profile(history_vectors)

    def profile(self, history_vectors: Tensor) -> Tensor:
        """Turns history vectors `(..., dim)` into profile vectors `(..., dim)`."""
        unit = nn.functional.normalize(history_vectors, dim=-1)
        extended = nn.functional.pad(unit, (0, 1), value=1.0)
        profiles: Tensor = self.profile_projection(extended)
        return profiles

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Turns tokens into item vectors of unit length, through LoRA layers of the encoder.

        Args:
            input_ids: `(n, tokens)` int64, padded on the right.
            attention_mask: 1 for a token, 0 for padding, `(n, tokens)`.

        Returns:
            Item vectors `(n, dim)`.

        Raises:
            ModelError: The model was built without its encoder.
        """
        if self.text_encoder is None:
            raise ModelError(
                "target_modules name no layer of the encoder, so that it was not loaded",
                remedy="use cached text vectors, or add a layer to target_modules",
            )
        vectors = self.text_encoder.embed(input_ids, attention_mask)
        whitened = (vectors - self.whitening_mean) @ self.whitening_components
        return nn.functional.normalize(whitened, dim=-1)


def build_base(
    settings: ModelSettings,
    whitening: Whitening,
    *,
    device: torch.device | str = "cpu",
    cache_dir: Path | None = None,
) -> ProfileModel:
    """Builds the frozen base, with the encoder where `target_modules` name layers of it.

    Raises:
        ModelError: The encoder is not found, incomplete, or of another width than the whitening.
    """
    source = find_encoder(settings.encoder, revision=settings.revision, cache_dir=cache_dir)
    encoder = None
    if set(settings.target_modules) != {PROJECTION}:
        encoder = load_source(source, device=device)
        if encoder.width != len(whitening.mean):
            raise ModelError(
                f"gives {encoder.width} numbers a text, the whitening takes {len(whitening.mean)}",
                name="encoder",
                value=settings.encoder,
                remedy="fit it on this encoder's vectors",
            )
    space = source.space(settings.max_tokens)
    return ProfileModel(whitening, text_space=space, text_encoder=encoder).to(device)
