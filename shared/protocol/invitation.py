"""All that a shop must know of a federation, in one file that its owner is given by the server's.

It holds nothing secret. Whoever can exchange it on the way can put another server in place of the
right one, so both sides compare its fingerprint by another way (telephone).
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from shared.errors import ConfigError
from shared.interactions.catalogue import build_catalogue
from shared.interactions.events import Catalogue
from shared.keys.signing import Digest, canonical
from shared.model.profile_space import Array, Whitening
from shared.settings.run_settings import ModelSettings, Settings
from shared.settings.service_file import FILE_VERSION, check_version, validate_settings

INVITATION = "invitation.json"
"""File of the invitation in a node's folder."""
MAX_BYTES = 512_000_000
"""A larger file is no invitation."""


class PlanLimits(Settings):
    """The most that the server's plans ask of a shop in one run; public."""

    epsilon: Annotated[float, Field(gt=0)]
    """Total of one run."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Total of one run."""
    rounds: Annotated[int, Field(ge=1)]
    """Rounds of one run."""
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    """Probability that a user takes part in a step."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """Clip norm."""


class PublicBase(Settings):
    """The public catalogue and the frozen base that was made from it."""

    item_ids: tuple[str, ...]
    """In the order of the codes."""
    texts: tuple[str, ...]
    """One an item."""
    catalogue_hash: Digest
    """Over ids and texts."""
    time_unit: str
    """`days` or `order`: what the shops' events count time in."""
    model: ModelSettings
    """Settings that fit the base."""
    mean: str
    """Whitening mean `(width,)`, float32, base64."""
    components: str
    """Whitening components `(width, dim)`, float32, base64."""
    base_hash: Digest
    """Of encoder and whitening."""

    def catalogue(self) -> Catalogue:
        """Returns the catalogue.

        Raises:
            ConfigError: It is not what the hash says.
        """
        table = pd.DataFrame({"item_id": self.item_ids, "text": self.texts}, dtype=object)
        catalogue, _ = build_catalogue(table)
        if catalogue.digest() != self.catalogue_hash:
            raise ConfigError(
                f"catalogue_hash={self.catalogue_hash[:16]}… is not that of the catalogue, "
                f"{catalogue.digest()[:16]}…",
                remedy="ask for the invitation again",
            )
        return catalogue

    def whitening(self) -> Whitening:
        """Returns the map from text vectors to item vectors."""
        components = unpack(self.components).reshape(-1, self.model.dim)
        return Whitening(unpack(self.mean), components)


class Invitation(Settings):
    """What a shop is given."""

    shop: str
    """The shop's public name."""
    server: str
    """The server's public name."""
    address: str
    """`host:port` of the fleet interface."""
    authority: str
    """Certificate of the server's authority, PEM."""
    signing_key: Digest
    """Public key of releases and receipts."""
    limits: PlanLimits
    """What plans ask at most."""
    base: PublicBase
    """Catalogue and base."""

    def content(self) -> bytes:
        """Returns the file's bytes."""
        return canonical({"version": FILE_VERSION, **self.model_dump(mode="json")})

    def fingerprint(self) -> str:
        """SHA-256 of the file, to be compared by telephone."""
        return hashlib.sha256(self.content()).hexdigest()


def read_invitation(path: Path) -> Invitation:
    """Reads an invitation file.

    Raises:
        ConfigError: It cannot be read, is of another version or damaged.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"has {path.stat().st_size} bytes, at most {MAX_BYTES}",
                name="invitation",
                value=path,
                remedy="give the file that the server's owner sent",
            )
        values: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})",
            name="invitation",
            value=path,
            remedy="check its path",
        ) from error
    except ValueError as error:
        raise ConfigError(
            "is not JSON",
            name="invitation",
            value=path,
            remedy="ask for the file that `fedprofile server invite` wrote",
        ) from error
    if not isinstance(values, dict):
        values = {}
    made_by = "`fedprofile server invite`"
    check_version(values, what=f"invitation={path}", made_by=made_by)
    return validate_settings(values, Invitation, what=f"invitation={path}")


def pack(array: Array) -> str:
    """Turns an array into base64 of its little-endian float32 bytes."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def unpack(text: str) -> Array:
    """Turns base64 into a flat float32 array.

    Raises:
        ConfigError: It is not base64 of float32 numbers.
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except ValueError as error:
        raise ConfigError("invitation: base is damaged", remedy="ask for it again") from error
