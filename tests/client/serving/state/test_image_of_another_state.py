"""A copy of the state that fits another database, or holds values that cannot be, is not used."""

from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import pytest

from client.serving.state.loader import stored_generation
from client.store.backup import back_up, restore
from client.store.schema import Event
from tests.client.serving.small_service import opened


def recent(service) -> list[str]:
    items = service.engine.items
    return sorted(items.item_at(row).item_id for row in service.engine.history("new").item)


def test_a_restored_database_is_never_served_with_the_old_state(tmp_path) -> None:
    service = opened(tmp_path)
    url = service.store.url
    service.add_events([Event("e1", "new", "i1", 19900.0)]).result()
    back_up(url, tmp_path / "backup")
    service.add_events([Event("e2", "new", "i2", 19901.0)]).result()
    service.close()
    old = shutil.copy(tmp_path / "shop.db.state.npz", tmp_path / "old.npz")
    restore(url, tmp_path / "backup")
    again = opened(tmp_path)
    assert recent(again) == ["i1"]
    again.add_events([Event("e3", "new", "i3", 19901.0)]).result()  # under the key that e2 had
    again.close()
    # Also where nothing counted the change: the number of changes is set back by hand.
    shutil.copy(old, tmp_path / "shop.db.state.npz")
    with np.load(old, allow_pickle=False) as file:
        assert '"generation": 1' in str(file["about"])
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("UPDATE facts SET value = '1' WHERE name = 'generation'")
    last = opened(tmp_path)
    assert recent(last) == ["i1", "i3"]
    last.close()


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("item", 0, 10**6),
        ("item", 3, -1),
        ("event_type", 0, 99),
        ("starts", 1, 10**6),
        ("time", 0, 1e9),
        ("amount", 2, np.nan),
    ],
)
def test_values_that_cannot_be_are_not_served(tmp_path, name: str, place: int, value) -> None:
    service = opened(tmp_path)
    expected = service.engine.history("u1").item.tolist()
    service.close()
    path = tmp_path / "shop.db.state.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key].copy() for key in file.files}
    arrays[name][place] = value
    np.savez(path, **arrays)
    again = opened(tmp_path)
    assert again.engine.sorted_key == again.engine.last_key
    assert again.engine.history("u1").item.tolist() == expected
    assert not again.snapshot.exists  # it was thrown away, not read
    with again.store.reading() as connection:
        assert stored_generation(connection) == again.engine.generation
    again.close()
