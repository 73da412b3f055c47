"""Installed releases: one folder each, verified, with a pointer to what is served.

`client.deploy.incoming_releases` checks a release before it is added here.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from client.deploy.folder import NodeFolder
from shared.errors import ConfigError, FedprofileError, ModelError
from shared.keys.signing import canonical
from shared.protocol.messages import HEAD
from shared.protocol.release_manifest import ReleaseManifest, check_manifest
from shared.releases.pair_sums import n_pairs
from shared.runtime.file_store import make_folder, write_atomic, write_folder_atomic
from shared.settings.plan_bounds import MAX_HEAD
from shared.settings.run_settings import Settings

LOG = logging.getLogger("fedprofile.client")
AnyArrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""By name: float32 numbers, or int32 item codes."""
PUBLISH_AGAIN = "ask the server's owner to publish it again"
HEADER_BYTES = 1_000_000
"""Room for the names in a release's file."""


def decode_release(file: bytes) -> dict[str, npt.NDArray[Any]]:
    """Reads a release's arrays.

    Raises:
        ModelError: It is not a safetensors file of float32 arrays and int32 item codes.
    """
    try:
        arrays: AnyArrays = load(file)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "not a safetensors file",
            name="release",
            remedy=PUBLISH_AGAIN,
        ) from error
    for name, array in arrays.items():
        expected = np.int32 if name == HEAD else np.float32
        if array.dtype != expected:
            raise ModelError(
                f"has dtype {array.dtype}, expected {np.dtype(expected)}",
                name="release",
                value=name,
                remedy=PUBLISH_AGAIN,
            )
    return dict(arrays)


def check_size(manifest: ReleaseManifest, file: bytes, *, n_items: int) -> None:
    """Refuses a statistic that is larger than any can be, before it is decoded.

    Raises:
        ModelError: It is too large.
    """
    if manifest.kind == "adapter":
        return
    head = min(MAX_HEAD, n_items)
    numbers = n_items if manifest.kind == "counts" else head + n_pairs(head)
    if len(file) > 4 * numbers + HEADER_BYTES:
        raise ModelError(
            f"has {len(file)} bytes of {manifest.kind}, must have at most "
            f"{4 * numbers + HEADER_BYTES} for {n_items} items",
            name="release",
            value=manifest.number,
            remedy=PUBLISH_AGAIN,
        )


class ServedPointer(Settings):
    """What is served, `current.json`."""

    current: dict[str, int] = Field(default_factory=dict)
    """Release by kind."""
    highest: dict[str, int] = Field(default_factory=dict)
    """Newest release ever installed, by kind: older ones are not taken from the server."""
    run: Annotated[int, Field(ge=0)] = 0
    """Newest run ever installed."""


@dataclass(frozen=True)
class InstalledReleases:
    """All installed releases of a node.

    Attributes:
        folder: The node's folder.
    """

    folder: NodeFolder

    def pointer(self) -> ServedPointer:
        """Reads what is served.

        Raises:
            ConfigError: The pointer is damaged.
        """
        path = self.folder.adapters / "current.json"
        if not path.exists():
            return ServedPointer()
        try:
            return ServedPointer.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                "is damaged",
                name="pointer",
                value=path,
                remedy="choose a release with `fedprofile node adapter use N`",
            ) from error

    def numbers(self) -> list[int]:
        """Returns the numbers of the installed releases."""
        return sorted(int(path.name) for path in self.folder.adapters.glob("[0-9]*"))

    def read(self, number: int) -> tuple[ReleaseManifest, dict[str, npt.NDArray[Any]]]:
        """Reads an installed release and checks it again.

        Raises:
            ConfigError: It is not installed.
            ModelError: It was changed on the disk.
        """
        path = self.path(number)
        try:
            content, file = (path / "manifest.json").read_bytes(), self.file(number).read_bytes()
            signature = (path / "signature").read_text()
        except OSError as error:
            raise ConfigError(
                "is not installed",
                name="release",
                value=number,
                remedy=f"choose one that is installed: {self.numbers() or 'none'}",
            ) from error
        key = self.folder.invitation().signing_key
        return check_manifest(content, signature, server_key=key, file=file), decode_release(file)

    def readable(self, number: int) -> ReleaseManifest | None:
        """Returns a release's manifest; None where it was changed on the disk."""
        try:
            return self.read(number)[0]
        except FedprofileError as error:
            LOG.warning("release %d cannot be used: %s", number, error)
            return None

    def add(
        self, manifest: ReleaseManifest, *, content: bytes, signature: str, file: bytes
    ) -> None:
        """Adds a verified release to the others and serves what belongs together.

        Statistics come before the adapter that was trained beside them. Until it is here they wait,
        and what is served stays whole: the adapter before, with its own statistics.

        Raises:
            StorageError: The disk refused; what was served still is.
        """
        # A crash between the folder's rename and the pointer's write leaves a folder that nothing
        # points to; the server may send another release under its number.
        path = self.path(manifest.number)
        if path.exists() and (path / "manifest.json").read_bytes() != content:
            shutil.rmtree(path)
        if not path.exists():
            self._unpack(path, content=content, signature=signature, file=file)
        before = self.pointer()
        number, kind = manifest.number, manifest.kind
        highest = {**before.highest, kind: max(number, before.highest.get(kind, 0))}
        current = self._served_with(manifest, before.current)
        self._point(
            ServedPointer(current=current, highest=highest, run=max(before.run, manifest.run))
        )
        self._forget_old(set(current.values()))

    def _served_with(self, manifest: ReleaseManifest, current: dict[str, int]) -> dict[str, int]:
        """Returns what is served once a release was added."""
        if manifest.kind == "adapter":
            return {**self._statistics_of(manifest), "adapter": manifest.number}
        number = current.get("adapter")
        adapter = None if number is None else self.readable(number)
        if number is None or (adapter is not None and adapter.run == manifest.run):
            return {**current, manifest.kind: manifest.number}
        return current

    def use(self, number: int) -> ReleaseManifest:
        """Serves an installed release, newer or older.

        An adapter comes with the statistics that it was trained beside, as far as they are still
        installed; statistics of another run are not served with it.

        Raises:
            ConfigError: It is not installed.
            ModelError: It does not verify.
        """
        manifest, _ = self.read(number)
        pointer = self.pointer()
        current = {**pointer.current, manifest.kind: number}
        if manifest.kind == "adapter":
            current = self._served_with(manifest, current)
        self._point(pointer.model_copy(update={"current": current}))
        return manifest

    def rollback(self) -> ReleaseManifest:
        """Serves the adapter before the current one, with its own statistics.

        Raises:
            ConfigError: There is none.
        """
        current = self.pointer().current.get("adapter", 0)
        for number in reversed([n for n in self.numbers() if n < current]):
            manifest = self.readable(number)
            if manifest is not None and manifest.kind == "adapter":
                return self.use(number)
        raise ConfigError(
            "has no adapter before it",
            name="release",
            value=current,
            remedy="choose a release with `fedprofile node adapter use N`",
        )

    def _statistics_of(self, adapter: ReleaseManifest) -> dict[str, int]:
        """Returns the installed statistics that an adapter names, sent again or not, by kind."""
        statistics: dict[str, int] = {}
        for number in self.numbers():
            manifest = self.readable(number)
            if manifest is not None and not {number, manifest.again_of}.isdisjoint(adapter.parents):
                statistics[manifest.kind] = number
        return statistics

    def path(self, number: int) -> Path:
        """Returns the folder of a release."""
        return self.folder.adapters / f"{number:05d}"

    def file(self, number: int) -> Path:
        """Returns the arrays of a release."""
        return self.path(number) / "release.safetensors"

    def _unpack(self, path: Path, *, content: bytes, signature: str, file: bytes) -> None:
        make_folder(self.folder.adapters)
        write_folder_atomic(
            path,
            {
                "release.safetensors": file,
                "manifest.json": content,
                "signature": signature.encode(),
            },
            private=True,
            remedy="free some space; the last adapter is still served",
        )

    def _point(self, pointer: ServedPointer) -> None:
        path = self.folder.adapters / "current.json"
        write_atomic(path, canonical(pointer.model_dump(mode="json")), durable=True, private=True)

    def _forget_old(self, served: set[int]) -> None:
        """Removes drafts of crashes and the oldest releases, but none that is served."""
        for draft in self.folder.adapters.glob(".draft-*"):
            shutil.rmtree(draft, ignore_errors=True)
        kinds: dict[str, list[int]] = {}
        for number in self.numbers():
            if (manifest := self.readable(number)) is not None:
                kinds.setdefault(manifest.kind, []).append(number)
        for numbers in kinds.values():
            for number in set(numbers[: -self.folder.settings().keep]) - served:
                shutil.rmtree(self.path(number), ignore_errors=True)
