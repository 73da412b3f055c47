"""The page of benchmarks: a group measured again changes its own section and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.runtime.environment import Environment
from simulation.bench import cli
from simulation.bench.cli import BY_HAND, GROUPS
from simulation.reporting.benchmark_page import BenchmarkFigure, merged, section, sections
from tests import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def machine(commit: str) -> Environment:
    return Environment(
        python="3.11.7",
        os="Linux",
        cpu="a processor",
        cores=2,
        memory_mb=24_000,
        device="cpu",
        git_commit=commit,
        packages={"torch": "2.13.0"},
    )


def test_a_figure_is_met_up_to_its_bound() -> None:
    assert BenchmarkFigure("x", 1.1, 1.1, "s").is_met
    assert not BenchmarkFigure("x", 1.1001, 1.1, "s").is_met


def test_a_section_names_commit_machine_value_bound_and_what_limits() -> None:
    text = section([BenchmarkFigure("a round", 61.23, 60, "s", "the encoder")], machine("abc"))
    assert text.startswith("Commit abc; a processor, 2 cores, 24 GB; Linux;")
    assert "| a round | 61.2 s | 60 s | **no** | the encoder |\n" in text


def test_a_group_measured_again_leaves_the_others_as_they_were() -> None:
    first = {
        name: section([BenchmarkFigure(name, 1, 2, "s")], machine("old"))
        for name in ("one", "two", "gone")
    }
    page = merged("", first, order=("one", "two", "gone"))
    again = section([BenchmarkFigure("renamed", 3, 2, "s", "slower")], machine("new"))
    page = merged(page, {"one": again}, order=("new group", "one", "two"))
    assert sections(page) == {"one": again, "two": first["two"]}
    assert page.count("Commit old") == page.count("Commit new") == 1
    assert merged(page, {}, order=("new group", "one", "two")) == page


def test_the_command_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.md"
    path.write_text(merged("", {"audit": "Commit before.\n"}, order=GROUPS))
    monkeypatch.setitem(
        cli.GROUPS, "ledger", lambda: [BenchmarkFigure("append", 9, 5, "ms", "the disk")]
    )
    words = ["--only", "ledger", "--write", str(path)]
    done = CliRunner().invoke(cli.bench, words, catch_exceptions=False)
    assert done.output == "above append: 9 ms (bound 5); the disk\n"
    found = sections(path.read_text())
    assert list(found) == ["ledger", "audit"]
    assert "| append | 9 ms | 5 ms | **no** | the disk |" in found["ledger"]
    assert found["audit"] == "Commit before.\n"


def test_the_page_in_the_repository_is_one_that_the_command_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert merged(page, {}, order=(*GROUPS, *BY_HAND)) == page
    assert set(sections(page)) <= {*GROUPS, *BY_HAND}
