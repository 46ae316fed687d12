"""The boards as web pages: plain HTML around the picture, which a few lines of script replace. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

REFRESH_SECONDS: Final = 10
PERIODS: Final = (5, 15, 60, 180, 1440)  # minutes to choose from


@dataclass(frozen=True, slots=True)
class Shown:
    """The period that a page shows: so many ``minutes`` up to ``until`` (Unix seconds), None: up to now."""

    minutes: int = PERIODS[1]
    until: int | None = None

    @property
    def query(self) -> str:
        """The query string that asks for it."""
        return f"minutes={self.minutes}" + (f"&until={self.until}" if self.until is not None else "")

    def moved(self, periods: int, now: int) -> Shown:
        """Return the period so many of its own lengths later."""
        until = (self.until or now) + periods * self.minutes * 60
        return dataclasses.replace(self, until=until if until < now else None)


_STYLE: Final = """
:root{color-scheme:light dark;--ink:#22272e;--paper:#f4f5f7;--line:#dfe3e8;--link:#2563c9}
@media (prefers-color-scheme:dark){:root{--ink:#e3e7ec;--paper:#111417;--line:#333a42;--link:#7db1ff}}
body{margin:0;background:var(--paper);color:var(--ink);font:14px system-ui,'Segoe UI',Roboto,sans-serif}
nav{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:baseline;padding:10px 16px;border-bottom:1px solid var(--line)}
a{color:var(--link);text-decoration:none} a:hover{text-decoration:underline} [aria-current]{font-weight:700}
#state{margin-left:auto;opacity:.75} main{padding:8px} svg{width:100%;height:auto;display:block} svg a{cursor:pointer}
dl{max-width:52rem;margin:1.5rem auto;padding:0 1rem} dt{margin-top:1.1rem;font-size:17px} dd{margin:.2rem 0 0}
"""
# A period that is over is not asked for again. The picture stays where it was if a refresh fails: old figures with a
# word about it beat an empty page.
_SCRIPT: Final = f"""
const board = document.querySelector('main'), state = document.querySelector('#state');
const phone = matchMedia('(max-width: 700px)');
async function refresh() {{
  if (document.hidden) return;
  try {{
    const answer = await fetch(board.dataset.picture + (phone.matches ? '&narrow=1' : ''));
    if (!answer.ok) throw new Error('HTTP ' + answer.status);
    board.innerHTML = await answer.text();
    state.textContent = 'as of ' + new Date().toLocaleTimeString();
  }} catch (error) {{
    state.textContent = 'no newer picture: ' + error.message;
  }}
}}
if (!board.dataset.until) setInterval(refresh, {REFRESH_SECONDS * 1000});
phone.addEventListener('change', refresh);
if (phone.matches) refresh();
"""


def index(boards: Sequence[Mapping[str, Any]], prometheus: str) -> str:
    """Return the page that leads to every board."""
    entries = "".join(
        f'<dt><a href="/d/{escape(b["uid"])}">{escape(b["title"])}</a></dt><dd>{escape(b["description"])}</dd>'
        for b in boards
    )
    source = f'<a href="{escape(prometheus)}">{escape(prometheus)}</a>'
    return _html(
        "Cache dashboards", f"<nav><b>Cache dashboards</b><span>drawn from {source}</span></nav><dl>{entries}</dl>"
    )


def board(current: Mapping[str, Any], boards: Sequence[Mapping[str, Any]], shown: Shown, now: int, picture: str) -> str:
    """Return the page of one board around its first ``picture``."""
    uid = escape(current["uid"])
    others = "".join(_choice(f"/d/{b['uid']}?{shown.query}", b["title"], b is current) for b in boards)
    lengths = (dataclasses.replace(shown, minutes=minutes) for minutes in PERIODS)
    periods = "".join(_choice(f"/d/{uid}?{p.query}", _period(p.minutes), p == shown) for p in lengths)
    moves = {"earlier": shown.moved(-1, now)}
    if shown.until is not None:
        moves |= {"later": shown.moved(1, now), "now": Shown(shown.minutes)}
    ways = "".join(_choice(f"/d/{uid}?{there.query}", words, False) for words, there in moves.items())
    head = f'<nav><a href="/">All</a>{others}<span>|</span>{periods}<span>|</span>{ways}<span id="state"></span></nav>'
    source = f'data-picture="/d/{uid}.svg?{escape(shown.query)}" data-until="{shown.until or ""}"'
    return _html(str(current["title"]), f"{head}<main {source}>{picture}</main><script>{_SCRIPT}</script>")


def _choice(url: str, words: str, chosen: bool) -> str:  # noqa: FBT001  called in this module only
    return f'<a href="{escape(url)}"{" aria-current=page" * chosen}>{escape(words)}</a>'


def _period(minutes: int) -> str:
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h"  # noqa: PLR2004  minutes in an hour


def _html(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><body>{body}</body></html>"
    )
