from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, T5EncoderModel

from shared.errors import ModelError
from shared.model import encoder_files as encoder_source
from shared.model.encoder_files import find_encoder, space_of
from shared.model.encoder_loading import load_encoder
from shared.model.text_encoder import TextEncoder
from tests.shared.model.tiny_encoders import FAMILIES, WIDTH, build_encoder

TEXTS = ["frozen ice cream", "apple", "large private apple juice bread soap", "soap soap"]


def encode_all(encoder: TextEncoder, texts: list[str], max_tokens: int = 16) -> np.ndarray:
    vectors = np.full((len(texts), encoder.width), np.nan, dtype=np.float32)
    for rows, chunk in encoder.encode(texts, max_tokens=max_tokens):
        vectors[rows] = chunk
    return vectors


def plain_hidden(folder: Path, family: str, ids: list[int]) -> torch.Tensor:
    """Token vectors by transformers alone, one text without padding or mask: `(tokens, width)`."""
    if family == "t5":
        model = T5EncoderModel.from_pretrained(folder)
    else:
        model = AutoModel.from_pretrained(folder)
        model = model.get_encoder() if family == "bart" else model
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_vectors_equal_one_text_at_a_time(tmp_path: Path, family: str) -> None:
    folder = build_encoder(tmp_path / family, family)
    encoder = load_encoder(str(folder))
    tokens = encoder.tokenize(TEXTS, max_tokens=16)
    # a causal language model without modules.json is pooled by its last token
    place = [-1] if family == "qwen2" else slice(None)
    expected = [plain_hidden(folder, family, ids)[place].mean(dim=0).numpy() for ids in tokens]
    np.testing.assert_allclose(encode_all(encoder, TEXTS), expected, atol=2e-6)
    assert encoder.width == WIDTH
    assert not any(p.requires_grad for p in encoder.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_no_dropout_is_left_in_training_mode(tmp_path: Path, family: str) -> None:
    encoder = load_encoder(str(build_encoder(tmp_path / family, family)))
    padded = encoder.pad(encoder.tokenize(TEXTS, max_tokens=16))
    resting = encoder.embed(*padded)
    encoder.model.train()
    torch.testing.assert_close(encoder.embed(*padded), resting)


@pytest.mark.parametrize(
    ("pooling", "position"), [("cls_token", 0), ("lasttoken", -1), ("mean_tokens", slice(None))]
)
def test_pooling_and_length_follow_sentence_transformers_files(
    tmp_path: Path, pooling: str, position: int | slice
) -> None:
    folder = build_encoder(tmp_path / "e", pooling=pooling)
    encoder = load_encoder(str(folder))
    tokens = encoder.tokenize(TEXTS, max_tokens=16)
    for ids, vector in zip(tokens, encode_all(encoder, TEXTS), strict=True):
        expected = plain_hidden(folder, "bert", ids)[position].reshape(-1, WIDTH).mean(dim=0)
        np.testing.assert_allclose(vector, expected / expected.norm(), atol=2e-6)


def test_one_pooling_mode_by_name_and_unknown_modes(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "e", pooling="mean_tokens")
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({"pooling_mode": "lasttoken", "include_prompt": True}))
    assert load_encoder(str(folder)).pooling.modes == ("lasttoken",)
    config.write_text(json.dumps({"pooling_mode": ["mean", "median"]}))
    with pytest.raises(ModelError, match=r"pooling median in 1_Pooling.* is not one of"):
        load_encoder(str(folder))


def test_texts_are_cut_at_max_tokens_and_at_the_model_s_positions(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_encoder(tmp_path / "r", "roberta")))
    assert encoder.positions == 31  # position 0 belongs to padding
    long = "apple " * 100
    assert len(encoder.tokenize([long], max_tokens=8)[0]) == 8
    assert np.isfinite(encode_all(encoder, [long], max_tokens=4096)).all()
    same_start = encode_all(encoder, ["apple " * 6 + "soap", "apple " * 7], max_tokens=8)
    np.testing.assert_array_equal(same_start[0], same_start[1])


def test_a_text_without_tokens_gets_zeros(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_encoder(tmp_path / "g", "gpt2")))
    vectors = encode_all(encoder, ["", "apple"])
    assert not vectors[0].any()
    np.testing.assert_allclose(vectors[1], encode_all(encoder, ["apple"])[0], atol=1e-6)


def test_a_tokenizer_that_knows_nothing_is_refused(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_encoder(tmp_path / "g", "gpt2")))
    with pytest.raises(ModelError, match="no token in any of 2 texts"):
        encode_all(encoder, [" ", ""])


def test_workers_do_not_change_vectors_and_threads_are_restored(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_encoder(tmp_path / "e")))
    texts = [" ".join(np.random.default_rng(i).choice(TEXTS, 1 + i % 3)) for i in range(300)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = encode_all(encoder, texts)
        torch.set_num_threads(3)
        several = encode_all(encoder, texts)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(alone, several)


@pytest.mark.parametrize(
    ("remove", "missing"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(
    tmp_path: Path, remove: str, missing: str
) -> None:
    folder = build_encoder(tmp_path / "e")
    (folder / remove).unlink()
    with pytest.raises(ModelError, match=f"{missing}.*; copy the whole model folder") as caught:
        load_encoder(str(folder))
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "e")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(ModelError, match="no weights model-00002-of-00002"):
        find_encoder(str(folder))


def test_damaged_and_partial_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "e")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_encoder(str(folder))
    assert "\n" not in str(caught.value)
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"lack \d+ tensors, such as encoder.layer.2"):
        load_encoder(str(folder))


def test_a_name_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"neither a folder nor reachable.*name its folder"):
        find_encoder("nobody/nothing-at-all", revision="main")
    with pytest.raises(ModelError, match="no such folder"):
        find_encoder("./models/absent")


def test_a_hub_name_resolves_to_its_local_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    repository = tmp_path / "models--somebody--tiny"
    folder = build_encoder(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = find_encoder("somebody/tiny", cache_dir=tmp_path)
    assert source.identity == find_encoder(str(folder), cache_dir=tmp_path).identity


def test_identity_follows_content_not_place(tmp_path: Path) -> None:
    first = find_encoder(str(build_encoder(tmp_path / "a")), cache_dir=tmp_path)
    copy = find_encoder(str(build_encoder(tmp_path / "b")), cache_dir=tmp_path)
    other = find_encoder(str(build_encoder(tmp_path / "c", seed=1)), cache_dir=tmp_path)
    pooled = find_encoder(str(build_encoder(tmp_path / "d", pooling="cls_token")))
    assert first.identity == copy.identity
    assert len({first.identity, other.identity, pooled.identity}) == 3
    assert space_of(first.identity, 32) != space_of(first.identity, 64)


def test_the_embedded_encoder_is_checked_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_encoder("sentence-transformers/all-MiniLM-L6-v2", cache_dir=tmp_path)
    assert source.identity == find_encoder("all-MiniLM-L6-v2", cache_dir=tmp_path).identity
    assert encoder_source.EMBEDDED_SHA256 in (tmp_path / "file-hashes.json").read_text()
    fake = build_encoder(tmp_path / "fake")
    monkeypatch.setattr(encoder_source, "_embedded_folder", lambda _: fake)
    with pytest.raises(ModelError, match="reinstall the package"):
        find_encoder("all-MiniLM-L6-v2", cache_dir=tmp_path)


def test_a_remembered_hash_is_dropped_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a" * (1 << 20))
    memo = tmp_path / "memo.json"
    first = encoder_source._file_sha256(file, memo)
    memo.write_text(memo.read_text().replace(first, "remembered"))
    assert encoder_source._file_sha256(file, memo) == "remembered"
    file.write_bytes(b"b" * ((1 << 20) + 1))
    assert encoder_source._file_sha256(file, memo) not in (first, "remembered")
    memo.write_text("damaged")
    assert len(encoder_source._file_sha256(file, memo)) == 64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_vectors_are_close_to_those_of_the_cpu(tmp_path: Path) -> None:
    folder = str(build_encoder(tmp_path / "e"))
    on_gpu = encode_all(load_encoder(folder, device="cuda"), TEXTS)
    np.testing.assert_allclose(on_gpu, encode_all(load_encoder(folder), TEXTS), atol=0.05)


@pytest.mark.slow
def test_the_embedded_encoder_knows_groceries() -> None:
    encoder = load_encoder("all-MiniLM-L6-v2")
    ice, cream, oil = encode_all(encoder, ["vanilla ice cream", "frozen dessert", "motor oil"])
    assert encoder.pooling.normalizes
    assert encoder.pooling.modes == ("mean",)
    assert encoder.positions == 256
    assert ice @ cream > ice @ oil + 0.2
