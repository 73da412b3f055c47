"""The page for people, in a real browser over a real node."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect

from client.serving.access.keys import KeyRing
from client.serving.server import create_guarded_app
from client.serving.service.service import Service
from tests.browser import Tab, needs_browser, open_tab
from tests.client.serving.small_service import client_of, opened
from tests.shared.privacy.ledger.shop_ledgers import full_run, open_ledger

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
KEY = "0123456789abcdef"
slow = pytest.mark.slow


@contextmanager
def served(service: Service, keys: KeyRing | None = None) -> Iterator[str]:
    app = create_guarded_app(service, keys)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    try:
        deadline = time.monotonic() + 300
        while not server.started:
            assert running.is_alive(), "the server ended before it answered"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        running.join(timeout=300)
    assert not running.is_alive(), "the server did not end"


def ledger_of(folder: Path) -> Path:
    full_run(open_ledger(folder / "ledgers"))
    return folder / "ledgers" / "north.jsonl"


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[tuple[str, Service]]:
    folder = tmp_path_factory.mktemp("page")
    service = opened(folder, ledger=ledger_of(folder))
    with served(service) as url:
        yield url, service


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with open_tab() as opened_tab:
        yield opened_tab


@pytest.fixture
def quiet(tab: Tab) -> Iterator[Tab]:
    """A tab whose console must stay empty."""
    tab.page.goto("about:blank")
    tab.screen(width=1100, height=900)
    tab.complaints.clear()
    tab.requested.clear()
    yield tab
    assert tab.complaints == []
    assert tab.dialogs == 0


@slow
@needs_browser
@pytest.mark.parametrize(
    ("view", "title", "expected"),
    [
        ("#/", "Overview", ["Nothing is counted yet", "0 of 60 were", "Never shown", "% is spent"]),
        (
            "#/technical",
            "Technical",
            ["Ready", "4,480", "round 4 of run r1", "GET /api/", "frequency"],
        ),
        ("#/users", "Users", ["u0", "u79"]),
        (
            "#/users/u1",
            "User u1",
            [
                "56 events",
                "mostly c1",
                "[Gg]oes with|[Tt]aken with|[Oo]ften take|[Ii]s like|customers",
                "Users of like",
            ],
        ),
        ("#/items", "Items", ["Taken by most users", "Came last"]),
        ("#/items?q=private", "Items", ["Found for “private”", "private"]),
        ("#/items/i1", "Item i1", ["ice juice ice", "Goes with it", "2.00"]),
        ("#/privacy", "Privacy", ["Epsilon 2.11 of 8.00", "5.89", "differentially private"]),
    ],
)
def test_each_view_shows_the_shop_and_nothing_from_elsewhere(
    quiet, shop, view, title, expected
) -> None:
    url, _ = shop
    text = quiet.show(url + view, title)
    for part in expected:
        assert re.search(part, text), (part, text)
    assert [one for one in quiet.requested if not one.startswith(url)] == []
    for scheme in ("light", "dark"):
        quiet.screen(width=390, height=800, scheme=scheme)
        assert quiet.run("document.documentElement.scrollWidth <= innerWidth")
    assert quiet.run("getComputedStyle(document.body).backgroundColor") == "rgb(16, 22, 21)"


@slow
@needs_browser
def test_bars_add_up_to_the_score_and_looking_counts_as_no_impression(quiet, shop) -> None:
    url, service = shop
    quiet.show(f"{url}#/users/u1", "User u1")
    rows = quiet.run(
        "[...document.querySelectorAll('details .bars')].map(bars =>"
        " [...bars.querySelectorAll('.number')].map(n => n.textContent))"
    )
    assert len(rows) == 10
    for *parts, score in rows:
        added = sum(float(part.replace("−", "-")) for part in parts)
        assert added == pytest.approx(float(score.replace("−", "-")), abs=0.005)
    ends = quiet.run(
        "[...document.querySelector('details .bars').querySelectorAll('i')].map(i =>"
        " parseFloat(i.style.left) + parseFloat(i.style.width))"
    )
    assert ends[-2] == pytest.approx(ends[-1], abs=0.01)
    assert service.online.report() == []


@slow
@needs_browser
def test_markup_in_data_is_text(quiet, shop) -> None:
    url, service = shop
    with_markup = {"item_id": HOSTILE[:30], "text": HOSTILE, "category": HOSTILE, "brand": HOSTILE}
    quiet.show(f"{url}#/", "Overview")
    assert quiet.fetch("/api/items", method="PUT", content=[with_markup])
    event = {"event_id": "e", "user_id": "<b>x", "item_id": HOSTILE[:30]}
    assert quiet.fetch("/api/feedback", method="PUT", content=[event])
    for view, title in (
        ("#/users/%3Cb%3Ex", "User <b>x"),
        ("#/items", "Items"),
        ("#/items?q=" + "%3Cscript%3E", "Items"),
    ):
        text = quiet.show(url + view, title)
        assert "<script>" in text
        assert quiet.run("document.querySelectorAll('main script, main img, main b').length") == 0
    service.delete_item(HOSTILE[:30]).result()
    service.delete_user("<b>x").result()


@slow
@needs_browser
def test_a_wrong_user_or_view_gets_a_clear_message(tab, shop) -> None:
    url, _ = shop
    text = tab.show(f"{url}#/users/nobody", "Not found")
    assert "user_id='nobody' is not stored" in text
    assert "check its spelling" in text
    assert "there is no such view" in tab.show(f"{url}#/nonsense", "Problem")


@slow
@needs_browser
def test_it_works_by_keyboard(quiet, shop) -> None:
    url, _ = shop
    quiet.show(f"{url}#/", "Overview")
    for _ in range(3):
        quiet.press("Tab")
    assert quiet.run("document.activeElement.textContent") == "Users"
    quiet.press("Enter")
    quiet.has_heading("Users")
    assert quiet.run("document.activeElement.tagName") == "H1"
    quiet.press("Tab")
    quiet.page.keyboard.insert_text("u2")
    quiet.press("Enter")
    quiet.has_heading("User u2")


@slow
@needs_browser
def test_the_button_verifies_the_ledger_as_it_is_now(quiet, tmp_path) -> None:
    path = ledger_of(tmp_path)
    with served(opened(tmp_path, ledger=path)) as url:
        quiet.show(f"{url}#/privacy", "Privacy")
        said, button = quiet.page.get_by_role("status"), quiet.page.locator("main button").first
        button.click()
        expect(said).to_contain_text("All 12 lines hold.")
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        button.click()
        expect(said).to_contain_text("Does not hold")


@slow
@needs_browser
def test_the_key_is_asked_for_and_a_cookie_takes_its_place(tab, tmp_path) -> None:
    with served(opened(tmp_path, api_key=KEY)) as url:
        tab.show(url, "API key")
        tab.run("document.getElementById('key').focus()")
        tab.page.keyboard.insert_text(KEY)
        tab.press("Enter")
        tab.has_heading("Overview")
        assert tab.run("sessionStorage.length + document.cookie.length") == 0
        assert KEY not in tab.run("JSON.stringify(localStorage)")
        second = tab.page.context.new_page()
        second.goto(url)
        expect(second.get_by_role("button", name="Sign out")).to_be_visible()
        (cookie,) = tab.page.context.cookies()
        assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
        text = tab.show(f"{url}#/privacy", "Privacy")
        assert "No ledger is configured" in text
        assert tab.run("[...document.querySelectorAll('button')].at(-1).click()") is None
        tab.has_heading("API key")
        assert tab.run("localStorage.length") == 0
        tab.run("localStorage.setItem('fedprofile-signed-in', 'yes')")  # its session is over
        second.reload()
        expect(second.get_by_role("heading", name="API key", exact=True)).to_be_visible()
        expect(second.get_by_role("button", name="Sign out")).to_have_count(0)
        second.close()


def test_the_page_needs_no_key_and_has_a_strict_policy(tmp_path) -> None:
    with client_of(opened(tmp_path, api_key=KEY)) as client:
        answer = client.get("/")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        files = re.findall(r'(?:src|href)="(/page/[^"]+)"', answer.text)
        assert len(files) == 3
        assert {client.get(file).status_code for file in files} == {200}
        assert client.get("/page/..%2Fapi%2Fpage.py").status_code == 404
        assert client.get("/page/page.py").status_code == 404
        assert client.post("/page/page.css").status_code == 401
        assert client.get("/api/privacy").status_code == 401


def test_the_account_of_a_ledger_adds_up_and_a_damaged_one_is_named(tmp_path) -> None:
    path = ledger_of(tmp_path)
    with client_of(opened(tmp_path, ledger=path)) as client:
        found = client.get("/api/privacy").json()
        rounds = found["rounds"]
        assert len(rounds) == 5
        assert sum(r["epsilon_cost"] for r in rounds) == pytest.approx(found["status"]["epsilon"])
        assert found["runs"][-1]["epsilon_after"] == pytest.approx(rounds[-1]["epsilon_after"])
        path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":2', 1))
        answer = client.get("/api/privacy")
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "ledger_does_not_hold"
        assert str(tmp_path) not in answer.text
        verdict = client.post("/api/privacy/verify").json()
        assert not verdict["ok"]
        assert str(tmp_path) not in str(verdict)


def test_status_counts_all_events(tmp_path) -> None:
    with client_of(opened(tmp_path)) as client:
        before = client.get("/api/status").json()["events"]
        client.post("/api/feedback", json=[{"user_id": u, "item_id": "i1"} for u in ("u1", "new")])
        assert client.get("/api/status").json()["events"] == before + 2
