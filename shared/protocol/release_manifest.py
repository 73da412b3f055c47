"""What the server says about a release, in canonical JSON under its Ed25519 signature."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from shared.errors import ModelError
from shared.keys.signing import Digest, SigningKey, canonical, is_signed_by
from shared.settings.run_settings import Settings

PURPOSE = b"fedprofile release\n"
"""Begins what is signed, so that no other signature of the key can stand for it."""


class ReleaseManifest(Settings):
    """One release of a federation."""

    number: Annotated[int, Field(ge=1)]
    """Counts all releases of the server."""
    kind: Literal["adapter", "counts", "pairs"]
    """What the file holds."""
    run: Annotated[int, Field(ge=1)]
    """Run that made it."""
    round: Annotated[int, Field(ge=0)]
    """Last round in it; 0 for statistics."""
    parents: tuple[int, ...] = ()
    """Releases that it was made from."""
    again_of: int | None = None
    """An older release whose content is sent once more, on purpose."""
    base_hash: Digest
    """Base model that it belongs to."""
    sha256: Digest
    """Of the file."""
    plan: Digest
    """Of the run's public plan."""
    participants: tuple[str, ...]
    """Shops whose updates counted."""
    norms: dict[str, float]
    """L2 norm by array, over all as `total`."""
    statistics: dict[str, float] = Field(default_factory=dict)
    """Public numbers that a reader needs, such as the scale of the scores or a noise's size."""
    privacy: dict[str, Any] | None
    """The guarantee in full."""
    created: str
    """Time at the server, ISO 8601, UTC."""

    def content(self) -> bytes:
        """Returns the canonical JSON that is signed."""
        return canonical(self.model_dump(mode="json"))


def sign_manifest(key: SigningKey, manifest: ReleaseManifest) -> str:
    """Signs a manifest: 128 hexadecimal digits."""
    return key.sign(PURPOSE + manifest.content())


def check_manifest(
    content: bytes, signature: str, *, server_key: str, file: bytes
) -> ReleaseManifest:
    """Checks a release's signature and file before anything in it is used.

    Raises:
        ModelError: The signature, the form or the file's hash is wrong.
    """
    if not is_signed_by(server_key, PURPOSE + content, signature):
        raise ModelError(
            f"signature={signature[:16]}… is not of the server's key {server_key[:16]}…",
            remedy="take the release from the server that sent the invitation",
        )
    try:
        manifest = ReleaseManifest.model_validate(json.loads(content))
    except (ValueError, ValidationError) as error:
        raise ModelError("manifest: not of this version", remedy="update fedprofile") from error
    digest = hashlib.sha256(file).hexdigest()
    if digest != manifest.sha256:
        raise ModelError(
            f"sha256={digest[:16]}… of the file must be {manifest.sha256[:16]}…",
            remedy="fetch it again",
        )
    return manifest
