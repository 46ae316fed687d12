"""What the docstring of a class says of each of its attributes: the section ``Attributes:``, as the code has it."""

from __future__ import annotations

import inspect
import re
from typing import Final

_ENTRY: Final = re.compile(r"^    (\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def of(cls: type) -> dict[str, str]:
    """Return the text of each attribute by its name; what a class says wins over what its parents say."""
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        _, _, section = inspect.cleandoc(parent.__dict__.get("__doc__") or "").partition("\nAttributes:\n")
        for name, text in _ENTRY.findall(section.partition("\n\n")[0]):
            found[name] = " ".join(text.split())
    return found


def summary(cls: type) -> str:
    """Return what its docstring says before the attributes."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")[0]
    return markdown(text.strip())


def markdown(text: str) -> str:
    """Return the text of a docstring with Markdown's code marks."""
    return text.replace("``", "`")


def cell(text: str) -> str:
    """Return a text as it may stand in a table."""
    return markdown(text).replace("|", "\\|")
