from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.uses.answers import answer
from client.uses.training import train_use
from shared.errors import ConfigError
from shared.interactions.events import Events
from shared.uses.definitions.demand import weekly_units
from shared.uses.history import History
from shared.uses.interface import Use
from shared.uses.registry import uses
from tests.shared.uses.small_history import END, FIRST, N_USERS, small_history

IDS = [f"u{n}" for n in range(N_USERS)]


@pytest.mark.parametrize(
    "use", [use for use in uses().values() if use.level == "shop"], ids=lambda u: u.name
)
def test_every_use_gives_a_list_best_first(use: Use) -> None:
    history = small_history()
    trained = train_use(use, history, first=FIRST, rng=np.random.default_rng(0))
    table = answer(trained, history, IDS)
    assert len(table) > 0
    assert table["score"].is_monotonic_decreasing
    assert np.isfinite(table["score"]).all()
    if use.unit == "item":
        assert set(table["category"]) <= set(history.category_names)
    else:
        assert set(table["user_id"]) <= set(IDS)
    if use.key == "category":
        assert set(table["category"]) <= set(history.category_names)
    if use.name == "unusual":  # who else's basket it could be is asked for training alone
        assert not table.duplicated(["user_id", "basket"]).any()


def test_reasons_name_what_moves_the_score() -> None:
    history = small_history()
    use = uses()["spend-4w"]
    trained = train_use(use, history, first=FIRST, rng=np.random.default_rng(0))
    assert trained.name == "local"
    table = answer(trained, history, IDS)
    for reasons in (table["reasons"].iloc[0], table["reasons"].iloc[-1]):
        parts = reasons.split("; ")
        assert len(parts) == 3
        assert {part.split(" ", 1)[1].rsplit(" ", 2)[0] for part in parts} <= set(use.columns)
    assert "high spend" in table["reasons"].iloc[0]


def test_demand_is_told_in_pieces() -> None:
    history = small_history()
    use = uses()["demand"]
    trained = train_use(use, history, first=FIRST, rng=np.random.default_rng(0))
    told = answer(trained, history, IDS).groupby("category")["score"].mean()
    sold = weekly_units(history, 8).mean(axis=1)
    for category, pieces in told.items():
        usual = sold[history.category_names.index(category)]
        assert usual / 2 < pieces < usual * 2


def test_a_campaign_is_asked_about_for_all_users() -> None:
    history = small_history()
    trained = train_use(uses()["campaign"], history, first=FIRST, rng=np.random.default_rng(0))
    assert sorted(answer(trained, history, IDS)["user_id"]) == sorted(IDS)


def test_too_short_a_history_says_how_much_is_needed() -> None:
    history = small_history().before(FIRST + 60)
    with pytest.raises(ConfigError, match=r"churn-4w: needs 119 days of history.* have 60"):
        train_use(uses()["churn-4w"], history, first=FIRST, rng=np.random.default_rng(0))


def steady_shop(rng: np.random.Generator) -> History:
    """30 categories whose weekly pieces are drawn around a mean that does not change."""
    category, week = (a.ravel() for a in np.meshgrid(np.arange(30), np.arange(40)))
    events = Events.build(
        user=np.zeros(len(week)),
        item=category,
        time=FIRST + 7 * week + 3.0,
        quantity=1 + rng.poisson(5 + category),
    )
    names = [f"kind {k}" for k in range(30)]
    return replace(small_history(), events=events, category=np.arange(30), category_names=names)


def test_intervals_of_demand_hold_what_is_sold_next() -> None:
    inside = []
    for seed in range(4):
        whole = steady_shop(np.random.default_rng(seed))
        history = whole.before(END - 28)
        trained = train_use(uses()["demand"], history, first=FIRST, rng=np.random.default_rng(0))
        table = answer(trained, history, IDS)
        assert (table["low"] <= table["score"] + 1e-9).all()
        assert (table["score"] <= table["high"] + 1e-9).all()
        code = table["category"].map(history.category_names.index).to_numpy()
        actual = weekly_units(whole, 4)[code, table["weeks ahead"].to_numpy()]
        inside.append(((table["low"] <= actual) & (actual <= table["high"])).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.07)
