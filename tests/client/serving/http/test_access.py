"""A node is closed by default: foreign pages, rebinding, keys and roles, the audit log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from client.serving.access.keys import AccessFiles, KeyRing, add_key, make_owner_key
from client.serving.server import create_guarded_app
from shared.errors import ModelError
from tests.browser import needs_browser, open_tab
from tests.client.serving.http.test_page import served
from tests.client.serving.small_service import opened

EVENT = [{"event_id": "e1", "user_id": "u1", "item_id": "i1"}]
LINE = json.dumps({"item_id": "i1", "text": "overwritten"})


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[TestClient, AccessFiles, str]]:
    files = AccessFiles(folder / "shop.db")
    key = make_owner_key(files)
    app = create_guarded_app(opened(folder), KeyRing(files))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client, files, key


def code(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


def test_roles_sessions_and_the_audit_log(tmp_path: Path) -> None:
    with guarded(tmp_path) as (client, files, key):
        assert code(client.get("/api/popular")) == "unauthorized"
        reader = {"X-API-Key": add_key(files, "mails", "read")}
        writer = {"X-API-Key": add_key(files, "shop", "write")}
        owner = {"X-API-Key": key}
        client.get("/api/popular", headers=owner)
        assert client.get("/health/ready").status_code == 200
        for headers, statuses in ((reader, (200, 403, 403)), (writer, (200, 201, 403))):
            found = (
                client.get("/api/popular", headers=headers).status_code,
                client.post("/api/feedback", json=EVENT, headers=headers).status_code,
                client.delete("/api/users/u3", headers=headers).status_code,
            )
            assert found == statuses
        low = client.delete("/api/items/i2", headers=writer).json()["error"]
        assert low["code"] == "role_too_low"
        assert "has the role write, this needs admin" in low["message"]
        assert client.delete("/api/items/a%2Fb", headers=owner).status_code == 404
        assert client.delete("/api/users/u3", headers=owner).status_code == 200
        session = client.post("/api/login", headers=owner)
        assert session.json()["role"] == "admin"
        (cookie,) = [
            part for part in session.headers["set-cookie"].split("; ") if "session" in part
        ]
        assert {"HttpOnly", "SameSite=strict"} <= set(session.headers["set-cookie"].split("; "))
        assert key not in cookie
        assert client.get("/api/status").status_code == 200  # by the cookie
        assert code(client.post("/api/login")) == "unauthorized"  # it does not renew itself
        client.cookies.set("fedprofile-session", "owner.99999999999." + "0" * 64)
        assert code(client.get("/api/status")) == "unauthorized"
        assert client.get("/api/popular", headers={"X-API-Key": "ü".encode()}).status_code == 401
    assert files.audit.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in files.audit.read_text().splitlines()]
    facts = [(line["key"], line["method"], line["status"]) for line in lines]
    assert facts == [
        ("mails", "DELETE", 403),
        ("shop", "DELETE", 403),
        ("shop", "DELETE", 403),
        ("owner", "DELETE", 404),
        ("owner", "DELETE", 200),
    ]
    assert lines[-1]["route"] == "/api/users/{user_id}"
    assert lines[-2]["item_id"] == "a/b"
    assert "u3" not in files.audit.read_text()
    assert key not in files.audit.read_text()


def test_who_has_no_key_writes_no_line_and_is_limited(tmp_path: Path) -> None:
    files = AccessFiles(tmp_path / "shop.db")
    key = make_owner_key(files)
    service = opened(tmp_path, requests_per_second=0.001, burst=4)
    app = create_guarded_app(service, KeyRing(files))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        foreign = {"origin": "http://evil.example", "X-API-Key": key}
        answers = [
            client.delete("/api/users/u1"),
            client.delete("/api/users/u1", headers={"X-API-Key": "x" * 32}),
            *(client.delete("/api/users/u1", headers=foreign) for _ in range(3)),
            client.delete("/health/live"),
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 403, 403, 429, 405]
        assert code(client.get("/health/live", headers=foreign)) == "foreign_page"
    assert not files.audit.exists()


def test_foreign_hosts_and_pages_are_refused_on_everything(client: TestClient) -> None:
    foreign = (
        ({"host": "evil.example"}, "host_not_allowed"),
        ({"origin": "http://evil.example"}, "foreign_page"),
        ({"origin": "null"}, "foreign_page"),
        ({"sec-fetch-site": "cross-site"}, "foreign_page"),
    )
    for path in ("/", "/health/live", "/metrics", "/api/popular", "/docs", "/page/app.js", "/none"):
        for headers, expected in foreign:
            answer = client.get(path, headers=headers)
            assert (answer.status_code, code(answer)) == (403, expected)
    assert client.get("/", headers={"origin": "http://localhost"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/bulk?kind=items", "text/plain"),
        ("/api/bulk?kind=items", "application/json"),
        ("/api/bulk?kind=items", None),
        ("/api/feedback", "text/plain"),
        ("/api/feedback", "application/x-www-form-urlencoded"),
        ("/api/session/recommend", "multipart/form-data; boundary=x"),
    ],
)
def test_bodies_that_a_form_could_send_are_refused(
    client: TestClient, path: str, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post(path, content=LINE.encode(), headers=headers)
    assert (answer.status_code, code(answer)) == (415, "unsupported_media_type")
    assert client.get("/api/items/i1").json()["text"] != "overwritten"


def test_errors_hold_no_path(client: TestClient, service, monkeypatch) -> None:
    def fail(_folder: Path) -> None:
        raise ModelError(
            "adapter folder=/srv/shop/node/adapter has no readable profile_model.json",
            remedy="look into /srv/shop/node",
        )

    monkeypatch.setattr(service.watch, "folder", Path("/srv/shop"))
    monkeypatch.setattr(service, "reload_adapter", fail)
    error = client.post("/api/adapter/reload").json()["error"]
    assert "/srv" not in json.dumps(error)
    assert "adapter folder=adapter has no readable profile_model.json" in error["message"]
    unknown = client.get("/api/items/%2Fa%2Fb").json()["error"]
    assert "'/a/b'" in unknown["message"]  # an id is told as it was sent


@contextmanager
def foreign_page() -> Iterator[str]:
    """A page of somebody else, on an origin of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>evil</title><iframe name=sink></iframe>")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()


ATTACKS = """async (url) => {
  const line = JSON.stringify({item_id: "i1", text: "overwritten"});
  const event = JSON.stringify([{event_id: "evil", user_id: "u1", item_id: "i1"}]);
  const send = (path, method, body, mode) => fetch(
    url + path, {method, body, mode: mode || "no-cors", credentials: "include"}).catch(() => {});
  await send("api/bulk?kind=items", "POST", line);
  await send("api/bulk?kind=items", "POST", new Blob([line]));
  await send("api/feedback", "POST", event);
  await send("api/users/u1", "DELETE", undefined, "cors");
  const form = document.createElement("form");
  form.method = "POST";
  form.action = url + "api/bulk?kind=items";
  form.enctype = "text/plain";
  form.target = "sink";
  const field = document.createElement("input");
  field.name = '{"item_id": "i1", "text": "overwritten", "brand": "';
  field.value = '"}';
  form.append(field);
  document.body.append(form);
  const sink = document.querySelector("iframe");
  const done = new Promise(resolve => sink.addEventListener("load", resolve));
  form.submit();
  await done;
  return await fetch(url + "api/popular").then(a => a.text(), () => "blocked");
}"""


@pytest.mark.slow
@needs_browser
def test_a_foreign_page_in_a_browser_reads_and_changes_nothing(tmp_path: Path) -> None:
    service = opened(tmp_path)  # without a key: what holds is what the browser says
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with served(service) as url, foreign_page() as evil, open_tab(arguments=[rebound]) as tab:
        text = service.engine.items.item_at(service.engine.items.rows["i1"]).text
        events = service.engine.history("u1").time.tolist()
        tab.page.goto(evil)
        assert tab.run(f"({ATTACKS})('{url}')") == "blocked"
        tab.page.goto(url.replace("127.0.0.1", "evil.example"))
        assert "host_not_allowed" in tab.text()
        rebound_read = "fetch('/api/users').then(a => a.status)"
        assert tab.run(rebound_read) == 403
        assert not tab.fetch("/api/feedback", method="POST", content=EVENT)
        assert service.engine.items.item_at(service.engine.items.rows["i1"]).text == text
        assert service.engine.history("u1").time.tolist() == events
        tab.show(url, "Overview")
        assert tab.run(rebound_read) == 200
