"""Whether an encoder can read the script that a catalogue is mostly written in."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from shared.errors import ModelError
from shared.model.encoder_files import EMBEDDED_NAMES, EncoderSource, find_encoder
from shared.model.packaged_encoder import PACKAGED_NAME
from shared.settings.run_settings import ModelSettings

_NAMES = {
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "ARABIC": "Arabic",
    "THAI": "Thai",
    "GREEK": "Greek",
    "HEBREW": "Hebrew",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
}
_PACKAGED = frozenset({"Latin", "Chinese", "Japanese", "Korean", "Cyrillic", "Arabic", "Thai"})
_MIN_PIECES = 1000
"""Pieces of a script in a vocabulary that was learned from texts in it; English ones hold single
letters of many scripts, some hundred Chinese characters among them."""
_TEXTS, _LETTERS = 2000, 200
"""Texts of a catalogue, and letters of each, that are looked at."""


def main_script(texts: Iterable[str]) -> str | None:
    """Returns the script of more than half of the letters, None where there is none."""
    counts: Counter[str] = Counter()
    for text in islice(texts, _TEXTS):
        counts.update(map(_script, filter(str.isalpha, text[:_LETTERS])))
    if not counts:
        return None
    script, n = counts.most_common(1)[0]
    return script if n > counts.total() / 2 else None


def unread_script(texts: Iterable[str], settings: ModelSettings) -> str | None:
    """Returns the script that most of a catalogue is in where the encoder does not read it.

    Args:
        texts: Of the items.
        settings: With the encoder.

    Returns:
        Its name; None where it is read, or where the encoder's files do not say.
    """
    script = main_script(texts)
    return None if script is None or may_read(settings, script) else script


def may_read(settings: ModelSettings, script: str) -> bool:
    """Says whether an encoder reads a script, as far as its files say."""
    try:
        source = find_encoder(settings.encoder, revision=settings.revision)
    except ModelError:
        return True  # whoever loads it says why
    return reads(source, script) is not False


def reads(source: EncoderSource, script: str) -> bool | None:
    """Says whether an encoder reads a script, None where its files do not say."""
    if source.name == PACKAGED_NAME:
        return script in _PACKAGED
    if source.name in EMBEDDED_NAMES:
        return script == "Latin"
    pieces = _vocabulary(source)
    if not pieces or script == "Latin":
        return None
    n = sum(_script(letter) == script for letter in map(_first_letter, pieces) if letter)
    return n >= _MIN_PIECES


def _vocabulary(source: EncoderSource) -> list[str]:
    """Returns the pieces of a vocabulary; none where they are bytes, which fit any script."""
    plain, whole = source.model_folder / "vocab.txt", source.model_folder / "tokenizer.json"
    if whole.is_file():
        tokenizer = json.loads(whole.read_text(encoding="utf-8"))
        if "ByteLevel" in json.dumps(tokenizer.get("pre_tokenizer")):
            return []
        vocabulary = tokenizer.get("model", {}).get("vocab", [])
        return [one if isinstance(one, str) else str(one[0]) for one in vocabulary]
    return plain.read_text(encoding="utf-8").splitlines() if plain.is_file() else []


def _first_letter(piece: str) -> str:
    return next(filter(str.isalpha, piece), "")


def _script(letter: str) -> str:
    word = unicodedata.name(letter, "?").partition(" ")[0]
    return _NAMES.get(word, word.capitalize())
