"""What has to hold before a version is released. Pure: each function yields the faults, with the remedy."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_DECLARED: Final = re.compile(
    r"""^\s*(?:__version__|version|VERSION)\s*(?::\s*\w+\s*)?[=:]\s*["']?\d+\.\d+\.\d""", re.MULTILINE
)
_OTHERS: Final = {"infra/policy/PulumiPolicy.yaml"}  # a version of its own: that of the policy pack


def tree(version: str, branch: str, changed: Sequence[str], tags: Mapping[str, str], head: str) -> Iterator[str]:
    """Yield what is wrong with the checkout: its branch, changes, and a tag of that name on another commit."""
    if branch != "main":
        yield f"the branch is {branch or 'none'}: git switch main"
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""  # noqa: PLR2004  what fits a line
        yield f"not committed: {', '.join(changed[:3])}{more}"
    if tags.get(f"v{version}", head) != head:
        yield f"tag v{version} is on another commit: a version is released once, choose the next"


def newer(version: str, tags: Sequence[str]) -> Iterator[str]:
    """Yield that a version is not above all that were released."""
    released = [tag[1:] for tag in tags if tag[:1] == "v" and VERSION.fullmatch(tag[1:])]
    latest = max(released, key=_order, default=None)
    if latest is not None and _order(version) < _order(latest):
        yield f"{latest} is released already: {version} is older"


def one_place(version: str, files: Mapping[str, str]) -> Iterator[str]:
    """Yield that pyproject.toml has another version, or another file has one, too; ``files`` are texts by path."""
    found = tomllib.loads(files["pyproject.toml"])["project"]["version"]
    if found != version:
        yield f'pyproject.toml says version = "{found}": make it "{version}"'
    for path, text in files.items():
        if path != "pyproject.toml" and path not in _OTHERS and _DECLARED.search(text):
            yield f"{path} declares a version, too: code asks importlib.metadata"


def changelog(version: str, text: str, today: dt.date) -> Iterator[str]:
    """Yield what CHANGELOG.md lacks: a section of the version with its date, some words in it, nothing unreleased."""
    sections = dict(_sections(text))
    if sections.get("Unreleased"):
        yield f"CHANGELOG.md: entries are under Unreleased still: put them under ## {version} - {today}"
    title = next((title for title in sections if title.split(" ")[0] == version), None)
    if title is None:
        yield f"CHANGELOG.md: there is no section ## {version} - {today}"
    elif not sections[title]:
        yield f"CHANGELOG.md: ## {title} says nothing"
    elif title != f"{version} - {today}":
        yield f"CHANGELOG.md: ## {title} has to be ## {version} - {today}, with the day of the release"


def _sections(text: str) -> Iterator[tuple[str, str]]:
    found = list(_HEADING.finditer(text))
    for one, following in zip(found, [*found[1:], None], strict=False):
        yield one[1].strip(), text[one.end() : following.start() if following else len(text)].strip()


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
