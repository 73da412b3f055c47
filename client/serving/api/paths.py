"""Ids in paths: any text, slashes and all, stays one part of the path."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote

from pydantic import BeforeValidator, StringConstraints
from starlette.types import ASGIApp, Receive, Scope, Send

_ESCAPED = re.compile(rb"%2f", re.IGNORECASE)
_STAND_IN = "\udc2f"
"""A lone surrogate: no decoded path and no id can hold one."""


class WholeIds:
    """An ASGI app around another that keeps `%2F` from ending a part of the path.

    Servers decode the whole path before it is split, so that the id `a/similar` of
    `/api/items/a%2Fsimilar` would read like the route of items similar to `a`.

    Args:
        app: Whose path parameters are `PathId`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decodes the path part by part, where a slash is escaped."""
        raw = scope.get("raw_path") or b""
        if scope["type"] != "http" or not _ESCAPED.search(raw):
            await self._app(scope, receive, send)
            return
        parts = _ESCAPED.split(raw.partition(b"?")[0])
        path = _STAND_IN.join(unquote(part.decode("latin-1")) for part in parts)
        inner = {**scope, "path": path}  # the server writes the path that it decoded to its log
        await self._app(inner, receive, send)
        scope["route"] = inner.get("route")


def _restored(value: object) -> object:
    return value.replace(_STAND_IN, "/") if isinstance(value, str) else value


PathId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]+$"),
    BeforeValidator(_restored),
]
"""The id of something stored; an import may have brought ids that no request could."""
