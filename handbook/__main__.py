"""``python -m handbook`` writes anew what pages take from the code, and the drawings (``make reference``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from handbook.drawings import DRAWINGS
from handbook.pages import ROOT, pages, renewed

FOLDER = ROOT / "docs" / "diagrams"


def stale() -> Iterator[tuple[Path, str]]:
    """Yield each file that differs from the code, and what it has to be."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            yield page, new
    for name, draw in DRAWINGS.items():
        file = FOLDER / name
        if (new := draw()) != (file.read_text(encoding="utf-8") if file.exists() else ""):
            yield file, new


def main() -> int:
    """Write the files that differ from the code, and name them."""
    FOLDER.mkdir(exist_ok=True)
    for file, new in stale():
        file.write_text(new, encoding="utf-8")
        sys.stdout.write(f"{file.relative_to(ROOT)} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
