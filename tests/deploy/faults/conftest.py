"""A clock that is off, for tests with real processes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """Sets the clock of the processes that are started with what it returns."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a clock that is off")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock.c")
    words = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True, timeout=300)

    def set_clock(seconds: int) -> dict[str, str]:
        offset.write_text(str(seconds))
        return {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}

    return set_clock
