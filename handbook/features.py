"""What the caches answered when ``python -m bench.features`` asked them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ANSWERS: Final = Path(__file__).resolve().parents[1] / "docs" / "features.json"
_OURS: Final = "cacheclient"


def told() -> dict[str, Any]:
    """Return what was asked, of whom, and what was seen."""
    answers: dict[str, Any] = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return answers


def table() -> str:
    """Return a row for each question, a column for each cache, and the versions below."""
    found = told()
    names = list(found["answers"])
    lines = ["| | " + " | ".join(f"**{name}**" if name == _OURS else name for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for question, text in found["questions"].items():
        lines.append(f"| {text} | " + " | ".join(found["answers"][name][question] for name in names) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return "\n".join([*lines, "", f"Seen with {versions}, on {found['server']}."])
