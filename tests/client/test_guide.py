"""Every block of the guides runs, in order, against a real Redis."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import cacheclient
from cacheclient import AsyncCache, Cache
from tests.conftest import Server

DOCS: Final = Path(__file__).parents[2] / "docs"
GUIDE: Final = DOCS / "cacheclient.md"
BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVER: Final = "redis://localhost:6379"


def blocks(guide: Path) -> Iterator[tuple[int, str]]:
    """Yield each block and the line of the guide it begins in."""
    text = guide.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield text.count("\n", 0, found.start(1)), found[1]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the namespace that the blocks share: a module, because dataclasses and msgspec look types up in theirs."""
    module = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    return module.__dict__


@pytest.mark.parametrize(
    ("guide", "least", "words"),
    [
        (GUIDE, 10, ("forgotten", "answers", "ok", "fencing token")),
        (DOCS / "rate-limiting.md", 5, ("19 more would pass", "sent to", "rate limit slow: refused")),
    ],
    ids=["cacheclient", "rate-limiting"],
)
async def test_the_guide_runs(
    program: dict[str, Any], own_server: Server, guide: Path, least: int, words: tuple[str, ...]
) -> None:
    own_server.client.config_set("maxmemory", "100mb")
    own_server.client.config_set("maxmemory-policy", "volatile-lfu")
    ran = 0
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            for line, source in blocks(guide):
                code = "\n" * line + source.replace(SERVER, own_server.url)
                flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
                step = eval(compile(code, guide.name, "exec", flags=flags), program)  # noqa: S307  our own guide
                if inspect.isawaitable(step):
                    await step
                ran += 1
        finally:
            await program["cache"].close()
    assert ran > least
    for word in words:
        assert word in said.getvalue()


@pytest.mark.parametrize("surface", [AsyncCache, Cache])
def test_the_guide_names_every_method(surface: type) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    unsaid = {"peek", "disown", "forget_parent", "space", "records", "from_url", "start", "close"}
    public = {name for name in dir(surface) if not name.startswith("_")} - unsaid
    assert {name for name in public if name not in text} == set()


def test_the_guide_names_every_error() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    errors = {name for name in cacheclient.__all__ if name.endswith("Error")} - {"UnavailableError", "LockError"}
    assert {name for name in errors if name not in text} == set()
