"""The `fedprofile` command: makes sure that the packages it imports are its own, then runs it.

`shared`, `client`, `server` and `simulation` are common names. Where PYTHONPATH leads to a folder
of such a name, Python imports that one, and the command would end in a stack trace about a module
that is missing. This module stands alone so that it can still say what is wrong.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

HOME = Path(__file__).resolve().parent
"""Folder that holds the four packages: the checkout, or site-packages of a wheel."""
PACKAGES = ("shared", "client", "server", "simulation")


def foreign_packages() -> dict[str, str]:
    """Returns name -> place of each package that would be imported from elsewhere."""
    specs = {name: PathFinder.find_spec(name) for name in PACKAGES}
    places = {name: _place(spec) for name, spec in specs.items() if spec is not None}
    return {name: str(place) for name, place in places.items() if place != HOME / name}


def main() -> None:
    """Runs the command line, or says which foreign package stands in its way.

    `fedprofile doctor` runs all the same, on this installation's own packages: it names the remedy.
    """
    foreign = foreign_packages()
    if foreign and sys.argv[1:2] != ["doctor"]:
        name, place = next(iter(foreign.items()))
        sys.stderr.write(
            f"fedprofile: {name}={place} must be {HOME / name}; "
            "`fedprofile doctor` tells what to do\n"
        )
        sys.exit(2)
    if foreign:
        sys.path.insert(0, str(HOME))
    from shared.cli import main as run

    run()


def _place(spec: ModuleSpec) -> Path:
    if spec.origin:
        origin = Path(spec.origin).resolve()
        return origin.parent if origin.name == "__init__.py" else origin
    # A folder without __init__.py: it hides what an editable install's own finder would find,
    # because that finder comes last.
    return Path(next(iter(spec.submodule_search_locations or ("",)))).resolve()


if __name__ == "__main__":
    main()
