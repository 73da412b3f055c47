from __future__ import annotations

import json

import pytest

from simulation.experiments.single.schema import Report
from simulation.experiments.single.tables import (
    fusion_table,
    key_figures,
    privacy_table,
    result_table,
    round_table,
    shop_table,
)
from simulation.reporting.records import Interval, duration, plain
from tests.simulation.experiments.single.sample_reports import interval, sample_report


def methods(**means: float) -> dict[str, dict[str, Interval]]:
    return {
        name.replace("_", "-"): {"ndcg@10": Interval.model_validate(interval(mean, 0.01))}
        for name, mean in means.items()
    }


def test_the_best_is_what_a_shop_can_have_and_no_reference() -> None:
    table = result_table(methods(pooled=0.9, fused=0.5, ease=0.5, popularity=0.4))
    assert [row.method for row in table.rows] == ["popularity", "ease", "fused", "pooled"]
    assert [row.cells[0].best for row in table.rows] == [False, True, True, False]
    assert [row.kind for row in table.rows] == ["", "", "own", "reference"]


def test_a_reference_that_ties_with_the_best_is_not_marked() -> None:
    table = result_table(methods(pooled=0.5, fused=0.5))
    assert [row.cells[0].best for row in table.rows] == [True, False]


def test_intervals_stand_next_to_what_is_ranked() -> None:
    cell = result_table(methods(fused=0.25)).rows[0].cells[0]
    assert (cell.mean, cell.interval) == ("0.2500", "0.2400–0.2600")


def test_a_metric_that_one_method_lacks_leaves_a_gap() -> None:
    found = methods(fused=0.25, ease=0.2)
    found["fused"]["hr@10"] = Interval(mean=0.5, low=0.4, high=0.6)
    table = result_table(found)
    assert table.metrics == ("ndcg@10", "hr@10")
    assert [row.cells[1].mean for row in table.rows] == ["", "0.5000"]


def with_fusion(report: Report, fusion: dict) -> Report:
    return Report.model_validate({**json.loads(report.to_json()), "fusion": fusion})


def test_fusion_shares_are_means_over_the_shops_that_have_the_surface() -> None:
    weights = {
        "a": {"tail": {"fused": {"ease": 3.0, "global": 1.0}, "best-local": {"ease": 1.0}}},
        "b": {"tail": {"fused": {"ease": 1.0, "global": 0.0}}},
        "c": {"tail": {"fused": {"ease": 0.0}}},
        "d": {"basket": {"fused": {"global": 2.0}}},
    }
    table = fusion_table(with_fusion(sample_report(shops=2), weights))
    # ease: (3/4 + 1 + 0) / 3; global: (1/4 + 0 + absent) / 3
    assert table["ease"] == {"Tail": "58% (2)"}
    assert table["global"] == {"Tail": "8% (1)", "Basket": "100% (1)"}


def test_shop_table_gives_fused_and_its_gain() -> None:
    report = sample_report(shops=3)
    fused = report.metrics.shops["r19-02"]["tail"]["fused"]["ndcg@10"].mean
    gain = report.comparison["tail"].shops["r19-02"].mean
    cell = shop_table(report)["r19-02"]["Tail"]
    assert cell == f"{fused:.4f} ({gain:+.4f})".replace("(-", "(\N{MINUS SIGN}")


def test_privacy_and_rounds_are_laid_out_by_shop_and_round() -> None:
    report = sample_report(shops=2)
    assert privacy_table(report)["r19-01"]["epsilon"] == "8.000"
    assert privacy_table(sample_report(epsilon=None, shops=2))["r19-01"]["epsilon"] == "none"
    rows = round_table(report.training["private"])
    assert rows["3"]["refused"] == "r19-01: not-finite"
    assert list(rows)[:3] == ["0 (item counts)", "0 (co-purchase pairs)", "1"]
    assert float(privacy_table(report)["r19-01"]["noise of pairs"]) == pytest.approx(
        0.939, abs=1e-3
    )
    assert (rows["3"]["replies"], rows["4"]["replies"], rows["4"]["MB up"]) == ("1", "2", "0.25")


def test_key_figures_add_up() -> None:
    figures = {label: (value, note) for label, value, note in key_figures(sample_report(shops=2))}
    assert figures["Epsilon"] == ("8.00", "delta 1e-5")
    assert figures["Shops"][0] == "2"
    assert figures["Rounds"] == ("8", "0.9 s each, 6.0 MB in all")  # 8 * 2 * 0.375 MB
    assert figures["Time"] == ("70 s", "1.8 GB memory")  # 3.2 + 41.0 + 7.9 + 18.4 = 70.5
    assert key_figures(sample_report(epsilon=None, shops=2))[0][1] == "none"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119.4, "119 s"), (120.0, "2 min 00 s"), (250, "4 min 10 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_values() -> None:
    values = [None, True, 1234567, 0.1234567891, 1e-5, [], ["a", 2], "text"]
    assert [plain(v) for v in values] == [
        "–", "yes", "1,234,567", "0.123457", "1e-5", "–", "a, 2", "text",
    ]  # fmt: skip
