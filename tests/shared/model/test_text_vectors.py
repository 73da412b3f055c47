from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ModelError
from shared.model import encoder_loading as encoder
from shared.model import text_encoder
from shared.model.text_vectors import VectorStore, encode_texts
from shared.runtime.environment import cache_folder
from shared.settings.run_settings import ModelSettings
from tests.shared.model.tiny_encoders import WIDTH, build_encoder

TEXTS = ["frozen ice cream", "apple", "", "apple", "  apple ", "bread \ud800", "soap"]


@pytest.fixture
def settings(tmp_path: Path) -> ModelSettings:
    return ModelSettings(encoder=str(build_encoder(tmp_path / "encoder")), max_tokens=8)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that an encoder is asked for, in order."""
    asked: list[str] = []
    original = text_encoder.TextEncoder.tokenize

    def record(self, texts, **options):  # type: ignore[no-untyped-def]
        asked.extend(texts)
        return original(self, texts, **options)

    monkeypatch.setattr(text_encoder.TextEncoder, "tokenize", record)
    return asked


def test_each_text_is_encoded_once_ever(
    tmp_path: Path, settings: ModelSettings, encoded: list[str]
) -> None:
    cache = tmp_path / "cache"
    first = encode_texts(TEXTS, settings=settings, cache_dir=cache)
    assert sorted(encoded) == ["apple", "bread ?", "frozen ice cream", "soap"]
    assert first.shape == (len(TEXTS), WIDTH)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[1], first[[3, 4]][0])
    np.testing.assert_array_equal(first[3], first[4])
    assert not first[2].any()
    assert first[[0, 1, 5, 6]].any(axis=1).all()

    encoded.clear()
    again = encode_texts(["juice", *TEXTS[::-1]], settings=settings, cache_dir=cache)
    assert encoded == ["juice"]
    np.testing.assert_array_equal(again[:0:-1], first)


def test_vectors_are_those_of_the_encoder(tmp_path: Path, settings: ModelSettings) -> None:
    loaded = encoder.load_encoder(settings.encoder)
    vectors = encode_texts(["large soap", "ice"], settings=settings, cache_dir=tmp_path)
    for text, vector in zip(["large soap", "ice"], vectors, strict=True):
        expected = loaded.embed(*loaded.pad(loaded.tokenize([text], max_tokens=8)))[0]
        np.testing.assert_allclose(vector, expected.detach().numpy(), atol=1e-6)


def test_encoder_and_token_limit_have_their_own_caches(
    tmp_path: Path, settings: ModelSettings, encoded: list[str]
) -> None:
    cache = tmp_path / "cache"
    other = str(build_encoder(tmp_path / "other", seed=5))
    for change in ({}, {"max_tokens": 9}, {"encoder": other}, {}):
        encode_texts(["soap"], settings=settings.model_copy(update=change), cache_dir=cache)
    assert encoded == ["soap"] * 3


def test_progress_counts_only_missing_texts(
    tmp_path: Path, settings: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_encoder, "_CHUNK", 2)
    calls: list[tuple[int, int]] = []
    for texts in (["soap"], ["soap", "ice", "apple", "bread"], ["ice"]):
        encode_texts(
            texts,
            settings=settings,
            cache_dir=tmp_path / "cache",
            progress=lambda done, total: calls.append((done, total)),
        )
    assert calls == [(1, 1), (2, 3), (3, 3)]


def test_a_kill_keeps_finished_chunks(
    tmp_path: Path, settings: ModelSettings, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    monkeypatch.setattr(text_encoder, "_CHUNK", 1)
    texts = ["frozen ice cream", "apple juice", "soap"]  # encoded from long to short

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_texts(texts, settings=settings, cache_dir=tmp_path / "c", progress=stop)
    encoded.clear()
    encode_texts(texts, settings=settings, cache_dir=tmp_path / "c")
    assert encoded == ["soap"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_segment_is_made_again(
    tmp_path: Path, settings: ModelSettings, encoded: list[str], damage: str
) -> None:
    cache = tmp_path / "cache"
    good = encode_texts(TEXTS, settings=settings, cache_dir=cache)
    (segment,) = (cache / "texts").rglob("*.npy")
    content = bytearray(segment.read_bytes())
    content[-3] ^= 1
    segment.write_bytes({"flip": content, "cut": content[:-7], "empty": b""}[damage])
    encoded.clear()
    np.testing.assert_array_equal(encode_texts(TEXTS, settings=settings, cache_dir=cache), good)
    assert len(encoded) == 4


def test_a_text_of_a_megabyte_is_quick_and_like_its_start(
    tmp_path: Path, settings: ModelSettings
) -> None:
    huge = "soap " * 200_000
    start = time.perf_counter()
    vectors = encode_texts([huge, "soap " * 50], settings=settings, cache_dir=tmp_path)
    assert time.perf_counter() - start < 60.0  # a megabyte of tokens would take minutes
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_a_cache_that_cannot_be_written_names_the_remedy(
    tmp_path: Path, settings: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ModelError, match="FEDPROFILE_CACHE"):
        encode_texts(["soap"], settings=settings, cache_dir=blocked)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store = VectorStore(tmp_path / "store")
    store.add([b"a" * 32], np.ones((1, 2), dtype=np.float32))
    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(ModelError, match=r"\(No space left on device\); free .* MB"):
        store.add([b"b" * 32], np.ones((1, 2), dtype=np.float32))
    assert [path.suffix for path in store.folder.iterdir()] == [".npy"]
    assert store.read([b"a" * 32])[0].all()


def test_a_warm_cache_imports_neither_torch_nor_transformers(
    tmp_path: Path, settings: ModelSettings
) -> None:
    encode_texts(TEXTS, settings=settings, cache_dir=tmp_path / "cache")
    code = (
        "import sys; from pathlib import Path\n"
        "from shared.settings.run_settings import ModelSettings\n"
        "from shared.model.text_vectors import encode_texts\n"
        f"s = ModelSettings(encoder={settings.encoder!r}, max_tokens=8)\n"
        f"cache = Path({str(tmp_path / 'cache')!r})\n"
        "encode_texts(['soap', 'apple'], settings=s, cache_dir=cache)\n"
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_several_writers_share_one_store(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from shared.model.text_vectors import VectorStore\n"
        "store, me = VectorStore(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for i in range(20):\n"
        "    n = i + 10 * me\n"
        "    store.add([n.to_bytes(32, 'big')], np.full((1, 3), n, np.float32))\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(me)]) for me in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found, vectors = VectorStore(tmp_path).read([n.to_bytes(32, "big") for n in range(41)])
    assert found.tolist() == [True] * 40 + [False]
    np.testing.assert_array_equal(vectors[:40, 0], np.arange(40))


@given(
    batches=st.lists(st.lists(st.integers(0, 30), min_size=1, unique=True), max_size=5),
    asked=st.lists(st.integers(0, 40), unique=True),
)
def test_the_store_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], asked: list[int]
) -> None:
    store = VectorStore(tmp_path_factory.mktemp("store"))
    for batch in batches:
        values = np.array(batch, dtype=np.float32)[:, None] * np.array([1, -1], dtype=np.float32)
        store.add([n.to_bytes(32, "big") for n in batch], values)
    known = {n for batch in batches for n in batch}
    found, vectors = store.read([n.to_bytes(32, "big") for n in asked])
    assert found.tolist() == [n in known for n in asked]
    for n, here, vector in zip(asked, found, vectors, strict=True):
        assert vector.tolist() == ([n, -n] if here else [0.0] * len(vector))


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPROFILE_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("FEDPROFILE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/fedprofile")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "fedprofile"


@pytest.mark.slow
def test_a_warm_read_of_25k_vectors_is_quick(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    rng = np.random.default_rng(0)
    keys = [rng.bytes(32) for _ in range(25_600)]
    vectors = rng.standard_normal((len(keys), 384), dtype=np.float32)
    for start in range(0, len(keys), 1024):
        store.add(keys[start : start + 1024], vectors[start : start + 1024])
    start = time.process_time()
    found, read = store.read(keys)
    assert time.process_time() - start < 0.3
    assert found.all()
    np.testing.assert_array_equal(read, vectors)
