"""All uses by name: every module of `shared.uses.definitions` adds its own."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from shared.errors import ConfigError
from shared.uses import definitions
from shared.uses.interface import Use


@lru_cache(maxsize=1)
def uses() -> dict[str, Use]:
    """Returns every use by its name, in the order of names of their files."""
    named: dict[str, Use] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(definitions.__path__)):
        for use in importlib.import_module(f"{definitions.__name__}.{module}").USES:
            named[use.name] = use
    return named


def chosen(names: tuple[str, ...]) -> list[Use]:
    """Returns the uses of these names, all of them for none.

    Raises:
        ConfigError: A name is unknown.
    """
    known = uses()
    for name in names:
        if name not in known:
            raise ConfigError(
                f"must be one of {', '.join(known)}",
                name="use",
                value=name,
                remedy="see `fedprofile uses list`",
            )
    return [known[name] for name in names or known]
