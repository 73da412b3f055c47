"""What `fedprofile simulate` refuses is one line and leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from shared.errors import FedprofileError
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options

pytestmark = pytest.mark.usefixtures("cache")


BAD = [
    (["--epsilon", "0"], 2, ["epsilon=0", "above 0"]),
    (["--epsilon", "x"], 2, ["epsilon='x'", "1,3,8,none"]),
    (["--epsilon", "3", "--no-privacy"], 2, ["exclude each other"]),
    (["--delta", "0.5"], 2, ["delta=0.5", "--delta"]),
    (["--set", "training.rond=1"], 2, ["training.rond", "unknown"]),
    (["--sample-rate", "0.01"], 2, ["sample_rate=0.01", "1 user", "--sample-rate"]),
    (["--data", "/does/not/exist"], 2, ["/does/not/exist"]),
    (["--encoder", "/does/not/exist"], 2, ["/does/not/exist"]),
    (["--resume"], 2, ["resume: needs the folder", "--out"]),
    (["--set", "federation.min_replies=9"], 2, ["min_replies=9", "number of shops=3"]),
    (["--set", "model.rank=50"], 2, ["rank=50"]),
    (["--budget", "pears=1"], 2, ["budget='pears=1'", "counts, pairs, adapter"]),
    (["--budget", "counts=0.5,adapter=0.2"], 2, ["add up to 0.7", "must be 1"]),
    (["--budget", "pairs=1"], 2, ["counts_share=0 must be above 0", "--budget"]),
    (["--head-items", "1"], 2, ["head_items", "2"]),
    (
        ["--noise", "shared", "--set", "federation.robust=median"],
        2,
        ["federation.robust=median", "--noise shop"],
    ),
    (
        ["--set", "federation.robust=trimmed-mean"],
        2,
        ["federation.robust=trimmed-mean needs 5 shops", "of 3"],
    ),
    (["--noise", "shared", "--local-steps", "2"], 2, ["local_steps=2 must be 1", "--noise shop"]),
]


@pytest.mark.parametrize(("arguments", "code", "parts"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    world: Path, tmp_path: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    out = ["--out", str(tmp_path / "run")] if "--resume" not in arguments else []
    result = run(*options(world), *arguments, *out)
    assert isinstance(result.exception, FedprofileError), result.exception
    message = str(result.exception)
    assert result.exception.exit_code == code
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_alone(world: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    result = run(*options(world), "--out", str(kept.parent))
    assert "exists and is not empty" in str(result.exception)
    assert [p.name for p in kept.parent.iterdir()] == ["thesis.txt"]


def test_items_with_one_text_only_are_refused(world: Path, tmp_path: Path) -> None:
    data = tmp_path / "same" / "data"
    shutil.copytree(world, data)
    items = pd.read_csv(data / "items.csv").assign(title="apple")
    items.to_csv(data / "items.csv", index=False)
    result = run(*options(world)[2:], "--data", str(data), "--out", str(tmp_path / "run"))
    assert "alike" in str(result.exception)
