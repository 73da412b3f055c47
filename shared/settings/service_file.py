"""Settings of a service in TOML, with a version: another version is refused, never guessed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import ValidationError

from shared.errors import ConfigError
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import Settings

FILE_VERSION = 1
"""Version of `server.toml`, `node.toml` and the invitation."""

Model = TypeVar("Model", bound=Settings)


def read_settings(path: Path, model: type[Model], *, made_by: str) -> Model:
    """Reads a settings file.

    Args:
        path: TOML with a `version`.
        model: What it must hold.
        made_by: The command that makes such a file.

    Raises:
        ConfigError: Missing, not TOML, of another version, or a value out of its bounds.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "does not exist", name="config", value=path, remedy=f"make it with {made_by}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot be read ({error})", name="config", value=path, remedy="mend that line"
        ) from error
    check_version(values, what=f"config={path}", made_by=made_by)
    return validate_settings(values, model, what=f"config={path}")


def check_version(values: dict[str, Any], *, what: str, made_by: str) -> None:
    """Takes `version` out of the values.

    Raises:
        ConfigError: It is another version.
    """
    version = values.pop("version", None)
    if version != FILE_VERSION:
        raise ConfigError(
            f"{what}: version={version} must be {FILE_VERSION}",
            remedy=f"make it anew with {made_by}, or install the fedprofile that wrote it",
        )


def validate_settings(values: Any, model: type[Model], *, what: str) -> Model:
    """Checks plain values.

    Raises:
        ConfigError: The first thing that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        value = "" if isinstance(first["input"], dict) else f"={first['input']!r}"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{what}: {name}{value}: {message[:1].lower()}{message[1:]}", remedy="change it"
        ) from None


def write_settings(path: Path, settings: Settings) -> None:
    """Writes a settings file for its owner alone; what is None is left out.

    Raises:
        StorageError: The disk refused.
    """
    values = {"version": FILE_VERSION} | settings.model_dump(mode="json", exclude_none=True)
    write_atomic(path, tomli_w.dumps(values).encode(), durable=True, private=True)
