"""The registry of releases: one folder each, with a signed manifest, never changed again.

How large one may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from server.coordinator.folder import ServerFolder
from server.runs.training_run import utc_now
from shared.errors import ConfigError
from shared.flower.server.superlink import MAX_RELEASE_BYTES
from shared.keys.signing import SigningKey
from shared.protocol.release_manifest import ReleaseManifest, check_manifest, sign_manifest
from shared.runtime.file_store import make_folder, write_atomic

HEADER_BYTES = 1_000_000
"""Room for names in it."""


def check_release_sizes(adapter: Mapping[str, npt.NDArray[Any]], *, n_items: int) -> None:
    """Refuses a run whose releases could not be sent at its end, before anybody pays for it.

    Args:
        adapter: All of its matrices.
        n_items: Items of the public catalogue.

    Raises:
        ConfigError: Adapter or counts are too large.
    """
    most = MAX_RELEASE_BYTES - HEADER_BYTES
    sizes = {"adapter": sum(array.size for array in adapter.values()), "counts": n_items}
    remedies = {
        "adapter": "lower model.rank or name fewer model.target_modules",
        "counts": "make the catalogue smaller",
    }
    for kind, numbers in sizes.items():
        if 4 * numbers > most:
            raise ConfigError(
                f"must be at most {most} bytes to be sent as a release",
                name=kind,
                value=4 * numbers,
                remedy=remedies[kind],
            )


ReleaseKind = Literal["adapter", "counts", "pairs"]


@dataclass(frozen=True)
class Release:
    """A release as it is sent.

    Attributes:
        manifest: What it says.
        signature: Over the manifest.
        file: Safetensors.
    """

    manifest: ReleaseManifest
    signature: str
    file: bytes


@dataclass(frozen=True)
class ReleaseRegistry:
    """All releases of a coordinator.

    Attributes:
        server: The coordinator's folder.
    """

    server: ServerFolder

    def numbers(self) -> list[int]:
        """Returns the numbers of all whole releases."""
        signatures = self.server.releases.glob("[0-9]*/signature")
        return sorted(int(path.parent.name) for path in signatures)

    def add(
        self, kind: ReleaseKind, arrays: Mapping[str, npt.NDArray[Any]], **fields: Any
    ) -> Release:
        """Signs a release and puts it into the registry.

        Args:
            kind: What it is.
            arrays: Written as float32, item codes as int32.
            fields: Of the manifest.
        """
        ordered = {name: _written(arrays[name]) for name in sorted(arrays)}
        return self._keep(save(ordered), kind=kind, norms=norms(ordered), again_of=None, **fields)

    def send_again(self, number: int) -> Release:
        """Makes a new release of an older one's content, marked as such.

        Raises:
            ConfigError: There is no such release.
        """
        old = self.read(number)
        fields = old.manifest.model_dump(exclude={"number", "created", "again_of", "sha256"})
        return self._keep(old.file, again_of=number, **fields)

    def read(self, number: int) -> Release:
        """Reads a release and checks it.

        Raises:
            ConfigError: There is no such release.
            ModelError: It was changed since it was signed.
        """
        folder = self._folder(number)
        if number not in self.numbers():
            raise ConfigError(
                "does not exist",
                name="release",
                value=number,
                remedy=f"known are {self.numbers() or 'none'}",
            )
        content, file = (folder / "manifest.json").read_bytes(), self._file(folder).read_bytes()
        signature = (folder / "signature").read_text()
        key = self.server.server_key()
        manifest = check_manifest(content, signature, server_key=key, file=file)
        return Release(manifest, signature, file)

    def newest(self) -> list[Release]:
        """Returns the newest release of each kind, older first."""
        last: dict[str, Release] = {}
        for number in self.numbers():
            release = self.read(number)
            last[release.manifest.kind] = release
        return sorted(last.values(), key=lambda release: release.manifest.number)

    def _keep(self, file: bytes, **fields: Any) -> Release:
        key = SigningKey.load(self.server.signing_key)
        known = self.numbers()
        number = known[-1] + 1 if known else 1
        manifest = ReleaseManifest(
            number=number, sha256=hashlib.sha256(file).hexdigest(), created=utc_now(), **fields
        )
        signature = sign_manifest(key, manifest)
        folder = make_folder(self._folder(number))
        write_atomic(self._file(folder), file, durable=True, private=True)
        write_atomic(folder / "manifest.json", manifest.content(), durable=True, private=True)
        write_atomic(
            folder / "signature", signature.encode(), durable=True, private=True
        )  # last: makes it whole
        return Release(manifest, signature, file)

    def _folder(self, number: int) -> Path:
        return self.server.releases / f"{number:05d}"

    @staticmethod
    def _file(folder: Path) -> Path:
        return folder / "release.safetensors"


def _written(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, "<i4" if array.dtype.kind == "i" else "<f4")


def norms(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, float]:
    """Returns the L2 norm of each array of numbers, codes left out, and of all as `total`."""
    numbers = {n: a for n, a in arrays.items() if a.dtype.kind == "f"}
    squares = {n: float(np.square(a, dtype=np.float64).sum()) for n, a in numbers.items()}
    each = {name: float(np.sqrt(value)) for name, value in squares.items()}
    return {**each, "total": float(np.sqrt(sum(squares.values())))}
