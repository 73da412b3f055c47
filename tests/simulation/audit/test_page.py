"""The command, the page and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shared.errors import ConfigError, DataError, FedprofileError, PrivacyError
from shared.settings.run_settings import PrivacySettings, RunSettings
from simulation.audit.checks.subject import subject_of_run, subject_of_settings
from simulation.audit.cli import audit
from simulation.audit.detection_power import single_release
from simulation.audit.fault_detection import with_fault
from simulation.audit.page import audit_html, headline
from simulation.audit.run import run_audit
from tests.simulation.audit.recorded_runs import report


def call(*options: str | Path) -> Result:
    return CliRunner().invoke(audit, [str(option) for option in options])


def run_folder(path: Path, **changes: float | int) -> Path:
    (path / "report.json").write_text(report(**changes).to_json(), encoding="utf-8")
    return path


QUICK = ("--check", "accounts", "--check", "poisson", "--check", "one-run")


def test_a_run_is_audited_with_the_noise_that_it_recorded(tmp_path: Path) -> None:
    out = tmp_path / "out"
    called = call(run_folder(tmp_path), "--json", "--out", out, *QUICK)
    assert called.exit_code == 0, called.output
    content = json.loads(called.stdout)
    assert content == json.loads((out / "audit.json").read_text())
    assert content["passed"] is True
    assert [check["name"] for check in content["checks"]] == ["accounts", "one-run", "poisson"]
    assert content["mechanisms"][0]["noise_multiplier"] == 1.79
    assert content["checks"][0]["finding"].startswith("right by two accountants: 3;")
    assert content["epsilon"] == pytest.approx(7.997, abs=0.02)


def test_a_wrong_record_exits_with_one(tmp_path: Path) -> None:
    called = call(run_folder(tmp_path, epsilon=4.0), "--check", "accounts")
    assert called.exit_code == 1
    assert "FAIL" in called.output
    assert "recorded epsilon=4" in " ".join(called.output.split())
    assert "1 of 1 checks failed: accounts" in called.output


def test_a_fault_in_the_code_exits_with_one() -> None:
    with with_fault("shuffled batches"):
        assert call("--check", "poisson").exit_code == 1
    assert call("--check", "poisson").exit_code == 0


def test_options_change_the_plan(tmp_path: Path) -> None:
    called = call(run_folder(tmp_path), "--epsilon", "4", "--rounds", "2", "--json", *QUICK)
    content = json.loads(called.stdout)
    assert content["mechanisms"][0]["steps"] == 2
    assert content["epsilon"] == pytest.approx(4.0, rel=2e-3)
    assert content["checks"][0]["passed"] is True  # records are those of the run


def test_the_page_says_what_failed_and_loads_nothing() -> None:
    subject = replace(single_release(8.0), one_run_canaries=500)
    with with_fault("noise at a third"):
        result = run_audit(subject, checks=["noise", "one-run", "poisson"])
    page = audit_html(result)
    assert "of 3 checks failed: noise" in headline(result)
    assert f"<h1>{headline(result)}.</h1>" in page
    assert page.count("<svg") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_the_page_of_a_check_that_raised_is_still_written() -> None:
    subject = single_release(8.0)
    broken = subject.plan.model_copy(update={"examples_per_user": -1})
    result = run_audit(replace(subject, plan=broken), checks=["one-user", "one-run"])
    assert not result.check("one-user").passed  # type: ignore[union-attr]
    assert "the audited code raised" in audit_html(result)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read"),
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "is not of report.json version 1"),
        ('{"schema_version": 2}', "is not of report.json version 1"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=text):
        subject_of_run(tmp_path)


def test_what_cannot_be_audited_is_refused() -> None:
    with pytest.raises(PrivacyError, match="epsilon=none leaves nothing to audit"):
        subject_of_settings(RunSettings(privacy=PrivacySettings(epsilon=None)))
    with pytest.raises(ConfigError, match="check=nose is not one of accounts, "):
        run_audit(subject_of_settings(RunSettings()), checks=["nose"])
    for option in (("--epsilon", "0"), ("--delta", "1"), ("--rounds", "0")):
        assert isinstance(call(*option).exception, FedprofileError)
    subject = single_release(8.0)
    silent = subject.plan.model_copy(update={"noise_multiplier": 0.0})
    with pytest.raises(PrivacyError, match="noise_multiplier=0 must be above 0"):
        run_audit(replace(subject, plan=silent))
