"""What a sweep runs: every epsilon, kind of noise and seed, each under its own name."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from shared.config import PrivacySettings, RunSettings
from shared.errors import ConfigError

Noise = Literal["shop", "shared"]
"""Who adds the noise; see `PrivacySettings.noise`."""
NOISES: tuple[Noise, ...] = get_args(PrivacySettings.model_fields["noise"].annotation)
CONTROL = "control"
"""Name of the model that is trained without privacy, for the row `fused-non-private`."""
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Variant:
    """One run of a sweep.

    Attributes:
        epsilon: Total epsilon of a shop; None trains without privacy.
        noise: Who adds the noise; None without privacy.
        seed: Seed of everything random in its training.
        name: Name of its folder.
    """

    epsilon: float | None
    noise: Noise | None
    seed: int
    name: str

    def settings(self, base: RunSettings) -> RunSettings:
        """Returns the settings of this variant."""
        changed = {"epsilon": self.epsilon, "noise": self.noise or base.privacy.noise}
        privacy = base.privacy.model_copy(update=changed)
        return base.model_copy(update={"privacy": privacy, "seed": self.seed})


def expand(
    *, epsilons: Sequence[float | None], noises: Sequence[Noise], seeds: Sequence[int]
) -> tuple[Variant, ...]:
    """Lists the variants in order of epsilon, noise and seed.

    Args:
        epsilons: Budgets; None is no privacy, which has no noise and is run once a seed.
        noises: Kinds of noise; the folders name them where there are several.
        seeds: Seeds of each.
    """
    found = []
    for epsilon in epsilons:
        kinds: Sequence[Noise | None] = [None] if epsilon is None else noises
        for noise in kinds:
            budget = "none" if epsilon is None else f"{epsilon:g}"
            shown = f"-{noise}" if noise is not None and len(noises) > 1 else ""
            found += [
                Variant(epsilon, noise, seed, f"epsilon-{budget}{shown}-seed-{seed}")
                for seed in seeds
            ]
    return tuple(found)


@dataclass(frozen=True)
class Sweep:
    """What is run on one data set.

    Attributes:
        epsilons: One or several; None is no privacy.
        noises: Kinds of noise of each epsilon.
        seeds: Seeds of each, counted from that of the settings.
    """

    epsilons: tuple[float | None, ...]
    noises: tuple[Noise, ...] = ("shop",)
    seeds: int = 1

    def variants(self, settings: RunSettings) -> tuple[Variant, ...]:
        """Lists the runs in order of epsilon, noise and seed."""
        seeds = range(settings.seed, settings.seed + self.seeds)
        return expand(epsilons=self.epsilons, noises=self.noises, seeds=seeds)

    def identity(self, settings: RunSettings) -> dict[str, Any]:
        """Returns plain values of all that decides the result."""
        return {
            "settings": settings.model_dump(mode="json"),
            "epsilons": list(self.epsilons),
            "noises": list(self.noises),
            "seeds": self.seeds,
        }


def control_of(variants: Sequence[Variant], base: RunSettings) -> Variant | None:
    """Returns the run without privacy that the private ones are compared with.

    Returns:
        The sweep's own run of the first seed where it has one, else one under the name `CONTROL`;
        None where no variant is private or the settings want no controls.
    """
    if not base.evaluation.controls or all(v.epsilon is None for v in variants):
        return None
    own = (v for v in variants if v.epsilon is None and v.seed == base.seed)
    return next(own, Variant(None, None, base.seed, CONTROL))


def default_jobs(cores: int) -> int:
    """Returns how many runs train at once where nothing was said: one for two cores."""
    return max(1, (cores + 1) // 2)


def parse_epsilons(text: str | None, *, no_privacy: bool) -> tuple[float | None, ...]:
    """Reads `8`, `none` or `1,3,8,none`; empty where nothing was said.

    Raises:
        ConfigError: An entry is no positive number or is given twice, or `--no-privacy` is given
            too.
    """
    if text is None:
        return (None,) if no_privacy else ()
    if no_privacy:
        raise ConfigError(f"--epsilon {text} and --no-privacy exclude each other; give one")
    return _once("--epsilon", [_epsilon(entry) for entry in text.split(",")])


def parse_noises(text: str | None) -> tuple[Noise, ...]:
    """Reads `shop`, `shared` or `shop,shared`; empty where nothing was said.

    Raises:
        ConfigError: An entry is unknown or is given twice.
    """
    if text is None:
        return ()
    entries = [entry.strip().lower() for entry in text.split(",")]
    for entry in entries:
        if entry not in NOISES:
            raise ConfigError(f"--noise {entry!r}: must be {' or '.join(NOISES)}, or shop,shared")
    return _once("--noise", cast("list[Noise]", entries))


def _epsilon(entry: str) -> float | None:
    try:
        value = None if entry.strip().lower() == "none" else float(entry)
    except ValueError:
        raise ConfigError(
            f"--epsilon {entry!r}: must be a positive number or none; for example 1,3,8,none"
        ) from None
    if value is not None and not 0 < value < float("inf"):
        raise ConfigError(
            f"--epsilon {entry.strip()}: must be above 0; 1 to 8 is usual, none is no privacy"
        )
    return value


def _once(option: str, values: Sequence[T]) -> tuple[T, ...]:
    """Refuses a value that is given twice: its runs would share a folder."""
    for i, value in enumerate(values):
        if value in values[:i]:
            shown = "none" if value is None else f"{value:g}" if isinstance(value, float) else value
            raise ConfigError(f"{option} names {shown} more than once; name each value once")
    return tuple(values)
