"""An adapter of random weights on the base of a node's own catalogue, to be served and swapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from shared.config import ModelSettings
from shared.model.adapter_saving import save_adapter
from shared.model.encoder_source import text_space
from shared.model.profile_model import ProfileModel
from shared.model.projection import PROJECTION_A, PROJECTION_B
from shared.model.text_cache import encode_texts
from shared.model.whitening import fit_whitening


def write_random_adapter(folder: Path, rng: np.random.Generator) -> Path:
    """Writes `folder/adapter`, in place of one that is there.

    Args:
        folder: Holds `data/items.parquet` and the encoding cache `cache`.
        rng: Draws the weights, small ones, so that profiles stay like the history.
    """
    titles = pq.read_table(folder / "data" / "items.parquet")["title"].to_pylist()
    given = ModelSettings()
    texts = encode_texts(titles, settings=given, cache_dir=folder / "cache")
    whitening = fit_whitening(texts, dim=given.dim)
    settings = whitening.fit_settings(given)
    rank, dim = settings.rank, settings.dim
    arrays = {
        PROJECTION_A: rng.normal(0, 0.1, size=(rank, dim + 1)).astype(np.float32),
        PROJECTION_B: rng.normal(0, 0.1, size=(dim, rank)).astype(np.float32),
    }
    place = folder / "adapter"
    save_adapter(
        place,
        arrays,
        base=ProfileModel(whitening, text_space=text_space(settings)),
        settings=settings,
        guarantee=None,
        data_shape={},
        replace=True,
    )
    return place
