"""The page and the terminal's view of a sweep."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from simulation.experiments.sweep.console import print_sweep
from simulation.experiments.sweep.page import sweep_page
from simulation.experiments.sweep.schema import SweepReport
from simulation.experiments.sweep.tables import lost_rows, surface_rows
from simulation.runs.variants import Sweep, Variant
from tests.browser import needs_browser
from tests.simulation.experiments.single.test_page import LOADING, Page, in_browser
from tests.simulation.experiments.sweep.sample_sweeps import sample_sweep

BOTH = Sweep((1.0, 3.0, 8.0, None), ("shop", "shared"), seeds=3)


def gain(surface: str, variant: Variant, shop: int) -> float:
    if surface == "tail" and shop == 0:
        return -0.02
    if surface == "basket" or variant.epsilon == 1.0:
        return 0.0
    return 0.02 if variant.noise == "shared" else 0.006


@pytest.fixture(scope="module")
def sweep() -> SweepReport:
    return sample_sweep(BOTH, gain, surfaces=("discover", "tail", "basket"))


@pytest.fixture(scope="module")
def page(sweep: SweepReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "sweep.html"
    path.write_text(sweep_page(sweep), encoding="utf-8")
    return path


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", Page(page.read_text(encoding="utf-8")).text)


def test_the_page_loads_nothing_and_its_ids_are_unique(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert {"script", "link", "img", "iframe"} & set(parsed.tags) == set()
    assert LOADING
    assert parsed.references
    assert {r[1:] for r in parsed.references} <= set(parsed.ids)
    assert [i for i, count in parsed.ids.items() if count > 1] == []
    assert not re.search(r"https?://|@import|#0a0b0", text)


def test_the_page_has_plots_figures_and_the_recommendation(page: Path, sweep: SweepReport) -> None:
    parsed, text = Page(page.read_text(encoding="utf-8")), text_of(page)
    assert parsed.surfaces == ["discover", "tail", "basket"]
    assert parsed.tags["svg"] == 3 * 3
    assert sweep.title in text
    for found in sweep.recommendations:
        assert " ".join(found.sentences) in text
    rows = [row for surface in sweep.surfaces.values() for row in surface_rows(surface)]
    assert len(rows) == 3 * 7
    for row in rows:
        assert f"{row.gain.mean}{row.gain.interval}" in text
    assert "10,000" not in text
    assert "for the 20 comparisons on this page" in text


def test_the_assumptions_of_shared_noise_stand_next_to_its_figures(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    after = [
        part.split("</div>", 1)[1].split("<h2", 1)[0] for part in text.split("data-surface")[1:]
    ]
    assert len(after) == 3
    for part in after:
        for words in ("secure aggregation", "most shops being honest"):
            assert words in part
    shop = sweep_page(sample_sweep(Sweep((8.0,), ("shop",)), gain))
    assert "secure aggregation" not in shop


def test_shops_that_lost_are_named_and_nobody_else(page: Path, sweep: SweepReport) -> None:
    lost = lost_rows(sweep)
    named = Counter(re.findall(r"shop-\d", " ".join(names for _, names in lost)))
    expected = Counter(
        shop for s in sweep.surfaces.values() for c in s.comparisons for shop in c.hurt
    )
    assert named == expected
    assert named["shop-0"] >= 5
    assert lost[0][0] in text_of(page)
    nobody = sample_sweep(Sweep((8.0,)), lambda *_: 0.0)
    assert lost_rows(nobody) == []
    assert "None, on any surface at any epsilon." in sweep_page(nobody)


def test_the_cost_of_every_run_is_listed(page: Path, sweep: SweepReport) -> None:
    text = text_of(page)
    for variant in sweep.variants:
        assert variant.name in text
    assert "7 s" in text
    assert "1.00" in text


def test_a_surface_without_headroom_says_so_and_has_no_plot_of_it() -> None:
    text = sweep_page(sample_sweep(Sweep((8.0,)), lambda *_: 0.0, headroom=0.0))
    assert text.lower().count("no headroom to recover on this surface") == 2
    assert "Headroom recovered" not in text


def test_names_are_escaped(sweep: SweepReport) -> None:
    evil = "<script>alert(1)</script>"
    values = json.loads(sweep.to_json().replace("shop-0", evil))
    values["variants"][0]["name"] = evil
    text = sweep_page(SweepReport.model_validate(values))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 2


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_whole_tables_and_the_recommendation(
    sweep: SweepReport, width: int
) -> None:
    stream = io.StringIO()
    print_sweep(sweep, folder=Path("runs/x"), console=Console(file=stream, width=width))
    text = stream.getvalue()
    flat = " ".join(text.split())
    assert "…" not in text
    for row in surface_rows(sweep.surfaces["discover"]):
        cells = [
            row.noise,
            row.epsilon,
            row.fused,
            row.gain.mean,
            *row.gain.interval.split(),
            row.gain.p,
        ]
        assert " ".join(cells) in flat
    assert flat.count(f"{sweep.title}.") == 1
    for found in sweep.recommendations:
        assert " ".join(found.sentences) in flat
        assert found.trust in flat
    assert "Lost Tail, epsilon 8, noise in each shop: shop-0" in flat
    assert "runs/x/sweep.html" in flat


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_the_page_on_a_phone_and_loads_nothing(page: Path) -> None:
    parsed, width, asked = in_browser(page)
    assert parsed.surfaces == ["discover", "tail", "basket"]
    assert (width <= 390, asked) == (True, [])
