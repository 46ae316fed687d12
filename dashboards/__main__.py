"""The dashboards: written for Grafana, drawn as pictures, or served as web pages; ``python -m dashboards --help``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alerts.thresholds import Thresholds
from dashboards.boards import BOARDS, build
from dashboards.preview import picture
from dashboards.preview.results import Choices, Prometheus, QueryError, Span
from dashboards.preview.serve import Boards

_EPILOG = """\
examples:
  python -m dashboards write --out boards/                                    JSON for Grafana's provisioning
  python -m dashboards draw --prometheus http://127.0.0.1:9090 --out pictures/   one SVG a board, of the last hour
  python -m dashboards serve --prometheus http://127.0.0.1:9090 --port 3000      the same as pages that refresh

exit codes: 0 done; 2 wrong arguments, a folder that cannot be written, or a Prometheus that does not answer"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``--help``."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (OSError, ValueError, QueryError) as error:
        sys.stderr.write(f"dashboards: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards",
        description=f"The {len(BOARDS)} cache dashboards, for Grafana or without it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    write = commands.add_parser("write", help="write the JSON that Grafana loads, one file a board")
    write.add_argument("--out", type=Path, required=True, help="folder to write to; created if it is missing")
    write.add_argument("--json", action="store_true", help="print what was written as JSON: file, uid, title, panels")
    write.set_defaults(run=_write)
    draw = commands.add_parser("draw", help="draw every board from real query results, one SVG each")
    draw.add_argument("--out", type=Path, required=True, help="folder to write to; created if it is missing")
    draw.add_argument("--minutes", type=int, default=60, help="period that is drawn, up to now (default: 60)")
    draw.add_argument("--ago", type=float, default=0.0, help="minutes before now at which it ends (default: 0)")
    draw.set_defaults(run=_draw)
    serve = commands.add_parser("serve", help="serve the boards as plain web pages that refresh themselves")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one, which is printed)")
    serve.set_defaults(run=_serve)
    for command in (draw, serve):
        command.add_argument("--prometheus", required=True, metavar="URL", help="the Prometheus to ask")
    return parser


def _write(options: argparse.Namespace) -> int:
    files = build()
    code = _written(options.out, files)
    if options.json:
        sys.stdout.write(
            json.dumps([_about(options.out / name, text) for name, text in files.items()], indent=1) + "\n"
        )
    return code


def _about(file: Path, text: str) -> dict[str, Any]:
    board = json.loads(text)
    panels = (panel for outer in board["panels"] for panel in (outer, *outer.get("panels", ())))
    shown = sum(panel["type"] != "row" for panel in panels)
    return {"file": str(file), "uid": board["uid"], "title": board["title"], "panels": shown}


def _draw(options: argparse.Namespace) -> int:
    if options.minutes < 1 or not 0 <= options.ago < float("inf"):
        raise ValueError(
            f"--minutes {options.minutes} --ago {options.ago:g}: at least 1 minute, at least 0 minutes ago"
        )
    prometheus = Prometheus(options.prometheus)
    choices = Choices(scrape_seconds=prometheus.scrape_seconds())
    span = Span.ending(time.time() - options.ago * 60.0, options.minutes * 60.0)
    boards = [board(Thresholds()) for board in BOARDS.values()]
    return _written(options.out, {f"{b['uid']}.svg": picture.draw(b, prometheus, span, choices) for b in boards})


def _serve(options: argparse.Namespace) -> int:
    boards = [board(Thresholds()) for board in BOARDS.values()]
    with Boards((options.host, options.port), boards, Prometheus(options.prometheus)) as server:
        sys.stderr.write(f"boards on http://{options.host}:{server.server_port}/ (Ctrl-C ends)\n")
        sys.stderr.flush()
        server.serve_forever()
    return 0


def _written(folder: Path, files: dict[str, str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(files)} dashboards written to {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
