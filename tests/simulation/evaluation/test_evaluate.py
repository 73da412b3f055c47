"""The whole evaluation on three small shops whose answers can be checked from its own tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from client.recommenders.local import LOCAL_SIGNALS
from shared.interactions.events import Catalogue, Dataset, Events, Shop
from shared.interactions.splits import Windows
from shared.releases.noisy_statistics import PairRelease
from simulation.evaluation import measures
from simulation.evaluation.evaluate import EvaluationResult, evaluate, ranking_table, user_table
from simulation.evaluation.measures import stages
from simulation.evaluation.pooled import TWINS, fit_pooled, pool
from simulation.evaluation.shop import GlobalModel

N_ITEMS, GROUPS = 90, 3
WINDOWS = Windows("time", 64.0, 80.0, 200.0)
METHODS = [*LOCAL_SIGNALS["days"], "ease-text", "best-local"]
METHODS += ["global", "pairs", "placebo", "fused", "pooled"]
SURFACES = ("for-you", "discover", "tail", "new-user", "basket")


def visits_of(rng: np.random.Generator, user: int) -> list[tuple[int, int, float, int]]:
    """Twelve visits of eight items, mostly of the user's group and rarer from item to item."""
    taste = 1.0 / (1.0 + np.arange(N_ITEMS) // GROUPS)
    taste = taste * np.where(np.arange(N_ITEMS) % GROUPS == user % GROUPS, 8.0, 1.0)
    rows = []
    for visit in range(12):
        day = 8.0 * visit + rng.random()
        items = rng.choice(N_ITEMS, 8, replace=False, p=taste / taste.sum())
        rows += [(user, int(item), day, user * 100 + visit) for item in items]
    return rows


def dataset(seed: int = 0, *, sessions: bool = True) -> Dataset:
    rng = np.random.default_rng(seed)
    shops = []
    for number, n_users in enumerate((24, 18, 15)):
        rows = np.array([row for user in range(n_users) for row in visits_of(rng, user)])
        events = Events.build(
            user=rows[:, 0],
            item=rows[:, 1],
            time=rows[:, 2],
            session=rows[:, 3] if sessions else None,
        )
        ids = np.array([f"s{number}u{user}" for user in range(n_users)], dtype=object)
        shops.append(Shop(f"shop-{number}", ids, events))
    items = np.array([f"item-{i}" for i in range(N_ITEMS)], dtype=object)
    catalogue = Catalogue(items, [f"text {i}" for i in range(N_ITEMS)])
    return Dataset("small", catalogue, tuple(shops), {}, "days", np.ones(N_ITEMS, dtype=bool))


def vectors() -> np.ndarray:
    rng = np.random.default_rng(9)
    raw = rng.normal(size=(GROUPS, 6))[np.arange(N_ITEMS) % GROUPS]
    raw = raw + 0.8 * rng.normal(size=raw.shape)
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def models() -> dict[str, GlobalModel]:
    prior = -np.log1p(np.arange(N_ITEMS)).astype(np.float32)
    head = np.arange(0, N_ITEMS, 2)
    together = np.add.outer(head % GROUPS, -(head % GROUPS)) == 0
    estimate = together[np.triu_indices(len(head), 1)].astype(np.float32)
    pairs = PairRelease(head, 5 * estimate, 0.0, vectors()[head], np.ones(len(head)))
    return {"": GlobalModel(lambda history: 3 * history, prior, pairs=pairs)}


def run(data: Dataset, **options: object) -> EvaluationResult:
    given = {"models": models(), "bootstrap": 100, "seed": 3, **options}
    found = given.pop("models")
    return evaluate(data, WINDOWS, vectors(), found, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return dataset()


@pytest.fixture(scope="module")
def result(data: Dataset) -> EvaluationResult:
    return run(data)


def test_every_surface_has_every_method_and_metric(result: EvaluationResult) -> None:
    assert set(result.metrics) == {*SURFACES, "shops"}
    assert result.surfaces["cold"]["shops"] == 0  # every item of these shops is common
    for surface in SURFACES:
        assert set(result.metrics[surface]) == set(METHODS)
        for values in result.metrics[surface].values():
            assert {"ndcg@10", "hr@10", "recall@20", "coverage@20"} <= set(values)
            assert all(v["low"] <= v["mean"] <= v["high"] for v in values.values())
    assert set(result.metrics["shops"]) == {"shop-0", "shop-1", "shop-2"}
    assert set(result.metrics["shops"]["shop-1"]["basket"]) == set(METHODS)


def test_tables_give_the_metrics_again(data: Dataset, result: EvaluationResult) -> None:
    users, ranks = user_table(result, data), ranking_table(result, data)
    taken: dict[str, set[str]] = {}
    for shop in data.shops:
        window = shop.events.select(shop.events.time >= 80.0)
        for user, item in zip(window.user, window.item, strict=True):
            taken.setdefault(shop.user_ids[user], set()).add(data.catalogue.item_ids[item])
    for method in ("ease", "fused"):
        rows = ranks[(ranks.surface == "for-you") & (ranks.method == method)]
        mine = users[(users.surface == "for-you") & (users.method == method)]
        assert set(rows.user_id) == set(mine.user_id)
        for user_id, group in rows.groupby("user_id"):
            ordered = group.sort_values("rank")
            assert ordered.score.is_monotonic_decreasing
            hits = [item in taken[str(user_id)] for item in ordered.item_id]
            n = len(taken[str(user_id)])
            gain = sum(hit / np.log2(i + 2) for i, hit in enumerate(hits[:10]))
            ideal = sum(1 / np.log2(i + 2) for i in range(min(n, 10)))
            measured = mine[mine.user_id == user_id].iloc[0]
            assert measured["ndcg@10"] == pytest.approx(gain / ideal)
            assert measured["recall@20"] == pytest.approx(sum(hits) / n)
        mean = result.metrics["for-you"][method]["ndcg@10"]["mean"]
        assert mean == pytest.approx(mine["ndcg@10"].mean())


def test_discover_recommends_nothing_known(data: Dataset, result: EvaluationResult) -> None:
    ranks = ranking_table(result, data)
    known = {
        (shop.user_ids[user], data.catalogue.item_ids[item])
        for shop in data.shops
        for user, item, time in zip(
            shop.events.user, shop.events.item, shop.events.time, strict=True
        )
        if time < 80.0
    }
    rows = ranks[ranks.surface.isin(["discover", "tail"])]
    assert len(rows) > 0
    assert not known & set(zip(rows.user_id, rows.item_id, strict=True))


def test_results_do_not_depend_on_workers(data: Dataset, result: EvaluationResult) -> None:
    alone = run(data, workers=1)
    assert alone.metrics == result.metrics
    assert alone.choices() == result.choices()


def test_another_model_changes_no_other_row(data: Dataset, result: EvaluationResult) -> None:
    more = run(data, models=models() | {"non-private": GlobalModel(lambda h: -h)})
    for surface in ("for-you", "tail"):
        rows = dict(more.metrics[surface])
        assert rows.pop("global-non-private") != rows["global"]
        assert rows.pop("fused-non-private") is not None
        assert rows.pop("placebo-non-private") is not None
        for method, values in rows.items():
            for metric, interval in values.items():
                assert interval == pytest.approx(result.metrics[surface][method][metric])
    for shop, before in zip(more.shops, result.shops, strict=True):
        for surface, weights in before.weights.items():
            assert {name: shop.weights[surface][name] for name in weights} == weights


def test_choices_see_no_test_window(data: Dataset, result: EvaluationResult) -> None:
    rng = np.random.default_rng(1)
    shops = []
    for shop in data.shops:
        events = shop.events
        drawn = rng.integers(0, N_ITEMS, len(events)).astype(np.int32)
        item = np.where(events.time >= 80.0, drawn, events.item)
        shops.append(dataclasses.replace(shop, events=dataclasses.replace(events, item=item)))
    shuffled = run(dataclasses.replace(data, shops=tuple(shops)))
    assert shuffled.metrics["for-you"]["ease"] != result.metrics["for-you"]["ease"]
    for shop_id, surfaces in shuffled.choices().items():
        for surface, chosen in surfaces.items():
            assert chosen == result.choices()[shop_id][surface]


def test_taste_is_learnt(result: EvaluationResult) -> None:
    rows = result.metrics["discover"]
    for method in ("item-knn", "ease", "text", "best-local", "global", "fused", "pooled"):
        assert rows[method]["ndcg@10"]["mean"] > rows["popularity"]["ndcg@10"]["mean"]


def test_a_surface_that_cannot_be_built_is_absent_with_a_reason() -> None:
    found = run(dataset(sessions=False), pooled=False)
    assert "basket" not in found.metrics
    assert found.surfaces["basket"]["shops"] == 0
    assert found.surfaces["basket"]["absent"]["shop-2"] == "the window has no sessions"
    assert "pooled" not in found.metrics["for-you"]


def test_pooled_users_stay_apart(data: Dataset) -> None:
    moments = [stages(shop, WINDOWS, data.scored, seed=0)[0] for shop in data.shops]
    together = pool([moment.history for moment in moments])
    assert together.shape == (24 + 18 + 15, N_ITEMS)
    second = moments[1].history
    columns = np.searchsorted(together.candidates, second.candidates)
    assert (together.known[24:42][:, columns] == second.known).all()
    twins = fit_pooled([moment.history for moment in moments], vectors(), "days")
    assert tuple(twins) == TWINS
    queries = next(moments[1].blocks())
    for twin in twins.values():
        scores = twin.fit(second).score(queries["for-you"])
        assert scores.shape == queries["for-you"].targets.shape
        assert np.isfinite(scores).all()


def test_leave_last_out_asks_at_each_users_own_moment() -> None:
    order = np.tile(np.arange(4), 3)
    events = Events.build(
        user=np.repeat([0, 1, 2], 4), item=[0, 1, 2, 3, 1, 2, 3, 0, 2, 3, 0, 1], time=order
    )
    shop = Shop("one", np.array(["a", "b", "c"], dtype=object), events)
    validation, test = stages(shop, Windows("leave-last-out"), np.ones(6, dtype=bool), seed=0)
    assert validation.history.now.tolist() == [2.0, 2.0, 2.0]
    assert test.history.now.tolist() == [3.0, 3.0, 3.0]
    assert len(test.history.events) == 9
    assert test.history.candidates.tolist() == [0, 1, 2, 3, 4, 5]
    asked = next(test.blocks())["discover"]
    assert asked.targets.tolist() == np.eye(6, dtype=bool)[[3, 0, 1]].tolist()


def test_user_table_names_users_and_shops(data: Dataset, result: EvaluationResult) -> None:
    users: pd.DataFrame = user_table(result, data)
    assert list(users.columns[:4]) == ["shop_id", "user_id", "surface", "method"]
    shop = users[users.user_id == "s1u3"].shop_id.unique()
    assert shop.tolist() == ["shop-1"]


def test_a_model_that_cannot_be_told_from_noise_changes_nothing(data: Dataset) -> None:
    noise = dataclasses.replace(models()[""], reliability=0.0)
    for shop in run(data, models={"": noise}, pooled=False).shops:
        for surface, weights in shop.weights.items():
            assert not {weights["fused"].get(name, 0.0) for name in ("global", "pairs")} - {0.0}
            fused, local = (shop.rankings[surface][m] for m in ("fused", "best-local"))
            assert (fused.items == local.items).all()


def test_a_placebo_is_made_of_the_shops_own_data_alone(
    data: Dataset, result: EvaluationResult
) -> None:
    model = models()[""]
    assert model.prior is not None
    assert model.pairs is not None
    others = dataclasses.replace(model.pairs, noisy=model.pairs.noisy[::-1].copy())
    other = {"": GlobalModel(lambda h: -h, -model.prior, pairs=others)}
    again = run(data, models=other, pooled=False)
    for shop, before in zip(again.shops, result.shops, strict=True):
        for surface, methods in before.rankings.items():
            assert (shop.rankings[surface]["placebo"].items == methods["placebo"].items).all()
        assert {"global-placebo", "pairs-placebo"} <= set(shop.weights["discover"]["placebo"])


def test_results_do_not_depend_on_how_many_users_are_asked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(dataset())
    monkeypatch.setattr(measures, "BLOCK_CELLS", 1)  # blocks of 16 users
    parts = run(dataset())
    assert len(list(measures.by_users(dataset().shops[0].events, 16))) == 2
    assert parts.choices() == whole.choices()
    for one, other in zip(parts.shops, whole.shops, strict=True):
        assert one.absent == other.absent
        for surface, methods in other.rankings.items():
            for method, ranking in methods.items():
                same = one.rankings[surface][method]
                np.testing.assert_array_equal(same.users, ranking.users)
                assert same.values == pytest.approx(ranking.values, abs=1e-5, nan_ok=True)
                assert same.n_candidates == ranking.n_candidates


def test_a_shop_that_sells_a_part_of_the_catalogue_is_held_against_all_data() -> None:
    data = dataset()
    first = data.shops[0]
    some = dataclasses.replace(first, events=first.events.select(first.events.item < 60))
    result = run(dataclasses.replace(data, shops=(some, *data.shops[1:])))
    ranking = result.shops[0].rankings["for-you"]["pooled"]
    assert ranking.items.max() < 60
    assert ranking.values[:, 0].mean() > 0
