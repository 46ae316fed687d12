"""The Lua scripts, one file each: what Redis decides in one step."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script's text and its SHA-1, by which EVALSHA names it."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return the script in ``<name>.lua``, read once."""
    text = Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest())
