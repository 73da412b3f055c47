"""Errors that a user can act on.

Every error that is a user's or an operator's to mend derives from `FedprofileError`. It carries its
parts as values: what is wrong (name, value, bound) and what to do (remedy). No text is ever split
again: the command line prints one line in the words of the command that ran and exits with
`exit_code`, the HTTP interface answers with message and remedy apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

_OPTION = re.compile(r"(?<![\w`-])--([a-z][a-z0-9-]*)")
_COMMAND = re.compile(r"`[^`]*`")
_PREDICATE = re.compile(
    r"(must|is|are|was|cannot|has|have|does|do|needs|holds|gives|exists|would|names|comes|runs|belongs"
    r"|ended|leaves)\b"
)
"""A bound that begins so continues "name=value" as one sentence; another follows a colon."""
WITHOUT_OPTION = {
    "out": "folder",
    "resume": "`fedprofile server resume`",
    "data": "the shop's data",
    "dir": "the folder",
}
"""How a remedy names what an option stands for, where it is told by a command without it or over
HTTP. An option that is absent here is called "the setting NAME"."""


@dataclass(frozen=True)
class Remedy:
    """What to do, told in the words of whoever tells it.

    Attributes:
        text: A phrase without a full stop. `--name` stands for an option of the command that ran;
            another command stands whole between backticks.
    """

    text: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the advised options without `--`; those inside whole commands are left out."""
        return tuple(_OPTION.findall(_COMMAND.sub("", self.text)))

    def words(self, options: Collection[str] | None = None) -> str:
        """Returns the advice for a command that has these options.

        Args:
            options: Names without `--`; what is not among them is said in other words. None leaves
                the text as it is.
        """
        if options is None:
            return self.text

        def name_option(match: re.Match[str]) -> str:
            name = match.group(1)
            words = WITHOUT_OPTION.get(name, f"the setting {name.replace('-', '_')}")
            return match.group(0) if name in options else words

        parts = re.split(f"({_COMMAND.pattern})", self.text)
        return "".join(p if p.startswith("`") else _OPTION.sub(name_option, p) for p in parts)


class FedprofileError(Exception):
    """A mistake that the reader of the message can mend.

    Args:
        bound: What must hold, or what went wrong: "must be below 1".
        name: What is wrong: a setting, an option without `--`, a file; "" where the bound says it.
        value: Its value; None where there is none or it must not be shown.
        remedy: What to do.
    """

    exit_code = 2

    def __init__(
        self, bound: str, *, name: str = "", value: object = None, remedy: Remedy | str = ""
    ) -> None:
        super().__init__(bound)
        self.bound = bound
        self.name = name
        self.value = value
        self.remedy = Remedy(remedy) if isinstance(remedy, str) else remedy

    @property
    def message(self) -> str:
        """What is wrong, without the remedy."""
        if not self.name:
            return self.bound
        if self.value is None:
            return f"{self.name}: {self.bound}"
        joint = " " if _PREDICATE.match(self.bound) else ": "
        return f"{self.name}={self.value}{joint}{self.bound}"

    def told(self, options: Collection[str] | None = None) -> str:
        """Returns message and remedy in one line, for a command that has these options."""
        advice = self.remedy.words(options)
        return f"{self.message}; {advice}" if advice else self.message

    def __str__(self) -> str:
        return self.told()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        # Errors cross process borders, where their keyword arguments would be lost.
        value = None if self.value is None else str(self.value)
        return _rebuild, (type(self), self.bound, self.name, value, self.remedy)


Fault = TypeVar("Fault", bound=FedprofileError)


def _rebuild(kind: type[Fault], bound: str, name: str, value: str | None, remedy: Remedy) -> Fault:
    return kind(bound, name=name, value=value, remedy=remedy)


class ConfigError(FedprofileError):
    """A setting is unknown, of the wrong type or out of its bounds."""


class DataError(FedprofileError):
    """A file or table cannot be used: says file, row, column, what was expected, what to do."""


class ModelError(FedprofileError):
    """An encoder, base model or adapter is missing, incomplete or does not fit."""


class PrivacyError(FedprofileError):
    """A guarantee cannot be met, or a mechanism is not known to the accountant."""


class RunError(FedprofileError):
    """A run cannot start, go on or be resumed."""

    exit_code = 1


class StorageError(RunError):
    """A file or folder cannot be written; what was there is untouched."""

    exit_code = 2


class RunExistsError(RunError):
    """The run folder is there already; nothing in it was touched."""

    exit_code = 2
