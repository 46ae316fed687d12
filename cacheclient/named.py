"""Functions of an application that a text names, such as in a plan file or on a command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from cacheclient.errors import ConfigurationError


def function_named(name: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names; modules in the working directory are found, too.

    Raises:
        ConfigurationError: if there is none.
    """
    module, _, attribute = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{name}: {error}") from error
    if not callable(found):
        raise ConfigurationError(f"{name}: a function, not {type(found).__name__}")
    made: Callable[..., Any] = found
    return made
