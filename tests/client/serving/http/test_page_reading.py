"""Whether everybody can read the page: axe-core's rules, narrow screens, names and targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser import Tab, needs_browser, open_tab
from tests.client.serving.http.page_pictures import VIEWS, filled
from tests.client.serving.http.test_page import served

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    with served(filled(tmp_path_factory.mktemp("reading"))) as address:
        yield address


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with open_tab() as opened_tab:
        yield opened_tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(
    tab: Tab, url: str, scheme: Literal["light", "dark"]
) -> None:
    for view, title in VIEWS.values():
        tab.screen(width=390, height=800, scheme=scheme)
        tab.show(url + view, title)
        found = Axe().run(tab.page).response["violations"]
        serious = [
            (rule["id"], [node["target"] for node in rule["nodes"]][:3])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == [], (view, scheme)


def test_every_view_fits_a_phone_and_no_description_is_a_name(tab: Tab, url: str) -> None:
    for view, title in VIEWS.values():
        tab.screen(width=390, height=800)
        tab.show(url + view, title)
        assert tab.run("document.documentElement.scrollWidth <= innerWidth"), view
        links = tab.run("[...document.querySelectorAll('main a')].map(a => a.textContent.length)")
        assert max(links, default=0) <= 90, view
        regions = "[...document.querySelectorAll('[role=region]')].map(r => r.ariaLabel)"
        names = tab.run(regions)
        assert len(set(names)) == len(names), (view, names)


def test_the_front_view_says_what_recommendations_bring(tab: Tab, url: str) -> None:
    tab.screen(width=1100, height=900)
    text = tab.show(f"{url}#/", "Overview")
    for expected in ("Revenue with its range", "EUR", "Fused against local", "Best", "Worst"):
        assert expected in text
    assert "Too little for a judgement" not in text


def test_a_user_has_few_stops_of_the_keyboard(tab: Tab, url: str) -> None:
    tab.screen(width=1100, height=900)
    tab.show(f"{url}#/users/u1", "User u1")
    stops = "[...document.querySelectorAll('a, button, input, summary, [tabindex=\"0\"]')]"
    visible = ".filter(one => one.checkVisibility()).length"
    assert 20 < tab.run(stops + visible) < 40
