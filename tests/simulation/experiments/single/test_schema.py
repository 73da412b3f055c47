from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from server.federation.federated_run import Refusal, RoundInfo
from shared.privacy.accounting.accountants import guarantee
from shared.privacy.accounting.guarantee import Mechanism
from simulation.experiments.single.findings import guarantee_text, privacy_line
from simulation.experiments.single.schema import Report, Round, ShopPrivacy
from simulation.experiments.single.schema_docs import describe, updated
from simulation.reporting.records import SURFACES
from tests import ROOT
from tests.simulation.experiments.single.sample_reports import LEVELS, MEASURED, paid, sample_report


def as_json(report: Report) -> dict:
    return json.loads(report.to_json())


def test_the_documentation_lists_every_key_as_the_schema_has_it() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    assert updated(page) == page, "run `python -m simulation.experiments.single.schema_docs`"
    for key in Report.model_fields:
        assert f"| `{key}` |" in describe()


def test_every_key_is_documented_with_a_meaning() -> None:
    rows = [line for line in describe().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.split(" | ")[2].strip(" |") == ""] == []


def test_a_report_survives_json() -> None:
    report = sample_report()
    assert Report.model_validate_json(report.to_json()) == report


def test_json_has_the_keys_that_scripts_rely_on() -> None:
    found = as_json(sample_report(shops=2))
    shop = found["privacy"]["r19-01"]
    assert {"epsilon", "delta", "unit", "adjacency", "accountant", "epsilon_check"} <= set(shop)
    assert (shop["noise_multiplier"], shop["sample_rate"], shop["steps"]) == (
        pytest.approx(1.5538, abs=1e-4),
        1.0,
        8,
    )
    assert set(found["metrics"]) == {*LEVELS, "shops"}
    assert set(found["metrics"]["tail"]) == {*MEASURED, "placebo"}
    assert set(found["metrics"]["tail"]["fused"]["ndcg@10"]) == {"mean", "low", "high"}
    assert set(found["metrics"]["shops"]["r19-02"]["basket"]) == {*MEASURED, "placebo"}
    assert found["schema_version"] == 1


def test_the_training_mechanism_is_reported_and_not_the_counts() -> None:
    shop = paid(1.0)
    assert (shop.noise_multiplier, shop.steps) == (9.1, 8)
    assert [m.name for m in shop.mechanisms] == ["item-counts", "dp-sgd", "pair-sums"]


def test_a_run_without_privacy_has_null_where_a_guarantee_would_stand() -> None:
    found = as_json(sample_report(epsilon=None))["privacy"]["r19-01"]
    assert found["epsilon"] is None
    assert found["accountant"] is None
    assert (found["noise_multiplier"], found["mechanisms"]) == (0.0, [])
    assert ShopPrivacy.none(sample_rate=0.5, steps=3).steps == 3


def test_a_round_is_built_from_what_the_server_says() -> None:
    info = RoundInfo(
        round=2,
        asked=3,
        good=2,
        refused=1,
        update_norm=0.5,
        bytes_down=30,
        bytes_up=20,
        seconds=1.5,
    )
    refusals = [Refusal(1, "a", "keys", "-"), Refusal(2, "b", "non-finite", "-")]
    assert Round.of(info, refusals).model_dump(mode="json") == {
        "round": 2, "kind": "train", "update_norm": 0.5, "replies": 2, "seconds": 1.5,
        "bytes_down": 30, "bytes_up": 20, "refused": [{"shop": "b", "code": "non-finite"}],
    }  # fmt: skip


def test_the_two_requests_of_round_zero_are_told_apart() -> None:
    counts = RoundInfo(0, 3, 2, 1, 0.5, 30, 20, 1.5, "counts")
    refusals = [Refusal(0, "a", "keys", "-", "counts"), Refusal(0, "b", "shape", "-", "pairs")]
    for info, shop in ((counts, "a"), (replace(counts, kind="pairs"), "b")):
        found = Round.of(info, refusals)
        assert (found.round, found.kind) == (0, info.kind)
        assert [r.shop for r in found.refused] == [shop]


def test_a_shop_that_trains_nothing_has_no_steps() -> None:
    statistics = (
        Mechanism("item-counts", 3.0, 1.0, 1, 1.0),
        Mechanism("pair-sums", 2.0, 1.0, 1, 1),
    )
    shop = ShopPrivacy.paid(guarantee(statistics, delta=1e-5))
    assert (shop.noise_multiplier, shop.sample_rate, shop.steps) == (0.0, 1.0, 0)
    assert shop.collusion == ()
    assert ShopPrivacy.none(sample_rate=1.0, steps=0).steps == 0


def test_shared_noise_is_stated_with_what_collusion_would_cost() -> None:
    shared = (Mechanism("dp-sgd", 3.0, 1.0, 4, 0.01, 8), Mechanism("pair-sums", 2.0, 1.0, 1, 1, 8))
    shop = ShopPrivacy.paid(guarantee(shared, delta=1e-5))
    assert [row.shops for row in shop.collusion] == [0, 1, 3, 7]
    assert shop.collusion[0].epsilon == shop.epsilon
    assert {m.shared_by for m in shop.mechanisms} == {8}
    words = guarantee_text({"a": shop}, seed=1)
    assert "it assumes secure aggregation" in words
    assert f"epsilon is {shop.collusion[1].epsilon:.2f} with 1" in words
    assert "adds the full noise itself" not in words
    assert "noise shared, 1/8 in each shop" in privacy_line({"a": shop})


def break_unknown_key(found: dict) -> None:
    found["privacy"]["r19-01"]["secret"] = 1


def break_nan(found: dict) -> None:
    found["metrics"]["tail"]["fused"]["ndcg@10"]["mean"] = float("nan")


def break_surface(found: dict) -> None:
    found["metrics"]["front-page"] = found["metrics"]["tail"]


def break_shop_surface(found: dict) -> None:
    found["metrics"]["shops"]["r19-01"]["front-page"] = {}


def break_version(found: dict) -> None:
    found["schema_version"] = 2


def break_comparison(found: dict) -> None:
    del found["metrics"]["tail"]["best-local"]


def break_metric(found: dict) -> None:
    found["metrics"]["tail"]["fused"]["ndcg@10"] = 0.5


@pytest.mark.parametrize(
    "damage",
    [
        break_unknown_key,
        break_nan,
        break_surface,
        break_shop_surface,
        break_version,
        break_comparison,
        break_metric,
    ],
)
def test_a_report_of_another_form_is_refused(damage) -> None:
    found = as_json(sample_report(shops=2))
    damage(found)
    with pytest.raises(ValidationError):
        Report.model_validate(found)


def test_surfaces_come_in_the_order_of_reports() -> None:
    found = as_json(sample_report(shops=2))
    found["metrics"] = dict(sorted(found["metrics"].items()))
    order = tuple(name for name in SURFACES if name in LEVELS)
    assert tuple(Report.model_validate(found).metrics.surfaces) == order
