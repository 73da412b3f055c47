"""Processes that are killed in the middle of imports and deletions: nothing lost, nobody back."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from client.store import changes as writing
from client.store.reading import page_of_events
from client.store.schema import users
from client.store.store import Store
from tests.client.store.sources import event, import_export, write_export

KILLS = int(os.environ.get("FEDPROFILE_TEST_KILLS", "60"))
"""Processes that are killed; 1,000 take some minutes."""
USERS = 40 + KILLS // 3


def in_a_process(work: Any) -> int:
    """Runs work in a process of its own, which is killed when it is done at the latest."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def kill_after(child: int, seconds: float) -> bool:
    """Kills a process after a while; says whether it had ended well before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def stored(url: str) -> tuple[Counter[tuple[str, str, float]], set[str]]:
    store = Store(url)
    with store.reading() as connection:
        rows = page_of_events(connection, after=0, n=100_000, user_id=None)
        names = set(connection.scalars(sa.select(users.c.user_id)))
    store.close()
    return Counter((r["user_id"], r["item_id"], r["time"]) for r in rows), names


def export_of(folder: Path, n: int) -> Counter[tuple[str, str, int]]:
    rows = [event(f"u{i % USERS}", f"i{i % 6}", 1 + i % 28) for i in range(n)]
    write_export(folder, rows)
    return Counter((str(r["user_id"]), str(r["item_id"]), 1 + i % 28) for i, r in enumerate(rows))


def expected(
    rows: Counter[tuple[str, str, int]], gone: set[str]
) -> Counter[tuple[str, str, float]]:
    return Counter(
        {
            (user, item, 19843.0 + day + 10 / 24): n
            for (user, item, day), n in rows.items()
            if user not in gone
        }
    )


def close(one: Counter[Any], other: Counter[Any]) -> bool:
    return {(u, i, round(t, 6)): n for (u, i, t), n in one.items()} == {
        (u, i, round(t, 6)): n for (u, i, t), n in other.items()
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads of the libraries
def test_kills_in_imports_and_deletions_lose_double_and_bring_back_nothing(tmp_path) -> None:
    url, folder = f"sqlite:///{tmp_path / 'shop.db'}", tmp_path / "export"
    rng = np.random.default_rng(0)
    gone: set[str] = set()
    rows, size, finished = export_of(folder, 400), 400, 0

    def load() -> None:
        store = Store(url)
        import_export(store, folder)
        store.close()

    def delete(name: str) -> None:
        store = Store(url)
        store.write(lambda c: writing.delete_user(c, name)).result()
        store.close()

    load()
    before = expected(rows, gone)
    for number in range(KILLS):
        if number % 3 == 2:
            name = str(rng.choice(sorted({f"u{n}" for n in range(USERS)} - gone)))
            done = kill_after(in_a_process(lambda n=name: delete(n)), rng.uniform(0, 0.05))
            found, names = stored(url)
            if done or name not in names:  # durable before it is acknowledged
                gone.add(name)
            assert close(found, Counter({k: n for k, n in before.items() if k[0] not in gone}))
        else:
            size += 20
            rows = export_of(folder, size)
            done = kill_after(in_a_process(load), rng.uniform(0, 0.15))
            found, names = stored(url)
            after = expected(rows, gone)
            assert close(found, before) or close(found, after)
            assert not done or close(found, after)
        finished += done
        assert not names & gone
        before = found
    load()
    found, names = stored(url)
    assert close(found, expected(rows, gone))
    assert not names & gone
    assert KILLS - finished > KILLS // 4  # else nothing was killed in the middle
