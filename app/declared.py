"""What the modules of a package declare, one in each, found by the module's name: agents, jobs, recipes."""

import importlib
import pkgutil
from typing import TypeVar

from app.errors import ConfigurationError

T = TypeVar("T")


def find(package: str, name: str, kind: type[T], attribute: str) -> T:
    """What module `name` of the package declares as `attribute`. Raises `ConfigurationError` that lists what there is."""
    what = kind.__name__.lower()
    if name not in names(package):
        raise ConfigurationError(f"no {what} {name!r}; there are: {', '.join(names(package))}")
    found = getattr(importlib.import_module(f"{package}.{name}"), attribute, None)
    if not isinstance(found, kind):
        raise ConfigurationError(f"{package.replace('.', '/')}/{name}.py declares no {what} `{attribute}`")
    return found


def names(package: str) -> list[str]:
    """The modules of the package that do not begin with `_`, without loading any."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(each.name for each in modules if not each.name.startswith("_") and not each.ispkg)
