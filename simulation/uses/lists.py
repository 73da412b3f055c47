"""Lists to act on: every shop's answers to uses of its own data, one file a shop and use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from client.uses.training import answer, train_use
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
    if folder.exists():
        raise RunExistsError(
            "is there already", name="out", value=folder, remedy="name a new folder with --out"
        )
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
            path = folder / shop / f"{use.name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = table.to_csv(index=False, float_format="%.5g")
            write_atomic(path, text.encode(), durable=False, private=True)
            yield (
                f"{shop}: {use.name} by {trained.name}, {len(table)} rows, fitted to "
                f"{trained.examples} examples"
            )
