"""Errors that a user can act on.

Every error that is a user's or an operator's to mend derives from `FedprofileError`; the command
line prints its one line and exits with `exit_code`, never with a stack trace.
"""

from __future__ import annotations


class FedprofileError(Exception):
    """A mistake that the reader of the message can mend: name, value, bound and remedy."""

    exit_code = 2


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
