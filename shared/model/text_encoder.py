"""A loaded text encoder: prompt, tokens, batches and vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from shared.errors import ModelError
from shared.model.encoder_files import EncoderSource
from shared.model.pooling import TextPooling

_BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A loaded encoder with its tokenizer; dropout is zero, parameters are frozen.

    Attributes:
        source: Where it came from, with its identity.
        model: The Hugging Face module; its forward gives `last_hidden_state`.
        tokenizer: The Hugging Face tokenizer.
        pooling: What makes text vectors of token vectors.
        width: Length of a text vector.
        positions: Tokens that the model takes at most.
    """

    source: EncoderSource
    model: nn.Module
    tokenizer: Any
    pooling: TextPooling
    width: int
    positions: int

    @property
    def device(self) -> torch.device:
        """Where the encoder's weights are."""
        return next(self.model.parameters()).device

    def tokenize(self, texts: Sequence[str], *, max_tokens: int) -> list[list[int]]:
        """Returns token ids of each text, its prompt before it, `max_tokens` at most.

        Raises:
            ModelError: The prompt leaves no room for a text.
        """
        limit = min(max_tokens, self.positions)
        if self.pooling.prompt_tokens + 1 >= limit:
            raise ModelError(
                f"must be above {self.pooling.prompt_tokens + 1}, the tokens of the prompt of "
                f"encoder={self.source.name}",
                name="max_tokens",
                value=limit,
                remedy="raise it with --set model.max_tokens",
            )
        prompt = self.source.layout.prompt
        texts = [prompt + text for text in texts]
        ids = self.tokenizer(texts, truncation=True, max_length=limit, verbose=False)
        tokens: list[list[int]] = ids["input_ids"]
        return tokens

    def pad(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Returns `input_ids` and `attention_mask`, both `(n, longest)` int64, padded right."""
        longest = max(1, *(len(ids) for ids in tokens)) if tokens else 1
        fill = self.tokenizer.pad_token_id or 0
        padded = torch.full((len(tokens), longest), fill, dtype=torch.int64)
        mask = torch.zeros_like(padded)
        for row, ids in enumerate(tokens):
            padded[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
            mask[row, : len(ids)] = 1
        return padded.to(self.device), mask.to(self.device)

    def encode(
        self, texts: Sequence[str], *, max_tokens: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Encodes texts of all lengths, longest first, a chunk at a time.

        On the CPU as many batches run side by side as torch has threads, one thread each: this
        is as fast as threads within a batch on an idle machine and several times faster on a
        busy one. On a GPU the forward pass runs in bfloat16.

        Yields:
            Positions in `texts` `(n,)` and their vectors `(n, width)`. A text without any token
            gets a zero vector.

        Raises:
            ModelError: The encoder gives vectors that are not finite, or its tokenizer no tokens.
        """
        tokens = self.tokenize(texts, max_tokens=max_tokens)
        if not any(tokens):
            raise ModelError(
                f"its tokenizer finds no token in any of {len(texts)} texts",
                name="encoder",
                value=self.source.name,
                remedy=f"the tokenizer files in {self.source.folder} do not fit the model",
            )
        order = np.argsort([-len(ids) for ids in tokens], kind="stable")
        with _workers(self.device) as workers:
            for start in range(0, len(order), _CHUNK):
                rows = order[start : start + _CHUNK]
                batches = _batches(
                    [tokens[i] for i in rows], budget=_BATCH_TOKENS[self.device.type]
                )
                vectors = np.concatenate(list(workers.map(self._encode_batch, batches)))
                if not np.isfinite(vectors).all():
                    raise ModelError(
                        "gives vectors that are not finite",
                        name="encoder",
                        value=self.source.name,
                        remedy=f"its weights in {self.source.folder} are damaged, replace them",
                    )
                yield rows, vectors

    def _encode_batch(self, tokens: list[list[int]]) -> npt.NDArray[np.float32]:
        """Encodes one batch, sorted from long to short: `(n, width)`."""
        filled = [ids for ids in tokens if ids]
        vectors = np.zeros((len(tokens), self.width), dtype=np.float32)
        if not filled:
            return vectors
        gpu = self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=gpu):
            vectors[: len(filled)] = self.embed(*self.pad(filled)).float().cpu().numpy()
        return vectors

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Returns text vectors `(n, width)` of padded tokens `(n, tokens)`, with gradients."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self.pooling(hidden.float(), attention_mask)
        return vectors


def _batches(tokens: list[list[int]], *, budget: int) -> list[list[list[int]]]:
    """Cuts texts, sorted from long to short, into batches of at most `budget` padded tokens."""
    batches: list[list[list[int]]] = []
    for ids in tokens:
        if not batches or (len(batches[-1]) + 1) * len(batches[-1][0]) > budget:
            batches.append([])
        batches[-1].append(ids)
    return batches


@contextmanager
def _workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads that each run whole batches, with torch's own threads put aside meanwhile."""
    threads = torch.get_num_threads()
    pool_size = threads if device.type == "cpu" else 1
    torch.set_num_threads(1)
    executor = ThreadPoolExecutor(pool_size, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
