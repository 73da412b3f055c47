"""Settings from a TOML file, then the environment, then the command line; later ones win."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import ConfigError
from shared.settings.run_settings import RunSettings

PREFIX = "FEDPROFILE_"
RESERVED = {"FEDPROFILE_CACHE"}
"""Environment variables of ours that are no settings."""


def load_settings(
    *,
    file: Path | None,
    environment: Mapping[str, str],
    options: Mapping[str, Any],
) -> RunSettings:
    """Merges the three sources and checks the result.

    Args:
        file: TOML with the tables of `RunSettings`, or None.
        environment: `FEDPROFILE_PRIVACY__EPSILON=3` sets `privacy.epsilon`; other names are left.
        options: Dotted names to values, such as `{"privacy.epsilon": 3}`.

    Raises:
        ConfigError: A key is unknown or a value out of its bounds.
    """
    merged: dict[str, Any] = _read(file) if file else {}
    # Not by pydantic-settings: it passes over a variable whose first name is no field, so that a
    # misspelt FEDPROFILE_PRIVCY__EPSILON would train with the default.
    for name, text in environment.items():
        if name.startswith(PREFIX) and name not in RESERVED:
            _put(merged, name[len(PREFIX) :].lower().split("__"), text)
    for dotted, value in options.items():
        _put(merged, dotted.split("."), value)
    return check_settings(merged)


def check_settings(values: Mapping[str, Any]) -> RunSettings:
    """Checks nested plain values.

    Raises:
        ConfigError: The first thing that is wrong, with its name, value and bound.
    """
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{name}: unknown setting", remedy=f"{_known(first['loc'])}"
            ) from None
        if not first["loc"]:  # a rule between settings, which names them itself
            raise ConfigError(_lower(first["msg"]), remedy="change one of them") from None
        value = "" if isinstance(first["input"], Mapping) else f"={first['input']!r}"
        raise ConfigError(f"{name}{value}: {_lower(first['msg'])}", remedy="change it") from None


def assignments(texts: Iterable[str]) -> dict[str, str]:
    """Reads `name=value` texts.

    Raises:
        ConfigError: One has no `=`.
    """
    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(
                "must be name=value",
                name="set",
                value=text,
                remedy="for example --set training.rounds=4",
            )
        values[name.strip()] = value.strip()
    return values


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", name="config", value=file, remedy="check its path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"not TOML ({error})", name="config", value=file, remedy="mend that line"
        ) from error


def _put(into: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        child = into.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f"{'.'.join(names)}: {name} is a value, not a table", remedy="change it"
            )
        into = child
    none = isinstance(value, str) and value.lower() == "none"
    into[names[-1]] = None if none and names[-1] not in ("robust", "server_optimizer") else value


def _known(location: tuple[int | str, ...]) -> str:
    model: Any = RunSettings
    for part in location[:-1]:
        model = model.model_fields[str(part)].annotation
    return f"known are {', '.join(model.model_fields)}"


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
