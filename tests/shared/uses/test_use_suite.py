"""What every use promises: one suite that runs on all that the registry finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.errors import ConfigError
from shared.interactions.events import Events
from shared.uses.history import Campaigns, History, Promotions
from shared.uses.interface import Use, examples, table_at
from shared.uses.metrics import Scored
from shared.uses.registry import chosen, uses
from tests.shared.uses.small_history import END, FIRST, small_history

ALL = list(uses().values())
every_use = pytest.mark.parametrize("use", ALL, ids=[use.name for use in ALL])


def asked_at(use: Use, history: History) -> float:
    """The last time whose answers the history holds."""
    return use.occasions(history, FIRST + 150, END - use.label.horizon)[-1]


@every_use
def test_what_comes_after_the_time_changes_nothing(use: Use) -> None:
    history = small_history()
    time = asked_at(use, history)
    rng = np.random.default_rng(1)
    events = history.events
    late = events.time >= time
    changed = replace(
        events,
        item=np.where(late, rng.integers(0, 30, len(events)), events.item).astype(np.int32),
        price=np.where(late, 99, events.price).astype(np.float32),
        quantity=np.where(late, 7, events.quantity).astype(np.float32),
    )
    sent = history.campaigns
    answered = np.where(sent.answered >= time, time + rng.uniform(0, 90, len(sent)), sent.answered)
    other = replace(history, events=changed, campaigns=replace(sent, answered=answered))
    for a, b in zip(
        vars(table_at(use, history, time)).values(),
        vars(table_at(use, other, time)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@every_use
def test_history_cut_at_the_time_asks_the_same(use: Use) -> None:
    history = small_history()
    time = asked_at(use, history)
    whole, cut = table_at(use, history, time), table_at(use, history.before(time), time)
    np.testing.assert_array_equal(whole.features, cut.features)
    np.testing.assert_array_equal(whole.rule, cut.rule)


@every_use
def test_features_are_finite_named_and_on_small_scales(use: Use) -> None:
    table = table_at(use, small_history(), asked_at(use, small_history()))
    assert len(table) > 0
    assert table.features.shape == (len(table), len(use.columns))
    assert len(set(use.columns)) == len(use.columns)
    assert use.columns[0] == "constant"
    assert (table.features[:, 0] == 1).all()
    assert np.isfinite(table.features).all()
    assert np.isfinite(table.rule).all()
    assert np.abs(table.features).max() < 20


@every_use
def test_labels_are_of_their_kind_and_both_happen(use: Use) -> None:
    history = small_history()
    times = use.occasions(history, FIRST + 100, END - use.label.horizon)
    got = examples(use, history, times, until=END)
    assert np.isfinite(got.label).all()
    assert len(np.unique(got.label)) > 1
    if use.label.kind == "binary":
        assert set(np.unique(got.label)) <= {0.0, 1.0}
    else:
        assert (got.label >= 0).all()


@every_use
def test_a_label_window_that_overlaps_what_comes_next_is_refused(use: Use) -> None:
    if use.label.horizon == 0:
        pytest.skip("its label is known when it is asked")
    history = small_history()
    with pytest.raises(ConfigError, match=f"{use.name}.*overlaps what begins"):
        examples(use, history, [asked_at(use, history)], until=END - use.label.horizon - 40)


@every_use
def test_the_metric_takes_weights_as_repeated_units(use: Use) -> None:
    history = small_history()
    times = [asked_at(use, history)]
    got = examples(use, history, times, until=END)
    rng = np.random.default_rng(2)
    score = got.table.rule + rng.random(len(got))
    units, place = np.unique(got.table.unit, return_inverse=True)
    counts = rng.integers(0, 3, len(units))
    weights = counts[place].astype(np.float64)[None, :]
    rows = [
        np.flatnonzero(place == u) + 0 * copy
        for u in range(len(units))
        for copy in range(counts[u])
    ]
    again = np.concatenate(rows)
    fresh = np.concatenate([np.full(len(r), k) for k, r in enumerate(rows)])
    group = got.table.group if not got.table.group.any() else fresh
    repeated = Scored(
        got.label[again], score[again], group[again] if group is not fresh else fresh, fresh
    )
    plain = Scored(got.label, score, got.table.group, got.table.unit)
    for metric in use.metrics.values():
        expected = metric(repeated, np.ones((1, len(again))))
        assert metric(plain, weights) == pytest.approx(expected)


@every_use
def test_a_shop_without_events_asks_nothing_it_cannot_know(use: Use) -> None:
    history = small_history()
    empty = replace(history, events=Events.build(user=[], item=[], time=[], price=[]))
    if "prices" in use.needs:
        with pytest.raises(ConfigError, match=f"{use.name}.*needs prices"):
            table_at(use, empty, END)
    else:
        assert np.isfinite(table_at(use, empty, END).features).all()


@pytest.mark.parametrize("use", [u for u in ALL if u.needs], ids=lambda u: u.name)
def test_a_use_without_its_columns_says_which(use: Use) -> None:
    history = small_history()
    without = replace(
        history,
        events=replace(history.events, price=np.full_like(history.events.price, np.nan)),
        campaigns=Campaigns(),
        promotions=Promotions(),
    )
    needed = f"needs {' and '.join(use.needs)}, which the data do not have"
    with pytest.raises(ConfigError, match=needed):
        table_at(use, without, END)


def test_an_unknown_use_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"use=churn must be one of .*churn-4w"):
        chosen(("churn",))
