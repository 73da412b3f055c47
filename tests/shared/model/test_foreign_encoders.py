"""Encoders as sentence-transformers loads them: the same vectors, or a refusal by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from shared.errors import ModelError
from shared.model.encoder_files import find_encoder
from shared.model.encoder_loading import load_encoder
from tests.shared.model.test_text_encoder import encode_all
from tests.shared.model.tiny_encoders import WIDTH, build_encoder

TEXTS = ["Frozen ice cream", "apple", "large private apple juice bread soap", "soap soap"]
COMMON = {"vocab_size": 20, "hidden_size": WIDTH, "num_attention_heads": 2}
SIZES = {**COMMON, "num_hidden_layers": 2, "intermediate_size": 32, "max_position_embeddings": 40}
OTHERS: dict[str, Callable[[], torch.nn.Module]] = {
    "mpnet": lambda: MPNetModel(MPNetConfig(**SIZES, pad_token_id=0)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**SIZES, pad_token_id=0)),
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(
            **SIZES, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3
        )
    ),
}


def folder_of(tmp_path: Path, family: str) -> Path:
    folder = build_encoder(tmp_path / "encoder", family if family not in OTHERS else "bert")
    if family in OTHERS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            OTHERS[family]().save_pretrained(folder)
    return folder


def write(folder: Path, place: str, content: Any) -> None:
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_text(json.dumps(content))


def write_modules(folder: Path, *modules: tuple[str, str]) -> None:
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)
    ]
    write(folder, "modules.json", entries)


def with_pooling(folder: Path, *after: tuple[str, str], **settings: object) -> Path:
    write_modules(folder, ("Transformer", ""), ("Pooling", "1_Pooling"), *after)
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": WIDTH, **settings})
    return folder


def theirs(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(TEXTS, show_progress_bar=False))


def assert_same(folder: Path) -> None:
    np.testing.assert_allclose(
        encode_all(load_encoder(str(folder)), TEXTS, max_tokens=64), theirs(folder), atol=3e-6
    )


@pytest.mark.parametrize("family", ["bert", "roberta", "qwen2", "t5", *OTHERS])
@pytest.mark.parametrize("pooling", [None, "cls", "lasttoken"])
def test_each_family_gives_the_vectors_of_sentence_transformers(
    tmp_path: Path, family: str, pooling: str | None
) -> None:
    folder = folder_of(tmp_path, family)
    if pooling is not None:
        with_pooling(folder, ("Normalize", "2_Normalize"), pooling_mode=pooling)
    elif family == "qwen2":  # their padding needs a token, ours does not
        assert load_encoder(str(folder)).pooling.modes == ("lasttoken",)
    assert_same(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode": ["mean", "max"]},
        {"pooling_mode": "mean_sqrt_len_tokens"},
        {"pooling_mode_weightedmean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": False},
    ],
)
def test_pooling_modes_alone_and_joined(tmp_path: Path, settings: dict[str, object]) -> None:
    assert_same(with_pooling(folder_of(tmp_path, "bert"), **settings))


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "weightedmean"])
def test_a_prompt_is_put_before_each_text(tmp_path: Path, include_prompt: bool, mode: str) -> None:
    folder = folder_of(tmp_path, "bert")
    plain = find_encoder(str(folder)).identity
    with_pooling(folder, pooling_mode=mode, include_prompt=include_prompt)
    without = find_encoder(str(folder)).identity
    prompts = {"prompts": {"item": "small juice "}, "default_prompt_name": "item"}
    write(folder, "config_sentence_transformers.json", prompts)
    assert_same(folder)
    assert len({plain, without, find_encoder(str(folder)).identity}) == 3
    if not include_prompt:
        with pytest.raises(ModelError, match=r"max_tokens=4 must be above \d"):
            encode_all(load_encoder(str(folder)), TEXTS, max_tokens=4)


def test_dense_lower_case_and_cuts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "bert")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    write(folder, "tokenizer.json", tokenizer | {"normalizer": None})
    dense = ("Dense", "2_Dense")
    with_pooling(folder, dense, ("Normalize", "3_Normalize"), pooling_mode="mean")
    layer = {"in_features": WIDTH, "out_features": 6, "bias": True}
    activation = "torch.nn.modules.activation.Tanh"
    write(folder, "2_Dense/config.json", layer | {"activation_function": activation})
    weights = {"linear.weight": torch.randn(6, WIDTH), "linear.bias": torch.randn(6)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    write(folder, "sentence_bert_config.json", {"max_seq_length": 5, "do_lower_case": True})
    assert_same(folder)
    first = find_encoder(str(folder))
    assert first.space(64) == first.space(5) != first.space(4)
    save_file({**weights, "linear.bias": torch.randn(6)}, folder / "2_Dense" / "model.safetensors")
    assert find_encoder(str(folder)).identity != first.identity
    write(folder, "config_sentence_transformers.json", {"truncate_dim": 4})
    assert load_encoder(str(folder)).width == 4
    assert_same(folder)


def test_the_model_and_its_pooling_lie_where_modules_json_says(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "bert")
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in [path for path in folder.iterdir() if path.is_file()]:
        file.rename(inner / file.name)
    write_modules(folder, ("Transformer", "0_Transformer"), ("Pooling", "7_Pooling"))
    write(
        folder, "7_Pooling/config.json", {"word_embedding_dimension": WIDTH, "pooling_mode": "cls"}
    )
    assert_same(folder)
    first = find_encoder(str(folder)).identity
    write(folder, "7_Pooling/config.json", {"pooling_mode": "max"})
    assert find_encoder(str(folder)).identity != first
    (inner / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="0_Transformer has no weights"):
        find_encoder(str(folder))


def _custom_module(folder: Path) -> None:
    write(folder, "modules.json", [{"name": "0", "path": "", "type": "shop_code.Encoder"}])


def _outside(folder: Path) -> None:
    write_modules(folder, ("Transformer", ""), ("Pooling", "../1_Pooling"))


def _pooling_missing(folder: Path) -> None:
    write_modules(folder, ("Transformer", ""), ("Pooling", "1_Pooling"))


def _dense_of_tokens(folder: Path) -> None:
    with_pooling(folder, ("Dense", "2_Dense"))
    write(folder, "2_Dense/config.json", {"module_input_name": "token_embeddings"})


def _strange_activation(folder: Path) -> None:
    with_pooling(folder, ("Dense", "2_Dense"))
    layer = {"in_features": WIDTH, "out_features": 2, "activation_function": "os.system"}
    write(folder, "2_Dense/config.json", layer)


def _modules_lost(folder: Path) -> None:
    with_pooling(folder)
    (folder / "modules.json").unlink()


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    asked = {"model_type": "shop", "auto_map": {"AutoConfig": "shop.Config"}}
    write(folder, "config.json", config | asked)
    (folder / "shop.py").write_text(f"open({str(folder / 'RAN')!r}, 'w')\nclass Config: pass\n")


def _added_tokens(folder: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens([f"sku{number}" for number in range(9)])
    tokenizer.save_pretrained(folder)


def _clip(folder: Path) -> None:
    small = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    text = {**small, "vocab_size": 20, "intermediate_size": 8, "max_position_embeddings": 16}
    vision = {**small, "intermediate_size": 8, "image_size": 8, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(folder)


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (_custom_module, r"shop_code\.Encoder needs code of its own"),
    (_outside, r"the path '\.\./1_Pooling'"),
    (_pooling_missing, "names 1_Pooling, 1_Pooling/config.json is not there"),
    (_dense_of_tokens, "module_input_name to token_embeddings"),
    (_strange_activation, r"os\.system is not one of"),
    (_modules_lost, r"1_Pooling is there and modules\.json is not"),
    (_own_code, r"needs code of its own \(AutoConfig in auto_map\)"),
    (_added_tokens, "its tokenizer knows 23 tokens, its model 20"),
    (_clip, "is not a text encoder: a model of type clip"),
    (lambda folder: with_pooling(folder, ("LSTM", "2_LSTM")), "names LSTM after its pooling"),
    (lambda folder: write_modules(folder, ("WordEmbeddings", "0_Words")), "starts with WordEmb"),
    (lambda folder: write(folder, "modules.json", {"a": 1}), "is not a list of modules"),
    (lambda folder: (folder / "modules.json").write_text("["), "modules.json is not JSON"),
    (lambda folder: write(folder, "adapter_config.json", {}), "adapter of another encoder"),
    (
        lambda folder: write(
            with_pooling(folder), "config_sentence_transformers.json", {"default_prompt_name": "x"}
        ),
        "default prompt 'x' is not among its prompts",
    ),
    (
        lambda folder: write(
            with_pooling(folder), "config_sentence_transformers.json", {"model_type": "Sparse"}
        ),
        "is a Sparse",
    ),
    (
        lambda folder: write(
            with_pooling(folder), "sentence_bert_config.json", {"model_args": {"gguf_file": "x"}}
        ),
        "sets gguf_file for its model",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    folder = folder_of(tmp_path, "bert")
    change(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_encoder(str(folder))
    assert "\n" not in str(caught.value)
    assert not (folder / "RAN").exists()
