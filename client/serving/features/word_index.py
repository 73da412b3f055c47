"""Which items hold the words of a search: BM25 over words, and over characters where no spaces are.

Words of scripts without spaces between them (Chinese, Japanese, Korean with its endings, Thai) are
found by their characters and by each two that follow each other.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005\u3040-\u30ff\u31f0-\u31ff"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\uac00-\ud7af"  # Korean syllables
)
_RUNS = re.compile(f"[{_UNSPACED}]+|[^\\W_{_UNSPACED}]+")
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_MAX_TEXT = 10_000
K1, B = 1.2, 0.75
"""Constants of BM25 as its authors give them (https://doi.org/10.1561/1500000019)."""
_MIN_PREFIX, _MAX_EXPANDED = 3, 100
"""Letters of a part of a word at least, and words that it may stand for at most."""


def tokens(text: str) -> Iterator[str]:
    """Yields words in lower case without accents; of unspaced scripts characters and pairs."""
    plain = unicodedata.normalize("NFKD", text[:_MAX_TEXT].casefold())
    plain = unicodedata.normalize("NFKC", _ACCENTS.sub("", plain))
    for run in _RUNS.findall(plain):
        if not _UNSPACED_RUN.match(run):
            yield run
            continue
        yield from run
        yield from (run[i : i + 2] for i in range(len(run) - 1))


class WordIndex:
    """Texts by row, found by their words; a changed or deleted text counts from the next search.

    Attributes:
        lengths: Tokens of each row's text, 0 where there is none, `(n_rows,)`.
    """

    def __init__(self) -> None:
        self.lengths = array("i")
        # A row stands in a list as often as its text holds the token: 4 bytes each.
        self._rows: dict[str, array[int]] = {}
        self._texts: dict[int, str] = {}

    def put(self, row: int, text: str) -> None:
        """Takes a row's text in place of the one before."""
        if self._texts.get(row) == text:
            return
        self.delete(row)
        if row >= len(self.lengths):
            self.lengths.extend([0] * (row + 1 - len(self.lengths)))
        self._texts[row] = text
        for token in tokens(text):
            self._rows.setdefault(token, array("i")).append(row)
            self.lengths[row] += 1

    def delete(self, row: int) -> None:
        """Takes a row's text out."""
        text = self._texts.pop(row, None)
        if text is None:
            return
        for token in tokens(text):
            rows = self._rows[token]
            rows.remove(row)
            if not rows:
                del self._rows[token]
        self.lengths[row] = 0

    def scores(self, query: str, *, n_rows: int) -> Floats:
        """Returns how well each text holds the words of a query, `(n_rows,)`, 0 for none of them.

        It is BM25 divided by the weight of all words of the query, so that a text of usual length
        that holds each word once has 1. A word that no text holds stands for those that begin
        with it.
        """
        lengths = np.zeros(n_rows, dtype=np.float32)
        lengths[: len(self.lengths)] = self.lengths
        found = np.zeros(n_rows, dtype=np.float32)
        n = max(len(self._texts), 1)
        usual = max(float(lengths.sum()) / n, 1.0)
        norm = K1 * (1 - B + B * lengths / usual)
        total = 0.0
        for token in dict.fromkeys(tokens(query)):
            rows, counts = np.unique(self._rows_of(token), return_counts=True)
            weight = float(np.log1p((n - len(rows) + 0.5) / (len(rows) + 0.5)))
            total += weight
            found[rows] += weight * counts * (K1 + 1) / (counts + norm[rows])
        return found / np.float32(max(total, 1e-9))

    def _rows_of(self, token: str) -> npt.NDArray[np.int32]:
        same = self._rows.get(token)
        if same is not None:
            return np.array(same, dtype=np.int32)
        if len(token) < _MIN_PREFIX:
            return np.zeros(0, dtype=np.int32)
        return _joined([r for t, r in self._rows.items() if t.startswith(token)][:_MAX_EXPANDED])


def _joined(parts: Sequence[array[int]]) -> npt.NDArray[np.int32]:
    return np.concatenate([np.zeros(0, np.int32), *(np.array(p, np.int32) for p in parts)])
