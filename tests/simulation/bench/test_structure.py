"""Cycles and files that run are counted as a slow and obvious count does."""

from __future__ import annotations

import threading

from shared.commands.options import parse_budget
from simulation.bench.structure import (
    ROOT,
    cycles,
    files_that_run,
    package_cycles,
    read_imports,
)


def test_cycles_are_found_between_modules_and_between_packages() -> None:
    imports = {"a.x": {"b.y"}, "b.y": {"a.z"}, "a.z": set(), "c": {"d"}, "d": {"e"}, "e": {"c"}}
    assert cycles(imports) == [["c", "d", "e"]]
    assert package_cycles(imports) == [["a", "b"], ["c", "d", "e"]]


def test_the_project_has_no_cycle() -> None:
    imports = read_imports()
    assert "shared.errors" in imports["simulation.cli"]
    assert cycles(imports) == []
    assert package_cycles(imports) == []


def test_files_count_where_a_function_executes_in_any_thread() -> None:
    with files_that_run() as files:
        thread = threading.Thread(target=parse_budget, args=(None,))
        thread.start()
        thread.join()
    assert files == {str(ROOT / "shared" / "commands" / "options.py")}
