"""A real headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
NO_CHROMIUM = f"none of {', '.join(_NAMES)} is on the path"
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-port=0", "--disable-dev-shm-usage", "about:blank"),
)


class Tab:
    """One tab, and what its console, its network and its policies complained of."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.dialogs = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs += 1
            close = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._connection.send(json.dumps(close))

    def run(self, expression: str) -> Any:
        """Evaluates an expression in the page; a promise is waited for."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> Any:
        """Waits until an expression is true and returns it."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(expression)):
            assert time.monotonic() < deadline, (expression, self.text(), self.complaints)
            time.sleep(0.05)
        return found

    def show(self, url: str, title: str) -> str:
        """Opens an address, waits for the view of that title and returns its text."""
        self.call("Page.navigate", url=url)
        ready = "document.getElementById('main')?.getAttribute('aria-busy') === 'false'"
        self.until(f"{ready} && document.querySelector('h1').textContent === {json.dumps(title)}")
        return self.text()

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses a key as a person would."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        extra = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **extra)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def screen(self, *, width: int, height: int, scheme: str = "light") -> None:
        """Sets the size of the window and light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path) -> None:
        found = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def tab_of(folder: Path) -> Iterator[Tab]:
    """Starts a browser with a profile of its own; it ends with the block."""
    command = [str(CHROMIUM), *_OPTIONS[:-1], f"--user-data-dir={folder / 'profile'}", _OPTIONS[-1]]
    # A group of its own: the command may be a script that starts the browser.
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        found = next(filter(None, (re.search(r"ws://([^/]+)/", line) for line in lines)))
        with connect(_address(found.group(1)), max_size=None) as connection:
            yield Tab(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(host: str) -> str:
    with urlopen(f"http://{host}/json/list", timeout=30) as answer:
        tabs = json.load(answer)
    return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
