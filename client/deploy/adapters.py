"""Installed releases: one folder each, verified, with a pointer to what is served.

A release is unpacked beside the others and moved into place in one step; the pointer is exchanged
last. Whatever a crash leaves, the pointer names a whole release.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from client.deploy.folder import NodeFolder
from shared.config import Settings
from shared.deploy.manifest import Manifest, check_manifest
from shared.deploy.owner_files import make_folder, write_owner_file
from shared.errors import ConfigError, ModelError
from shared.messages import COUNTS, Arrays, FloatArray
from shared.model.popularity import denoise_counts, log_prior
from shared.model.projection import project_profiles, projection_matrix
from shared.model.text_cache import encode_texts
from shared.privacy.ledger.entries import canonical
from shared.storage import writing


class Pointer(Settings):
    """What is served, `current.json`."""

    current: dict[str, int] = Field(default_factory=dict)
    """Release by kind."""
    highest: dict[str, int] = Field(default_factory=dict)
    """Newest release ever installed, by kind: older ones are not taken from the server."""
    run: Annotated[int, Field(ge=0)] = 0
    """Newest run ever installed."""


@dataclass(frozen=True, eq=False)
class Served:
    """The global model as a shop serves it.

    Attributes:
        release: Number of the adapter.
        project: Turns histories `(n, dim)` into scaled profiles `(n, dim)`.
        prior: Log popularity `(n_items,)`, None where no counts are installed.
        item_vectors: `(n_items, dim)`.
    """

    release: int
    project: Callable[[FloatArray], FloatArray]
    prior: FloatArray | None
    item_vectors: FloatArray


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

    def read(self, number: int) -> tuple[Manifest, Arrays]:
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

    def keep(self, manifest: Manifest, *, content: bytes, signature: str, file: bytes) -> None:
        """Puts a verified release beside the others and points to it.

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
        current = {**before.current, kind: number}
        self._point(Pointer(current=current, highest=highest, run=max(before.run, manifest.run)))
        self._forget_old()

    def use(self, number: int) -> Manifest:
        """Serves an installed release, newer or older.

        Raises:
            ConfigError: It is not installed.
            ModelError: It does not verify.
        """
        manifest, _ = self.read(number)
        pointer = self.pointer()
        self._point(
            pointer.model_copy(update={"current": {**pointer.current, manifest.kind: number}})
        )
        return manifest

    def rollback(self) -> Manifest:
        """Serves the adapter before the current one.

        Raises:
            ConfigError: There is none.
        """
        current = self.pointer().current.get("adapter", 0)
        for number in reversed([n for n in self.numbers() if n < current]):
            if self.read(number)[0].kind == "adapter":
                return self.use(number)
        raise ConfigError(f"release={current} has no adapter before it; nothing was changed")

    def serve(self) -> Served:
        """Loads what is served.

        Raises:
            ConfigError: No adapter is installed.
            ModelError: It does not verify.
        """
        current, public = self.pointer().current, self.folder.invitation().base
        if "adapter" not in current:
            raise ConfigError("adapter=none is installed; wait for the first run of the server")
        manifest, arrays = self.read(current["adapter"])
        cache = self.folder.cache
        vectors = encode_texts(public.texts, settings=public.model, cache_dir=cache)
        items = public.whitening().apply(vectors)
        matrix = projection_matrix(arrays, public.model)
        scale = np.float32(manifest.statistics["scale"])
        prior = None
        if "counts" in current:
            said, counts = self.read(current["counts"])
            std = said.statistics["noise_std"]
            prior = log_prior(denoise_counts(counts[COUNTS], items, std=std))
        return Served(
            release=manifest.number,
            project=lambda history: scale * project_profiles(matrix, history),
            prior=prior,
            item_vectors=items,
        )

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

    def _forget_old(self) -> None:
        """Removes drafts of crashes and the oldest releases; what is served is the newest here."""
        for draft in self.folder.adapters.glob(".draft-*"):
            shutil.rmtree(draft, ignore_errors=True)
        kinds: dict[str, list[int]] = {}
        for number in self.numbers():
            kinds.setdefault(self.read(number)[0].kind, []).append(number)
        for numbers in kinds.values():
            for number in numbers[: -self.folder.settings().keep]:
                shutil.rmtree(self.path(number), ignore_errors=True)


def decode(file: bytes) -> Arrays:
    """Reads a release's arrays.

    Raises:
        ModelError: It is not a safetensors file of float32 arrays.
    """
    try:
        arrays: Mapping[str, np.ndarray[Any, Any]] = load(file)
    except (SafetensorError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise ModelError("release: not a safetensors file; fetch it again") from error
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise ModelError(f"release: {name} has dtype {array.dtype}, expected float32")
    return dict(arrays)
