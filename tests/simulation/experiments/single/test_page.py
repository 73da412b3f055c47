from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import ViewportSize

from shared.errors import RunError
from simulation.experiments.single.output import write_html
from simulation.experiments.single.schema import Report
from tests.browser import needs_browser, open_tab
from tests.simulation.experiments.single.sample_reports import sample_report

LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """What a page refers to, its ids, table rows and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.surfaces: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name in LOADING:
                self.references.append(value or "")
            if name in ("style", "clip-path"):
                self.references += re.findall(r"url\(([^)]*)\)", value or "")
            if name == "id":
                self.ids[value or ""] += 1
            if name == "data-surface":
                self.surfaces.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(sample_report(), path)
    return path


def test_a_page_refers_to_nothing_but_itself(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert {"script", "link", "img", "iframe", "object", "embed"} & set(parsed.tags) == set()
    assert len(parsed.references) > 20
    assert [r for r in parsed.references if not r.startswith("#")] == []
    assert {r[1:] for r in parsed.references} <= set(parsed.ids)
    assert "@import" not in text
    assert not re.search(r"https?://", text)


def test_ids_are_unique_across_plots(page: Path) -> None:
    ids = Page(page.read_text(encoding="utf-8")).ids
    assert [i for i, count in ids.items() if count > 1] == []


def test_the_page_holds_tables_plots_and_words(page: Path) -> None:
    parsed = Page(page.read_text(encoding="utf-8"))
    assert parsed.surfaces == ["for-you", "discover", "tail", "basket"]
    assert parsed.tags["svg"] == 4 + 4 + 1
    for part in (
        "Federation paid on 2 of 4 surfaces: Discover and Basket, but did harm on Tail.",
        "Epsilon 8.00".replace("E", "e"),
        "A simulation is not a release",
        "r19-19",
        "max_grad_norm",
        "impossible quantities",
        "not-finite",
    ):
        assert part in parsed.text
    assert "#0a0b0" not in page.read_text(encoding="utf-8")


def test_names_from_data_and_settings_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    found = json.loads(sample_report(shops=2).to_json())
    found["name"] = found["guarantee_text"] = found["data"]["name"] = evil
    found["data"][evil] = {evil: 1}
    found["settings"]["model"]["encoder"] = evil
    found["surfaces"]["tail"] = {"available": False, "reason": evil}
    for part in (found["privacy"], found["metrics"]["shops"], found["fusion"]):
        part[evil] = part.pop("r19-01")
    found["comparison"]["basket"]["shops"][evil] = found["comparison"]["basket"]["difference"]
    write_html(found, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 8


def test_a_surface_that_could_not_be_measured_is_named_with_its_reason(tmp_path: Path) -> None:
    found = json.loads(sample_report(shops=2).to_json())
    for part in (found["metrics"], found["comparison"]):
        del part["basket"]
    found["surfaces"]["basket"] = {"available": False, "reason": "the data has no sessions"}
    write_html(found, tmp_path / "report.html")
    parsed = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert parsed.surfaces == ["for-you", "discover", "tail"]
    assert "the data has no sessions" in parsed.text
    assert "2 of 4" not in parsed.text


def test_a_run_with_nothing_to_compare_and_no_rounds_still_has_a_page(tmp_path: Path) -> None:
    found = json.loads(sample_report(epsilon=None, shops=1).to_json())
    found |= {"comparison": {}, "training": {}, "fusion": {}, "metrics": {"shops": {}}, "data": {}}
    found["surfaces"] = {"tail": {"available": False, "reason": "no users"}}
    write_html(found, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Nothing could be compared" in text
    assert "no privacy" in text


def test_the_same_report_makes_the_same_page(page: Path, tmp_path: Path) -> None:
    write_html(Report.model_validate_json(sample_report().to_json()), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html cannot be written"):
        write_html(sample_report(shops=1), tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def in_browser(page: Path) -> tuple[Page, int, list[str]]:
    """Shows a page 390 pixels wide; returns its DOM, the width it takes, and what it asked for.

    Without its content policy, so that nothing that it refers to is held back.
    """
    phone: ViewportSize = {"width": 390, "height": 800}
    with open_tab(viewport=phone, bypass_csp=True) as tab:
        tab.page.goto(page.as_uri(), wait_until="load")
        width = tab.run("document.documentElement.scrollWidth")
        first, *asked = tab.requested
        assert first == page.as_uri()
        return Page(tab.page.content()), width, asked


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_the_page_on_a_phone_and_loads_nothing(page: Path) -> None:
    parsed, width, asked = in_browser(page)
    assert parsed.surfaces == ["for-you", "discover", "tail", "basket"]
    assert parsed.tags["svg"] == 9
    assert width <= 390
    assert asked == []


@pytest.mark.slow
@needs_browser
def test_the_browser_test_would_see_an_image_from_elsewhere(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("<main>", '<main><img src="http://[::1]:9/x">')
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    assert in_browser(tmp_path / "report.html")[2] == ["http://[::1]:9/x"]
