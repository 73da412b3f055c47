"""Random encoders of every supported family, small enough to build in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

FAMILIES = ("bert", "gpt2", "qwen2", "t5", "bart", "roberta")
WIDTH = 16
LAYER = {
    "bert": ("encoder.layer.1.attention.self.query", "encoder.layer.1.output.dense"),
    "gpt2": ("h.1.attn.c_attn", "h.1.mlp.c_proj"),
    "qwen2": ("layers.1.self_attn.q_proj", "layers.1.mlp.down_proj"),
    "t5": ("block.1.layer.0.SelfAttention.q",),
    "bart": ("layers.1.self_attn.q_proj",),
    "roberta": ("encoder.layer.1.attention.self.value",),
}
WORDS = ("frozen", "ice", "cream", "apple", "juice", "bread", "soap", "large", "small", "private")


def _tokenizer(*, special: bool, pad: bool) -> PreTrainedTokenizerFast:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    vocabulary = {word: code for code, word in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokens = {"unk_token": "[UNK]"} | ({"pad_token": "[PAD]"} if pad else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def _byte_tokenizer() -> Qwen2Tokenizer:
    """One token a byte, in the class that transformers takes for Qwen whatever a folder says."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: code for code, sign in enumerate([*alphabet, "<|endoftext|>"])}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[])


def _model(family: str) -> torch.nn.Module:
    heads = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
    common = {"vocab_size": 20, "hidden_size": WIDTH, **heads}
    if family == "bert":
        return BertForMaskedLM(BertConfig(**common, max_position_embeddings=32))
    if family == "roberta":
        return RobertaModel(RobertaConfig(**common, max_position_embeddings=32, pad_token_id=0))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common | {"vocab_size": 300}, num_key_value_heads=1))
    if family == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=20, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=32)
        )
    if family == "bart":
        sizes = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32}
        layers = {f"{half}_layers": 2 for half in ("encoder", "decoder")}
        heads = {f"{half}_attention_heads": 2 for half in ("encoder", "decoder")}
        return BartModel(BartConfig(vocab_size=20, d_model=WIDTH, **sizes, **layers, **heads))
    return T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=WIDTH, d_ff=32, d_kv=8, num_layers=2, num_heads=2)
    )


def build_encoder(
    folder: Path, family: str = "bert", *, pooling: str | None = None, seed: int = 0
) -> Path:
    """Saves a random encoder with its tokenizer, and returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _model(family).save_pretrained(folder)
    if family == "qwen2":
        _byte_tokenizer().save_pretrained(folder)
    else:
        _tokenizer(special=family != "gpt2", pad=family != "gpt2").save_pretrained(folder)
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        modes = {f"pooling_mode_{m}": m == pooling for m in ("cls_token", "mean_tokens")}
        modes["pooling_mode_lasttoken"] = pooling == "lasttoken"
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
        kinds = ["Transformer", "Pooling", "Normalize"]
        paths = ["", "1_Pooling", "2_Normalize"]
        modules = [
            {"name": path, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for path, kind in zip(paths, kinds, strict=True)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder
