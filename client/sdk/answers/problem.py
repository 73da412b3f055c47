"""The one form of all errors."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from client.sdk.answers.answer import Answer


class Fault(Answer):
    """What went wrong."""

    code: str = Field(examples=["invalid"])
    """For programs."""
    message: str = Field(examples=["1 fields are wrong, the first: query.n"])
    """For people."""
    remedy: str = Field(examples=["correct the fields; see /docs"])
    """What to do."""
    request_id: str | None = None
    """Name of the request in the node's log, as in the header X-Request-Id."""
    details: list[dict[str, Any]] | None = None
    """Which fields are wrong, `field` and `problem`; of a bulk import `line` and `problem`."""
    lines: int | None = None
    """Of a bulk import: lines read."""
    stored: int | None = None
    """Of a bulk import: lines that are on the disk because of this request."""
    repeated: int | None = None
    """Of a bulk import: lines whose event was there already."""
    refused: int | None = None
    """Of a bulk import: lines that were not stored."""


class Problem(Answer):
    """An error."""

    error: Fault
    """What went wrong."""
