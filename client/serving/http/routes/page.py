"""Routes of the page for people: files from this folder's neighbour, under a strict policy."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parents[1] / "page"
POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'"),
        *("connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        "require-trusted-types-for 'script'",
    )
)
"""Nothing from elsewhere, no inline script, and no text that turns into markup."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    """Returns the page."""
    return _file("index.html")


@router.get("/docs")
async def routes() -> Response:
    """Returns the page that shows /openapi.json; it loads nothing from elsewhere."""
    return _file("docs.html")


@router.get("/page/{name}")
async def part(name: str) -> Response:
    """Returns a script, the style or the icon."""
    return _file(name)


def _file(name: str) -> Response:
    """Returns a file of the page by its bare name; no path leads out of the folder."""
    names = {path.name for path in FOLDER.iterdir() if path.suffix in _TYPES}
    if name not in names:
        raise HTTPException(404, f"the page has no file {name[:100]!r}")
    path = FOLDER / name
    return Response(path.read_bytes(), headers=_HEADERS, media_type=_TYPES[path.suffix])
