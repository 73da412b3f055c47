from __future__ import annotations

import csv
from math import log1p
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.serving.features.word_index import K1, B, WordIndex, tokens
from client.serving.state.browse import WORDS_WEIGHT
from shared.model.packaged_encoder import PackagedEncoder
from shared.model.profile_space import fit_whitening

FOLDER = Path(__file__).parent


def indexed(*texts: str) -> WordIndex:
    index = WordIndex()
    for row, text in enumerate(texts):
        index.put(row, text)
    return index


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Café, CRÈME 1kg", ["cafe", "creme", "1kg"]),
        ("绿茶 tea", ["绿", "茶", "绿茶", "tea"]),
        ("ＡＢＣ", ["abc"]),
        ("-- ,.", []),
        ("ชา", ["ช", "า", "ชา"]),
    ],
)
def test_tokens(text: str, wanted: list[str]) -> None:
    assert list(tokens(text)) == wanted


def test_scores_are_those_of_bm25() -> None:
    index = indexed("green tea", "black tea tea", "coffee")
    scores = index.scores("green tea", n_rows=4)
    idf = {"green": log1p((3 - 1 + 0.5) / 1.5), "tea": log1p((3 - 2 + 0.5) / 2.5)}

    def share(count: int, length: int) -> float:
        return count * (K1 + 1) / (count + K1 * (1 - B + B * length / 2))

    total = sum(idf.values())
    wanted = [share(1, 2), idf["tea"] * share(2, 3) / total, 0.0, 0.0]
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_a_part_of_a_word_finds_it_and_a_whole_word_only_itself() -> None:
    index = indexed("chocolate", "chocolates dark", "tea", "teapot")
    assert (index.scores("choco", n_rows=4) > 0).tolist() == [True, True, False, False]
    assert (index.scores("tea", n_rows=4) > 0).tolist() == [False, False, True, False]
    assert not index.scores("ch", n_rows=4).any()


@given(st.lists(st.tuples(st.integers(0, 5), st.text("ab 茶绿", max_size=6)), max_size=20))
def test_a_changed_index_is_that_of_what_is_left(changes: list[tuple[int, str]]) -> None:
    index, texts = WordIndex(), dict[int, str]()
    for row, text in changes:
        if text:
            index.put(row, text)
            texts[row] = text
        else:
            index.delete(row)
            texts.pop(row, None)
    fresh = WordIndex()
    for row, text in texts.items():
        fresh.put(row, text)
    for query in ("a", "绿茶", "ab 茶"):
        np.testing.assert_array_equal(index.scores(query, n_rows=6), fresh.scores(query, n_rows=6))


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_right_item_is_among_the_first_three(language: str) -> None:
    with (FOLDER / "search_items.csv").open(encoding="utf-8") as file:
        items = list(csv.DictReader(file))
    with (FOLDER / "search_queries.csv").open(encoding="utf-8") as file:
        queries = [row for row in csv.DictReader(file) if row["set"] == "test"]
    texts, asked = [item[language] for item in items], [row[language] for row in queries]
    place_of = {item["en"]: place for place, item in enumerate(items)}
    encoder = PackagedEncoder()
    vectors = np.concatenate([v for _, v in encoder.encode(texts + asked, max_tokens=64)])
    whitening = fit_whitening(vectors[: len(texts)], dim=256)
    likeness = whitening.apply(vectors[len(texts) :]) @ whitening.apply(vectors[: len(texts)]).T
    index, right = indexed(*texts), 0
    for row, query in enumerate(queries):
        scores = likeness[row] + WORDS_WEIGHT * index.scores(query[language], n_rows=len(texts))
        right += int((scores > scores[place_of[query["item"]]]).sum() < 3)
    assert (len(texts), len(asked)) == (200, 60)
    assert right >= 54
