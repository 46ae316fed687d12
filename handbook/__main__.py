"""``python -m handbook`` writes what pages take from the code anew (``make reference``)."""

from __future__ import annotations

import sys

from handbook.pages import ROOT, pages, renewed


def main() -> int:
    """Write the pages that differ from the code, and name them."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(ROOT)} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
