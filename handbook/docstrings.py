"""Docstrings as Markdown: a griffe extension.

``::`` before a block is reStructuredText's; Markdown shows both colons.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Colons(griffe.Extension):  # type: ignore[misc]  # griffe is in the environment of the site alone
    """Write ``:`` where a docstring has ``::`` before an indented block."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Change the docstrings of everything that a package holds."""
        _change(pkg)


def _change(thing: Any) -> None:
    if thing.docstring is not None:
        thing.docstring.value = re.sub(r"::(\n\n +)", r":\1", thing.docstring.value)
    for member in getattr(thing, "members", {}).values():
        if not member.is_alias:
            _change(member)
