"""The example shop in a real browser, over a real node."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from tests import ROOT
from tests.browser import Tab, needs_browser, open_tab
from tests.client.serving.http.test_page import KEY, served
from tests.client.serving.small_service import opened

FOLDER = ROOT / "deploy" / "example-shop"
pytestmark = pytest.mark.slow


@contextmanager
def shop(node: str, key: str = "") -> Iterator[str]:
    command = [sys.executable, str(FOLDER / "shop.py"), "--node", node, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={"FEDPROFILE_API_KEY": key}
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()


def status(url: str, data: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_passes_on_what_the_page_needs_and_nothing_else(tmp_path) -> None:
    with served(opened(tmp_path, api_key=KEY)) as node, shop(node, KEY) as url:
        assert status(f"{url}api/popular?n=3") == 200
        assert status(f"{url}api/items/i1/similar") == 200
        assert status(f"{url}api/items/a%2Fb") == 404
        for path in ("api/users", "api/status", "metrics", "api/users/u1/profile", "../shop.py"):
            assert status(url + path) == 404, path
        assert status(f"{url}api/items", b"[]") == 404
        assert status(f"{url}api/feedback", b"x" * 200_000) == 413
    with shop("http://127.0.0.1:9") as url:
        assert status(f"{url}api/popular") == 502


def titles(tab: Tab) -> list[str]:
    return list(tab.run("[...document.querySelectorAll('main h2')].map(h => h.textContent)"))


def on_shelf(tab: Tab, title: str) -> list[str]:
    found = f"""[...document.querySelectorAll('section[aria-label="{title}"] button')]"""
    return list(tab.run(f"{found}.map(b => b.dataset.item)"))


def ready(tab: Tab) -> None:
    expect(tab.page.locator("#main")).to_have_attribute("aria-busy", "false")


@needs_browser
def test_a_customer_browses_fills_a_cart_buys_and_the_next_answer_knows(tmp_path) -> None:
    service = opened(tmp_path, api_key=KEY)
    with served(service) as node, shop(node, KEY) as url, open_tab() as tab:
        tab.screen(width=1100, height=900)
        tab.page.goto(url)
        expect(tab.page.locator("main h2")).to_have_count(2)
        assert titles(tab) == ["Popular", "New"]
        # by keyboard: past the search to the name
        for _ in range(3):
            tab.press("Tab")
        assert tab.run("document.activeElement.id") == "user"
        tab.page.keyboard.insert_text("a new customer/1")
        tab.press("Enter")
        expect(tab.page.locator("main h2").first).to_have_text("For you")
        assert titles(tab) == ["For you", "Discover"]  # nothing to buy again yet
        before = on_shelf(tab, "Discover")
        chosen = before[0]
        tab.run("document.querySelector('section[aria-label=Discover] button').click()")
        expect(tab.page.get_by_role("region", name="Goes with it")).to_be_visible()
        assert chosen not in on_shelf(tab, "Goes with it")
        tab.run("document.getElementById('buy').focus()")
        tab.press("Enter")
        expect(tab.page.locator("#said")).to_contain_text(re.compile("^Thank you"))
        expect(tab.page.locator("main h2")).to_have_count(3)
        assert on_shelf(tab, "Buy again") == [chosen]
        assert chosen not in on_shelf(tab, "Discover")
        assert tab.complaints == []
        assert [one for one in tab.requested if not one.startswith((url, "data:"))] == []
        for width, scheme in ((390, "dark"), (390, "light")):
            tab.screen(width=width, height=800, scheme=scheme)
            assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        counted = {entry["surface"]: entry["purchases"] for entry in service.online.report()}
    assert {"for-you", "discover", "session"} <= set(counted)
    assert sum(counted.values()) == 1
