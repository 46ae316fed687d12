"""What pages take from the code: sections between two marks, which ``make reference`` writes anew.

A section begins with a line ``<!-- from the code: NAME -->`` and ends with ``<!-- written by hand again -->``, or with
the page. It is committed, so that the repository's pages are whole without a build; a test holds them against the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from handbook import commands, features, options, settings, users

ROOT: Final = Path(__file__).resolve().parents[1]
SECTIONS: Final[Mapping[str, Callable[[], str]]] = {
    "the command": commands.reference,
    "the answers of the caches": features.table,
    "the options of a cache": options.reference,
    "the settings of a stack": settings.reference,
    "the users of Redis": users.table,
    "the variables of a cache": options.variables,
}

_SECTION: Final = re.compile(
    r"(?P<begin><!-- from the code: (?P<name>[^>]+) -->\n).*?(?P<end>(?:<!-- written by hand again -->\n)|\Z)",
    re.DOTALL,
)


def pages() -> list[Path]:
    """Return the pages of the documentation, those outside of docs/ included."""
    return sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")])


def renewed(text: str) -> str:
    """Return a page with its sections written anew.

    Raises:
        KeyError: if a section has a name that is not in ``SECTIONS``.
    """
    return _SECTION.sub(
        lambda found: f"{found['begin']}\n{SECTIONS[found['name']]().strip()}\n{_end(found['end'])}", text
    )


def _end(mark: str) -> str:
    return f"\n{mark}" if mark else ""


def sections(text: str) -> list[str]:
    """Return the names of a page's sections."""
    return [found["name"] for found in _SECTION.finditer(text)]


def written_by_hand(text: str) -> str:
    """Return a page without what its sections hold, line for line."""
    return _SECTION.sub(lambda found: "\n" * found[0].count("\n"), text)
