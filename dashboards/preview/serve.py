"""The boards over HTTP, for a machine without Grafana: ``/``, ``/d/<uid>`` and ``/d/<uid>.svg``, read only."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from dashboards.preview import page, picture
from dashboards.preview.results import Choices, Prometheus, QueryError, Span

_LONGEST: Final = 7 * 24 * 60  # minutes
_SETTLE: Final = 1.0  # seconds that the newest scrape may still be on its way into Prometheus
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


class Boards(ThreadingHTTPServer):
    """Serves boards drawn from ``prometheus`` on ``address``."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], boards: Sequence[Mapping[str, Any]], prometheus: Prometheus) -> None:
        self.boards = {str(board["uid"]): board for board in boards}
        self.prometheus = prometheus
        super().__init__(address, _Handler)

    def draw(self, uid: str, shown: page.Shown, *, narrow: bool = False) -> str:
        """Return the picture of a board over the period ``shown``; a ``narrow`` one is for phones."""
        newest = time.time() - _SETTLE
        until = newest if shown.until is None else min(newest, shown.until)
        span = Span.ending(until, shown.minutes * 60.0)
        try:
            choices = Choices(scrape_seconds=self.prometheus.scrape_seconds())
        except QueryError:
            choices = Choices()  # every panel of the picture will say why
        return picture.draw(self.boards[uid], self.prometheus, span, choices, narrow=narrow)


class _Handler(BaseHTTPRequestHandler):
    server: Boards
    server_version = "cachestack-boards"
    timeout = 30

    def do_GET(self) -> None:
        """Answer one request."""
        url = urllib.parse.urlsplit(self.path)
        boards = self.server.boards
        if url.path == "/":
            self._send(HTTPStatus.OK, "text/html", page.index(list(boards.values()), self.server.prometheus.url))
            return
        uid, dot, kind = url.path.removeprefix("/d/").partition(".")
        if not url.path.startswith("/d/") or uid not in boards or (dot and kind != "svg"):
            self._send(HTTPStatus.NOT_FOUND, "text/plain", f"no such page; boards: {', '.join(boards)}")
            return
        asked = urllib.parse.parse_qs(url.query)
        try:
            shown = _shown(asked)
        except ValueError as error:
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", str(error))
            return
        drawn = self.server.draw(uid, shown, narrow="narrow" in asked)
        if dot:
            self._send(HTTPStatus.OK, "image/svg+xml", drawn)
        else:
            text = page.board(boards[uid], list(boards.values()), shown, int(time.time()), drawn)
            self._send(HTTPStatus.OK, "text/html", text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name that the base class gives it
        """Say nothing: a page that refreshes itself would fill the log."""

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def _shown(asked: Mapping[str, Sequence[str]]) -> page.Shown:
    """Return the period that a query asks for.

    Raises:
        ValueError: if ``minutes`` or ``until`` is not a whole number within its limits.
    """
    limits = {"minutes": (1, _LONGEST), "until": (_LONGEST * 60, int(time.time()) + 1)}
    return page.Shown(**{name: _whole(name, asked[name][-1], *limits[name]) for name in limits if name in asked})


def _whole(name: str, given: str, least: int, most: int) -> int:
    if not given.isascii() or not given.isdigit() or not least <= int(given[:12]) <= most:
        raise ValueError(f"{name}={given[:20]}: a whole number from {least} to {most}")
    return int(given)
