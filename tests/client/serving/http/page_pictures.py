"""Takes the pictures of the page for the docs, of a made-up shop: `make pictures`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from client.serving.service.service import Service
from tests.browser import Tab, open_tab
from tests.client.serving.http.test_page import ledger_of, served
from tests.client.serving.small_service import client_of, opened

NAMES = ("Oat biscuits", "Green tea", "Olive soap", "Paper lamp", "Linen towel", "Blue mug")
KINDS = ("small", "large", "gift box of", "organic", "two of", "refill for")
DESCRIPTION = "Made by hand in a small workshop, with care for people and materials. " * 20
VIEWS = {
    "overview": ("#/", "Overview"),
    "user": ("#/users/u1", "User u1"),
    "items": ("#/items", "Items"),
    "item": ("#/items/i1", "Item i1"),
    "users": ("#/users", "Users"),
    "privacy": ("#/privacy", "Privacy"),
    "technical": ("#/technical", "Technical"),
}
DOCUMENTED = ("overview", "user", "privacy")


def fill(client: TestClient, *, users: int = 80, visits: int = 12) -> None:
    """Names items and lets users see, click and buy recommendations; some texts are very long."""
    rng = np.random.default_rng(0)
    for item in range(60):
        changes: dict[str, Any] = {"currency": "EUR", "price": 4.0 + item % 23}
        if item % 5:  # the others have nothing but a long text
            kind, name = KINDS[item // 6 % 6], NAMES[item % 6]
            changes["title"] = f"{name}, {kind} {1 + item // 36}"
        changes["text"] = DESCRIPTION
        assert client.patch(f"/api/items/i{item}", json=changes).status_code == 200
    for user in range(users):
        for _ in range(visits):
            surface = rng.choice(["for-you", "discover"])
            query = {"surface": surface, "n": 10}
            shown = client.get(f"/api/recommend/u{user}", params=query).json()["items"]
            events = []
            for place, entry in enumerate(shown):
                for kind, chance in (("click", 0.2), ("purchase", 0.04)):
                    if rng.random() < chance / (1 + place / 3):
                        event = {"user_id": f"u{user}", "item_id": entry["item_id"]}
                        events.append(event | {"event_type": kind})
            if events:
                client.post("/api/feedback", json=events)


def filled(folder: Path) -> Service:
    """Opens a shop whose recommendations were seen, clicked and bought."""
    with client_of(opened(folder, local_share=0.5)) as client:
        fill(client)
    return opened(folder, local_share=0.5, ledger=ledger_of(folder))


def photograph(tab: Tab, url: str, folder: Path, *, width: int, names: tuple[str, ...]) -> None:
    """Writes a picture of each view, its name with the width."""
    for name in names:
        view, title = VIEWS[name]
        tab.screen(width=width, height=900)
        tab.show(url + view, title)
        small = "" if width > 800 else "-phone"
        tab.page.screenshot(path=folder / f"node-{name}{small}.png")


def main() -> None:
    """Writes to the folder of the command line, with `all` every view at both widths."""
    folder, names = Path(sys.argv[1]), tuple(VIEWS) if "all" in sys.argv else DOCUMENTED
    phone = names if "all" in sys.argv else ("overview",)
    with (
        tempfile.TemporaryDirectory() as shop,
        served(filled(Path(shop))) as url,
        open_tab() as tab,
    ):
        photograph(tab, url, folder, width=1100, names=names)
        photograph(tab, url, folder, width=390, names=phone)


if __name__ == "__main__":
    main()
