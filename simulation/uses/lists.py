"""Lists to act on: every shop's answers to uses of its own data, one file a shop and use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from client.uses.answers import answer
from client.uses.segments import find_segments
from client.uses.training import train_use
from shared.errors import ConfigError, RunExistsError
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import DataSettings
from shared.uses.interface import Use
from simulation.uses.histories import load_histories


def write_lists(
    uses: Sequence[Use], settings: DataSettings, folder: Path, *, seed: int
) -> Iterator[str]:
    """Writes `folder/SHOP/USE.csv` for every shop and use, and says of each what it holds.

    Args:
        uses: The uses; those of a whole chain are left out, as there is no shop to write them for.
        settings: The data set.
        folder: New.
        seed: Deals users into folds.

    Yields:
        One line a use and shop; a use that the data cannot answer says why.

    Raises:
        RunExistsError: The folder is there already.
        DataError: A file cannot be used.
    """
    _refuse_existing(folder)
    data = load_histories(settings, seed=seed, promotions=False)
    for shop, ids, history in zip(data.shop_ids, data.user_ids, data.histories, strict=True):
        for use in uses:
            if use.level == "chain":
                continue
            try:
                rng = np.random.default_rng(seed)
                trained = train_use(use, history, first=data.first, rng=rng)
            except ConfigError as error:
                yield f"{shop}: {error}"
                continue
            table = answer(trained, history, [str(user_id) for user_id in ids])
            _write(table, folder / shop / f"{use.name}.csv")
            yield (
                f"{shop}: {use.name} by {trained.name}, {len(table)} rows, fitted to "
                f"{trained.examples} examples"
            )


def write_segments(settings: DataSettings, folder: Path, *, k: int, seed: int) -> Iterator[str]:
    """Writes `folder/SHOP/segments.csv` for every shop, and says what the segments are.

    Args:
        settings: The data set.
        folder: New.
        k: Segments of each shop.
        seed: Of the fit's starts.

    Yields:
        One line a segment, after one a shop with how stable they are.

    Raises:
        RunExistsError: The folder is there already.
        ConfigError: A shop has fewer users than segments.
    """
    _refuse_existing(folder)
    data = load_histories(settings, seed=seed, promotions=False)
    for shop, ids, history in zip(data.shop_ids, data.user_ids, data.histories, strict=True):
        division = find_segments(history, k=k, seed=seed)
        names = np.asarray(division.names, dtype=object)
        users = pd.DataFrame({"user_id": ids, "segment": names[division.segment]})
        _write(users, folder / shop / "segments.csv")
        yield f"{shop}: {history.n_users} users, stability {division.stability:.2f}"
        for name, share in zip(division.names, division.shares, strict=True):
            yield f"  {share:4.0%}  {name}"


def _write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table.to_csv(index=False, float_format="%.5g")
    write_atomic(path, text.encode(), durable=False, private=True)


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise RunExistsError(
            "is there already", name="out", value=folder, remedy="name a new folder with --out"
        )
