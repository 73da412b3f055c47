"""JSON replies without a model in between, for the routes that must be quick."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from shared.errors import DataError


def reply(content: Any, status: int = 200) -> Response:
    """Returns plain values as JSON."""
    return Response(to_json(content), status_code=status, media_type="application/json")


def cursor_of(key: int) -> str:
    """Returns an opaque cursor for the page after a key."""
    return base64.urlsafe_b64encode(f"k{key}".encode()).decode()


def key_of(cursor: str | None) -> int:
    """Reads a cursor.

    Raises:
        DataError: It is none of ours.
    """
    if cursor is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith("k") or not text[1:].isdecimal() or len(text) > 19 or not text.isascii():
        raise DataError("cursor is not one of ours; take it from next_cursor of the page before")
    return int(text[1:])


def page(rows: list[dict[str, Any]], *, n: int, key: str) -> dict[str, Any]:
    """Returns one page and the cursor of the next, None on the last.

    Args:
        rows: Up to `n + 1` rows in order of their keys.
        n: Rows of a page.
        key: Name of the key, which is left out of the page.
    """
    more = len(rows) > n
    shown = rows[:n]
    cursor = cursor_of(shown[-1][key]) if more else None
    hidden = {name for name in (shown[0] if shown else {}) if name.endswith("_key")}
    return {
        "rows": [{k: v for k, v in row.items() if k not in hidden} for row in shown],
        "next_cursor": cursor,
    }
