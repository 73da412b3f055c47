"""Arrays read by several threads at once, which CPython 3.11.7 cannot do by itself."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from shared.protocol import messages

THREADS, SECONDS = 4, 0.5


class Garbage:
    """A cycle whose end lets another thread run, wherever the collector finds it."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(1e-5)


@pytest.fixture
def eager_collector() -> Iterator[None]:
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("eager_collector")
@pytest.mark.parametrize("threshold", [13, 17, 41, 57])
def test_threads_read_arrays_side_by_side(threshold: int) -> None:
    record = messages.to_record({f"a{i}": np.full((3, 4), i, np.float32) for i in range(4)})
    wrong: list[object] = []
    end = time.monotonic() + SECONDS

    def read() -> None:
        while time.monotonic() < end and not wrong:
            Garbage()
            try:
                found = messages.from_record(record)
                wrong.extend(name for name in found if (found[name] != int(name[1:])).any())
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    gc.set_threshold(threshold)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
