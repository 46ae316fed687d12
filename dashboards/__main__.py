"""Write the dashboards: ``python -m dashboards --out DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboards.boards import build


def main(arguments: list[str] | None = None) -> int:
    """Write one JSON file per dashboard; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dashboards", description="Write the Grafana dashboards as JSON, one file each."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; created if it is missing")
    options = parser.parse_args(arguments)
    boards = build()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, text in boards.items():
            (options.out / name).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"dashboards: {error}\n")
        return 2
    sys.stderr.write(f"{len(boards)} dashboards written to {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
