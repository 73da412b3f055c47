"""The system's Chromium, driven by Playwright, and what its page complained of."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from playwright.sync_api import ConsoleMessage, Dialog, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is on the path"
)
SECONDS = 60.0
"""Seconds to wait for what must happen, however busy the machine."""
# Chromium's sandbox refuses to start for root, as in most containers.
_ARGUMENTS = ("--no-sandbox",) if os.geteuid() == 0 else ()


class Tab:
    """One page, and what its console, its network and its policies complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.dialogs = 0
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("dialog", self._accept)

    def _note(self, message: ConsoleMessage) -> None:
        # What the browser says itself, of a policy or a failed request, is here too.
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def _accept(self, dialog: Dialog) -> None:
        self.dialogs += 1
        dialog.accept()

    def show(self, url: str, title: str) -> str:
        """Opens an address, waits for the view of that title and returns its text."""
        self.page.goto(url)
        expect(self.page.locator("#main")).to_have_attribute("aria-busy", "false")
        self.has_heading(title)
        return self.text()

    def has_heading(self, title: str) -> None:
        """Waits for the view of that title, in every character."""
        heading = self.page.locator("h1")
        expect(heading).to_have_text(title)
        assert heading.text_content() == title  # the line above takes all white space as one

    def text(self) -> str:
        return self.page.inner_text("body")

    def run(self, expression: str) -> Any:
        """Evaluates an expression in the page; a promise is waited for."""
        return self.page.evaluate(expression)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def fetch(self, path: str, *, method: str, content: Any) -> bool:
        """Sends JSON from the page itself and says whether it was taken."""
        body = json.dumps(json.dumps(content))
        headers = "{'content-type': 'application/json'}"
        request = f"{{method: '{method}', headers: {headers}, body: {body}}}"
        return bool(self.run(f"fetch('{path}', {request}).then(answer => answer.ok)"))

    def screen(
        self, *, width: int, height: int, scheme: Literal["light", "dark"] = "light"
    ) -> None:
        """Sets the size of the window and light or dark."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme=scheme)


@contextmanager
def open_tab(*, arguments: Sequence[str] = (), **context: Any) -> Iterator[Tab]:
    """Starts a browser with an empty profile; it ends with the block.

    Args:
        arguments: Of the browser's command line.
        **context: Of `Browser.new_context`.
    """
    expect.set_options(timeout=1000 * SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*_ARGUMENTS, *arguments]
        )
        try:
            page = browser.new_context(**context).new_page()
            page.set_default_timeout(1000 * SECONDS)
            yield Tab(page)
        finally:
            browser.close()
