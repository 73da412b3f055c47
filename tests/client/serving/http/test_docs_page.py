"""The page of routes: all of them, from the node alone, in a real browser."""

from __future__ import annotations

import pytest

from tests.browser import needs_browser, open_tab
from tests.client.serving.http.test_page import KEY, served
from tests.client.serving.small_service import client_of, opened


@pytest.mark.slow
@needs_browser
def test_it_shows_every_route_and_loads_nothing_from_elsewhere(tmp_path) -> None:
    service = opened(tmp_path, api_key=KEY)
    with served(service) as url, open_tab() as tab:
        tab.show(f"{url}docs", "API key")
        asked = [one for one in tab.complaints if "401" not in one]
        tab.complaints.clear()
        tab.run("document.getElementById('key').focus()")
        tab.page.keyboard.insert_text(KEY)
        tab.press("Enter")
        tab.has_heading("Routes")
        wanted = tab.run(
            "fetch('/openapi.json').then(a => a.json()).then(all => Object.entries("
            "all.paths).flatMap(([p, m]) => Object.keys(m).map(k => `${k.toUpperCase()} ${p}`)))"
        )
        found = tab.run(
            "[...document.querySelectorAll('details.route summary')].map(s =>"
            " [...s.querySelectorAll('code')].map(c => c.textContent).join(' '))"
        )
        assert sorted(found) == sorted(wanted)
        assert len(found) >= 26
        tab.run("[...document.querySelectorAll('main button')][0].click()")
        text = tab.text()
        for part in ("buy-again", "event_id", "order-1001-1", "content-type: application/json"):
            assert part in text
        for scheme in ("light", "dark"):
            tab.screen(width=390, height=800, scheme=scheme)
            assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        assert [one for one in tab.requested if not one.startswith(url)] == []
        assert (asked, tab.complaints) == ([], [])


def test_no_page_of_fastapi_is_left(tmp_path) -> None:
    with client_of(opened(tmp_path)) as client:
        page = client.get("/docs")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "//" not in page.text
        assert client.get("/redoc").status_code == 404
        assert client.get("/docs/oauth2-redirect").status_code == 404
