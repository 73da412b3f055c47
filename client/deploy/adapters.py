"""Installed releases: one folder each, verified, with a pointer to what is served.

A release is unpacked beside the others and moved into place in one step; the pointer is exchanged
last. Whatever a crash leaves, the pointer names a whole release.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
from pydantic import Field, ValidationError

from client.deploy.folder import NodeFolder
from client.deploy.release_file import decode
from shared.config import Settings
from shared.deploy.manifest import Manifest, check_manifest
from shared.deploy.owner_files import make_folder, write_owner_file
from shared.errors import ConfigError, FedprofileError
from shared.privacy.ledger.entries import canonical
from shared.storage import writing

LOG = logging.getLogger("fedprofile.client")


class Pointer(Settings):
    """What is served, `current.json`."""

    current: dict[str, int] = Field(default_factory=dict)
    """Release by kind."""
    highest: dict[str, int] = Field(default_factory=dict)
    """Newest release ever installed, by kind: older ones are not taken from the server."""
    run: Annotated[int, Field(ge=0)] = 0
    """Newest run ever installed."""


@dataclass(frozen=True)
class Adapters:
    """All installed releases of a node.

    Attributes:
        folder: The node's folder.
    """

    folder: NodeFolder

    def pointer(self) -> Pointer:
        """Reads what is served.

        Raises:
            ConfigError: The pointer is damaged.
        """
        path = self.folder.adapters / "current.json"
        if not path.exists():
            return Pointer()
        try:
            return Pointer.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                f"pointer={path} is damaged; choose a release with `fedprofile node adapter use N`"
            ) from error

    def numbers(self) -> list[int]:
        """Returns the numbers of the installed releases."""
        return sorted(int(path.name) for path in self.folder.adapters.glob("[0-9]*"))

    def read(self, number: int) -> tuple[Manifest, dict[str, npt.NDArray[Any]]]:
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
                f"release={number} is not installed; known are {self.numbers() or 'none'}"
            ) from error
        key = self.folder.invitation().signing_key
        return check_manifest(content, signature, server_key=key, file=file), decode(file)

    def readable(self, number: int) -> Manifest | None:
        """Returns a release's manifest; None where it was changed on the disk."""
        try:
            return self.read(number)[0]
        except FedprofileError as error:
            LOG.warning("release %d cannot be used: %s", number, error)
            return None

    def keep(self, manifest: Manifest, *, content: bytes, signature: str, file: bytes) -> None:
        """Puts a verified release beside the others and serves what goes together.

        Statistics come before the adapter that was trained beside them. Until it is here they wait,
        and what is served stays whole: the adapter before, with its own statistics.

        Raises:
            StorageError: The disk refused; what was served still is.
        """
        path = self.path(manifest.number)
        if path.exists() and (path / "manifest.json").read_bytes() != content:
            shutil.rmtree(path)  # left by a crash, never pointed to
        if not path.exists():
            self._unpack(path, content=content, signature=signature, file=file)
        before = self.pointer()
        number, kind = manifest.number, manifest.kind
        highest = {**before.highest, kind: max(number, before.highest.get(kind, 0))}
        current = self._with(manifest, before.current)
        self._point(Pointer(current=current, highest=highest, run=max(before.run, manifest.run)))
        self._forget_old(set(current.values()))

    def _with(self, manifest: Manifest, current: dict[str, int]) -> dict[str, int]:
        """Returns what is served once a release was added."""
        if manifest.kind == "adapter":
            return {**self._beside(manifest), "adapter": manifest.number}
        adapter = current.get("adapter")
        beside = None if adapter is None else self.readable(adapter)
        if adapter is None or (beside is not None and beside.run == manifest.run):
            return {**current, manifest.kind: manifest.number}
        return current

    def use(self, number: int) -> Manifest:
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
            current = self._with(manifest, current)
        self._point(pointer.model_copy(update={"current": current}))
        return manifest

    def rollback(self) -> Manifest:
        """Serves the adapter before the current one, with its own statistics.

        Raises:
            ConfigError: There is none.
        """
        current = self.pointer().current.get("adapter", 0)
        for number in reversed([n for n in self.numbers() if n < current]):
            found = self.readable(number)
            if found is not None and found.kind == "adapter":
                return self.use(number)
        raise ConfigError(f"release={current} has no adapter before it; nothing was changed")

    def _beside(self, adapter: Manifest) -> dict[str, int]:
        """Returns the installed statistics that an adapter names, sent again or not, by kind."""
        found: dict[str, int] = {}
        for number in self.numbers():
            said = self.readable(number)
            if said is not None and not {number, said.again_of}.isdisjoint(adapter.parents):
                found[said.kind] = number
        return found

    def path(self, number: int) -> Path:
        """Returns the folder of a release."""
        return self.folder.adapters / f"{number:05d}"

    def file(self, number: int) -> Path:
        """Returns the arrays of a release."""
        return self.path(number) / "release.safetensors"

    def _unpack(self, path: Path, *, content: bytes, signature: str, file: bytes) -> None:
        make_folder(self.folder.adapters)
        with writing(path, remedy="free some space; the last adapter is still served"):
            draft = Path(tempfile.mkdtemp(dir=self.folder.adapters, prefix=".draft-"))
            try:
                write_owner_file(draft / "release.safetensors", file)
                write_owner_file(draft / "manifest.json", content)
                write_owner_file(draft / "signature", signature.encode())
                draft.rename(path)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise

    def _point(self, pointer: Pointer) -> None:
        path = self.folder.adapters / "current.json"
        write_owner_file(path, canonical(pointer.model_dump(mode="json")))

    def _forget_old(self, served: set[int]) -> None:
        """Removes drafts of crashes and the oldest releases, but none that is served."""
        for draft in self.folder.adapters.glob(".draft-*"):
            shutil.rmtree(draft, ignore_errors=True)
        kinds: dict[str, list[int]] = {}
        for number in self.numbers():
            if (said := self.readable(number)) is not None:
                kinds.setdefault(said.kind, []).append(number)
        for numbers in kinds.values():
            for number in set(numbers[: -self.folder.settings().keep]) - served:
                shutil.rmtree(self.path(number), ignore_errors=True)
