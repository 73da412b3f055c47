"""The blocks of docs/python.md, run in order, as they stand, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.slow
def test_the_blocks_of_the_page_run_in_order(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 5
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == "shop0 15 users 120 events"
    assert sum("NDCG@10" in line for line in lines) >= 10
    assert sum("epsilon 8.00, delta 1e-06, unit:" in line for line in lines) == 3
    assert (tmp_path / "run" / "report.html").exists()
    assert len(lines[-5:]) == len({line.split(maxsplit=1)[1] for line in lines[-5:]}) == 5
