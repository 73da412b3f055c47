"""Federations that the tests of a module share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.deploy.federations import Federation

LAST = 25
"""Lines of each log that a failed test shows."""


@pytest.fixture(scope="module")
def make_federation(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Federation]]:
    """Makes federations and ends their processes."""
    made: list[Federation] = []

    def make(**options: object) -> Federation:
        root = Path(tmp_path_factory.mktemp("federation"))
        made.append(Federation(root, **options))  # type: ignore[arg-type]
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make
        for federation in made:
            federation.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the processes of a federation said last, where a test with one fails."""
    report = yield
    if report.failed:
        for found in getattr(item, "funcargs", {}).values():
            federation = found[0] if isinstance(found, tuple) else found
            if isinstance(federation, Federation):
                report.sections += [
                    (path.name, "\n".join(path.read_text(errors="replace").splitlines()[-LAST:]))
                    for path in sorted(federation.root.glob("*.log"))
                ]
    return report
