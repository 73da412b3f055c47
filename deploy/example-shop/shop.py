"""An example shop: serves the page beside this file and passes its requests on to the node.

The browser never sees the node or its API key; a real shop's own server would do the same, with the
customer who is logged in for `user_id`. Only Python's standard library is needed:

    FEDPROFILE_API_KEY=... python deploy/example-shop/shop.py --node http://127.0.0.1:8080
"""

from __future__ import annotations

import argparse
import os
import re
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).parent
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/shop.js": ("shop.js", "text/javascript; charset=utf-8"),
    "/shop.css": ("shop.css", "text/css; charset=utf-8"),
}
PASSED = {
    "GET": r"/api/(recommend/[^/?]+|items/[^/?]+(/similar)?|popular|latest|search)(\?.*)?",
    "POST": r"/api/(feedback|session/recommend)",
}
"""What the page may ask the node for; nothing else is passed on."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
)
MAX_BODY = 100_000


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    node = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Gives a file of the page, or what the node answers."""
        if self.path in FILES:
            name, kind = FILES[self.path]
            self._reply(200, kind, (FOLDER / name).read_bytes())
        else:
            self._pass(None)

    def do_POST(self) -> None:
        """Gives what the node answers."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._reply(413, "text/plain", b"the body is too large")
            return
        self._pass(self.rfile.read(int(length)))

    def _pass(self, body: bytes | None) -> None:
        if not re.fullmatch(PASSED[self.command], self.path):
            self._reply(404, "text/plain", b"the shop does not pass this on")
            return
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("FEDPROFILE_API_KEY"):
            headers["X-API-Key"] = key
        request = urllib.request.Request(  # noqa: S310
            self.node + self.path, data=body, headers=headers, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                self._reply(answer.status, "application/json", answer.read())
        except urllib.error.HTTPError as error:
            self._reply(error.code, "application/json", error.read())
        except OSError:
            self._reply(502, "text/plain", b"the node does not answer")

    def _reply(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Logs nothing: paths name customers."""


def main() -> None:
    """Serves on loopback until interrupted."""
    parser = argparse.ArgumentParser(description="An example shop over a fedprofile node.")
    parser.add_argument("--node", default="http://127.0.0.1:8080", help="address of the node")
    parser.add_argument("--port", type=int, default=8090, help="port; 0 takes a free one")
    given = parser.parse_args()
    if not re.fullmatch(r"https?://[^/\s]+/?", given.node):
        parser.error(f"--node {given.node} must be http://HOST:PORT")
    Handler.node = given.node.rstrip("/")
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    print(f"shop on http://127.0.0.1:{server.server_address[1]}/", flush=True)  # noqa: T201
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
