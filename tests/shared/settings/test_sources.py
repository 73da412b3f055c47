"""Three sources of settings, later ones win; mistakes are one line with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings.sources import assignments, load_settings


def test_file_then_environment_then_command_line(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 5\n[training]\nrounds = 3\nlocal_steps = 2\n[privacy]\nepsilon = 2\n")
    found = load_settings(
        file=file,
        environment={
            "FEDPROFILE_TRAINING__ROUNDS": "4",
            "FEDPROFILE_PRIVACY__EPSILON": "none",
            "FEDPROFILE_CACHE": "/elsewhere",
            "PATH": "/bin",
        },
        options={"training.local_steps": 9},
    )
    assert (found.seed, found.training.rounds, found.training.local_steps) == (5, 4, 9)
    assert found.privacy.epsilon is None
    assert found.federation.robust == "none"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"privacy.epsilon": 0}, ["privacy.epsilon=0", "greater than 0"]),
        ({"privacy.delta": 2}, ["privacy.delta=2", "less than 1"]),
        ({"training.ronds": 2}, ["training.ronds", "unknown", "rounds"]),
        ({"model.rank": "many"}, ["model.rank='many'", "integer"]),
        ({"federation.robust": "median", "federation.robust.x": 1}, ["robust is a value"]),
    ],
)
def test_mistakes_name_setting_value_and_bound(
    options: dict[str, object], parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(file=None, environment={}, options=options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "run.toml"
    broken.write_text("seed = \n")
    for file, part in ((broken, "not TOML"), (tmp_path / "absent.toml", "cannot be read")):
        with pytest.raises(ConfigError, match=part):
            load_settings(file=file, environment={}, options={})


def test_assignments() -> None:
    assert assignments(["a.b=1", "c = x=y"]) == {"a.b": "1", "c": "x=y"}
    with pytest.raises(ConfigError, match="name=value"):
        assignments(["a.b"])
