"""What a simulation runs.

Every epsilon, kind of noise and seed under a name of its own, and the sizes of new shops.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from shared.errors import ConfigError
from shared.settings.run_settings import RunSettings
from simulation.reporting.records import NOISES, Noise

if TYPE_CHECKING:
    from shared.interactions.events import Dataset


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
    variants = []
    for epsilon in epsilons:
        kinds: Sequence[Noise | None] = [None] if epsilon is None else noises
        for noise in kinds:
            budget = "none" if epsilon is None else f"{epsilon:g}"
            shown = f"-{noise}" if noise is not None and len(noises) > 1 else ""
            variants += [
                Variant(epsilon, noise, seed, f"epsilon-{budget}{shown}-seed-{seed}")
                for seed in seeds
            ]
    return tuple(variants)


@dataclass(frozen=True)
class Sweep:
    """What is run on one data set.

    Attributes:
        epsilons: One or several; None is no privacy.
        noises: Kinds of noise of each epsilon; empty takes what the number of shops allows.
        seeds: Seeds of each, counted from that of the settings.
    """

    epsilons: tuple[float | None, ...]
    noises: tuple[Noise, ...] = ()
    seeds: int = 1

    def resolved(self, settings: RunSettings) -> Sweep:
        """Returns the same with the kind of noise that the settings have by now."""
        noise = settings.privacy.noise
        return self if self.noises or noise is None else replace(self, noises=(noise,))

    def variants(self, settings: RunSettings) -> tuple[Variant, ...]:
        """Lists the runs in order of epsilon, noise and seed."""
        seeds = range(settings.seed, settings.seed + self.seeds)
        return expand(epsilons=self.epsilons, noises=self.noises or ("shop",), seeds=seeds)

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
        ConfigError: An entry is no positive number or stands there twice, or `no_privacy` is set
            too.
    """
    if text is None:
        return (None,) if no_privacy else ()
    if no_privacy:
        raise ConfigError(
            "and no_privacy exclude each other",
            name="epsilon",
            value=text,
            remedy="leave out --epsilon or --no-privacy",
        )
    return _once([_epsilon(entry) for entry in text.split(",")], name="epsilon", text=text)


def parse_noises(text: str | None) -> tuple[Noise, ...]:
    """Reads `shop`, `shared` or `shop,shared`; empty where nothing was said.

    Raises:
        ConfigError: An entry is unknown or stands there twice.
    """
    if text is None:
        return ()
    entries = [entry.strip().lower() for entry in text.split(",")]
    for entry in entries:
        if entry not in NOISES:
            raise ConfigError(
                f"must be {' or '.join(NOISES)}",
                name="noise",
                value=f"{entry!r}",
                remedy="choose one, or measure both with --noise shop,shared",
            )
    return _once(cast("list[Noise]", entries), name="noise", text=text)


def _epsilon(entry: str) -> float | None:
    try:
        value = None if entry.strip().lower() == "none" else float(entry)
    except ValueError:
        raise ConfigError(
            "must be a positive number or none",
            name="epsilon",
            value=f"{entry!r}",
            remedy="for example 1,3,8,none",
        ) from None
    if value is not None and not 0 < value < float("inf"):
        raise ConfigError(
            "must be above 0",
            name="epsilon",
            value=entry.strip(),
            remedy="1 to 8 is usual, none is no privacy",
        )
    return value


def _once(values: Sequence[T], *, name: str, text: str) -> tuple[T, ...]:
    """Refuses a value that is named twice: its runs would share a folder."""
    for i, value in enumerate(values):
        if value in values[:i]:
            shown = "none" if value is None else f"{value:g}" if isinstance(value, float) else value
            shown = shown.name if isinstance(shown, CurveSize) else shown
            raise ConfigError(
                f"names {shown} more than once",
                name=name,
                value=text,
                remedy="name each value once",
            )
    return tuple(values)


@dataclass(frozen=True)
class SeedGroup:
    """The runs that differ in nothing but their seed.

    Attributes:
        epsilon: Total epsilon of a shop; None without privacy.
        noise: Who adds the noise; None without privacy.
        seeds: (seed, name of the model) of each run.
    """

    epsilon: float | None
    noise: Noise | None
    seeds: tuple[tuple[int, str], ...]

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return [name for _, name in self.seeds]


def groups_of(variants: Sequence[Variant]) -> list[SeedGroup]:
    """Groups seeds, in order of noise and epsilon; without privacy last."""
    groups: dict[SeedGroup, None] = {}
    for variant in variants:
        seeds = tuple(
            (v.seed, v.name)
            for v in variants
            if (v.epsilon, v.noise) == (variant.epsilon, variant.noise)
        )
        groups[SeedGroup(variant.epsilon, variant.noise, seeds)] = None
    kinds = list(dict.fromkeys(v.noise for v in variants))
    return sorted(groups, key=lambda g: (g.epsilon is None, kinds.index(g.noise), g.epsilon or 0.0))


EXAMPLE = "for example 0,15,60,200"


def parse_sizes(text: str) -> tuple[int, ...]:
    """Reads `0,15,60,200`; the order does not matter.

    Raises:
        ConfigError: An entry is no whole number of at least 0, or stands there twice.
    """
    sizes: list[int] = []
    for entry in (part.strip() for part in text.split(",")):
        if not (entry.isascii() and entry.isdigit()):
            raise ConfigError(
                "must be a whole number of users, 0 or more",
                name="new_shops",
                value=f"{entry!r}",
                remedy=EXAMPLE,
            )
        if int(entry) in sizes:
            raise ConfigError(
                f"{int(entry)} is named twice", name="new_shops", value=text, remedy="name it once"
            )
        sizes.append(int(entry))
    return tuple(sorted(sizes))


def check_new_shops(settings: RunSettings, dataset: Dataset) -> None:
    """Refuses what cannot be measured in this data, before anything is trained.

    Raises:
        ConfigError: Too few shops remain where one is left out, or no shop has so many users.
    """
    sizes, remaining = settings.evaluation.new_shops, len(dataset.shops) - 1
    if not sizes:
        return
    least = settings.federation.min_replies
    if remaining < least:
        raise ConfigError(
            f"{remaining} shops remain where one is left out, needs min_replies={least}",
            name="new_shops",
            value=sizes[0],
            remedy="take data with more shops, or lower it with --set federation.min_replies=1",
        )
    settings.federation.check_robust(remaining)
    largest = max(shop.n_users for shop in dataset.shops)
    if sizes[-1] > largest:
        raise ConfigError(
            f"must be at most the users of the largest shop, {largest}",
            name="new_shops",
            value=sizes[-1],
            remedy="lower it",
        )


LEAST_SHOPS = 8
"""Shops from which on a single run holds some out: of fewer, one is too much of the federation."""


def newcomers(settings: RunSettings, dataset: Dataset, variants: Sequence[Variant]) -> list[int]:
    """Numbers the shops that a single run holds out in turn without being asked.

    Returns:
        `settings.evaluation.newcomers` shops, small, middling and large alike; none where new shops
        were asked for, in a sweep, without privacy, or where there are few shops.
    """
    wanted, evaluation = settings.evaluation.newcomers, settings.evaluation
    if evaluation.new_shops or len(variants) > 1 or variants[0].epsilon is None or not wanted:
        return []
    if len(dataset.shops) < max(LEAST_SHOPS, settings.federation.min_replies + 1):
        return []
    by_size = sorted(range(len(dataset.shops)), key=lambda i: dataset.shops[i].n_users)
    wanted = min(wanted, len(by_size))
    return sorted(by_size[(2 * i + 1) * len(by_size) // (2 * wanted)] for i in range(wanted))


@dataclass(frozen=True)
class CurveSize:
    """Users and shops of one point of a users curve.

    Attributes:
        users: Of all shops together.
        shops: Shops at random among which they are dealt; None for the shops of the data.
    """

    users: int
    shops: int | None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"users-{self.users}" + ("" if self.shops is None else f"-shops-{self.shops}")

    def settings(self, settings: RunSettings) -> RunSettings:
        """Returns the settings of this size."""
        change: dict[str, object] = {"max_users": self.users}
        if self.shops is not None:
            change["shops"] = f"virtual:{self.shops}"
        data = settings.data.model_copy(update=change)
        return settings.model_copy(update={"data": data})


def parse_users_curve(text: str) -> tuple[CurveSize, ...]:
    """Reads `2000,8000,22000x32`: users, and shops at random where they are named.

    Raises:
        ConfigError: An entry is no number above 0 of users or of users x shops, or stands there
            twice.
    """
    sizes = []
    for entry in (part.strip() for part in text.split(",")):
        parts = entry.split("x")
        if len(parts) > 2 or not all(p.isascii() and p.isdigit() and int(p) > 0 for p in parts):
            raise ConfigError(
                "must be users, or users x shops, as whole numbers above 0",
                name="users_curve",
                value=f"{entry!r}",
                remedy="for example 2000,8000,22000 or 8000x8,8000x32",
            )
        sizes.append(CurveSize(int(parts[0]), int(parts[1]) if len(parts) == 2 else None))
    return _once(sizes, name="users_curve", text=text)
