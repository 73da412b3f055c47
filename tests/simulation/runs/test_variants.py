"""What a sweep runs, and what it refuses to."""

from __future__ import annotations

import pytest

from shared.errors import ConfigError
from shared.settings.run_settings import EvaluationSettings, PrivacySettings, RunSettings
from simulation.runs.variants import (
    CONTROL,
    Sweep,
    control_of,
    default_jobs,
    parse_epsilons,
    parse_noises,
)

BASE = RunSettings(seed=4)


def names(sweep: Sweep) -> list[str]:
    return [variant.name for variant in sweep.variants(BASE)]


def test_folders_name_the_noise_only_where_there_are_several_kinds() -> None:
    assert names(Sweep((8.0,), ("shared",), 2)) == ["epsilon-8-seed-4", "epsilon-8-seed-5"]
    assert names(Sweep((0.5,), ("shop", "shared"))) == [
        "epsilon-0.5-shop-seed-4",
        "epsilon-0.5-shared-seed-4",
    ]


def test_no_privacy_is_run_once_whatever_the_kinds_of_noise() -> None:
    found = Sweep((1.0, None), ("shop", "shared"), 2).variants(BASE)
    assert [(v.epsilon, v.noise, v.seed) for v in found if v.epsilon is None] == [
        (None, None, 4),
        (None, None, 5),
    ]
    assert len({v.name for v in found}) == len(found) == 6


def test_a_variant_changes_epsilon_noise_and_seed_and_nothing_else() -> None:
    variant = Sweep((1.0,), ("shared",), 1).variants(RunSettings(seed=9))[0]
    found = variant.settings(BASE)
    privacy = PrivacySettings(epsilon=1.0, noise="shared")
    assert found == RunSettings(seed=9, privacy=privacy)


def test_the_control_is_the_sweeps_own_run_without_privacy_where_there_is_one() -> None:
    with_own, without = Sweep((1.0, None), seeds=2), Sweep((1.0,), seeds=2)
    own = control_of(with_own.variants(BASE), BASE)
    assert own is not None
    assert (own.name, own.seed) == ("epsilon-none-seed-4", 4)
    other = control_of(without.variants(BASE), BASE)
    assert other is not None
    assert other.name == CONTROL
    off = RunSettings(seed=4, evaluation=EvaluationSettings(controls=False))
    assert control_of(without.variants(off), off) is None
    assert control_of(Sweep((None,)).variants(BASE), BASE) is None


def test_lists_are_read_in_their_order() -> None:
    assert parse_epsilons("8, 1,None,3.5", no_privacy=False) == (8.0, 1.0, None, 3.5)
    assert parse_noises("Shared, shop") == ("shared", "shop")
    assert parse_noises(None) == parse_epsilons(None, no_privacy=False) == ()


@pytest.mark.parametrize(
    ("epsilons", "noises", "words"),
    [
        ("8,8.0", None, ["epsilon=8,8.0 names", "8 more than once"]),
        ("none,1,none", None, ["epsilon=none,1,none names", "none more than once"]),
        (None, "shop,shop", ["noise=shop,shop names", "shop more than once"]),
        (None, "server", ["noise='server'", "shop or shared"]),
        (None, "shop,", ["noise=''"]),
        ("nan", None, ["epsilon=nan", "above 0"]),
    ],
)
def test_a_value_that_is_unknown_or_given_twice_is_refused_in_one_line(
    epsilons: str | None, noises: str | None, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        (parse_epsilons(epsilons, no_privacy=False), parse_noises(noises))
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(("cores", "jobs"), [(1, 1), (2, 1), (3, 2), (8, 4), (9, 5)])
def test_half_of_the_cores_train_a_run_each(cores: int, jobs: int) -> None:
    assert default_jobs(cores) == jobs
