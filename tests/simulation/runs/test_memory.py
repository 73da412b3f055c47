"""A run that does not fit is refused in one line, before anything is encoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigError
from shared.interactions.events import Catalogue, Dataset, Events, Shop
from simulation.evaluation.ridge_inverse import fit_side_by_side, matrix_side
from simulation.runs import memory
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options


def dataset(users: int, items: int, shops: int = 8) -> Dataset:
    nothing = Events.build(user=[], item=[], time=[])
    ids = np.arange(users // shops).astype(str).astype(object)
    catalogue = Catalogue(np.arange(items).astype(str).astype(object), [""] * items)
    owners = tuple(Shop(f"shop-{i}", ids, nothing) for i in range(shops))
    return Dataset("made-up", catalogue, owners, {}, "order", np.ones(items, np.bool_))


def test_a_long_catalogue_of_many_users_needs_less_than_eight_gigabytes() -> None:
    assert memory.needed_bytes(dataset(30_432, 20_033), workers=2) < 8e9
    assert memory.needed_bytes(dataset(22_360, 12_101), workers=2) < 4e9
    # Users by users, as it was, it would have taken 7.4 GB for one window's matrix alone.
    assert matrix_side(30_431, 20_033) == 20_033
    assert not fit_side_by_side(20_033)
    assert fit_side_by_side(12_101)


def test_needs_do_not_grow_with_users_times_items() -> None:
    small = memory.needed_bytes(dataset(80_000, 60_000), workers=2)
    large = memory.needed_bytes(dataset(800_000, 600_000), workers=2)
    assert large == small


def test_what_does_not_fit_is_said_in_one_line_before_anything_is_computed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 5e8)
    result = run(*options(world), "--epsilon", "2", "--out", str(tmp_path / "run"))
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == (
        "the evaluation of 42 users and 40 items needs about 0.8 GB of memory, 0.5 GB are free; "
        "free memory, or take fewer users with --set data.max_users=N"
    )
    assert not (tmp_path / "run").exists()


def test_one_worker_less_is_the_remedy_where_it_is_one() -> None:
    data = dataset(22_360, 12_101)
    between = (memory.needed_bytes(data, workers=1) + memory.needed_bytes(data, workers=8)) / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: between)
        memory.check_memory(data, workers=1)
        with pytest.raises(ConfigError, match="run with --workers 1"):
            memory.check_memory(data, workers=8)
