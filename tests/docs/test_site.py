"""The site: how pages of the repository are laid out for it, and that nothing is left out of it."""

from __future__ import annotations

import importlib
import re

import pytest

from handbook.site import ROOT, fetched, for_the_site

PAGES = frozenset({"index.md", "architecture.md", "cli.md", "start/on-call.md", "boards/cache-1.svg"})
PUBLIC = ("cacheclient", "cacheclient.warming", "cacheclient.api", "cacheclient.testing")
UNSAID = {  # type aliases, and what is named by what it is part of
    "cacheclient.warming": {"PLANS", "Bad", "Cursor", "Limits", "Outcome", "SourceSettings", "summary"},
}


@pytest.mark.parametrize(
    ("source", "page", "text", "shown"),
    [
        ("docs/cli.md", "cli.md", "[a](../ARCHITECTURE.md#one-read)", "[a](architecture.md#one-read)"),
        ("docs/cli.md", "cli.md", "[home](../README.md)", "[home](index.md)"),
        ("ARCHITECTURE.md", "architecture.md", "[the `cli`](docs/cli.md)", "[the `cli`](cli.md)"),
        ("docs/start/on-call.md", "start/on-call.md", "[cli](../cli.md)", "[cli](../cli.md)"),
        ("README.md", "index.md", "![board](docs/boards/cache-1.svg)", "![board](boards/cache-1.svg)"),
        ("README.md", "index.md", "[Makefile](Makefile) and\n[the\ntests](tests)", "Makefile and\nthe\ntests"),
        ("README.md", "index.md", "[x](https://example.org/a.md)", "[x](https://example.org/a.md)"),
        ("README.md", "index.md", "[x](docs/nowhere.md)", "[x](docs/nowhere.md)"),
        ("docs/cli.md", "cli.md", "so:\n- a\n- b", "so:\n\n- a\n- b"),
        ("docs/cli.md", "cli.md", "- a\n  more\n- b", "- a\n  more\n- b"),
        ("docs/cli.md", "cli.md", "1. a:\n   ```\n   $ ls\n   ```\n2. b", "1. a:\n\n    ```\n    $ ls\n    ```\n2. b"),
        ("docs/cli.md", "cli.md", "1. a:\n\n   | b |\n   |---|", "1. a:\n\n    | b |\n    |---|"),
        ("docs/cli.md", "cli.md", "```\n- a [x](Makefile)\n```", "```\n- a [x](Makefile)\n```"),
    ],
)
def test_a_page_of_the_repository_becomes_one_of_the_site(source: str, page: str, text: str, shown: str) -> None:
    assert for_the_site(text + "\n", source, page, PAGES) == shown + "\n"


def test_a_page_that_fetches_is_found() -> None:
    assert fetched('<a href="https://example.org">x</a> <img src="plots/P1.svg">') == []
    assert (
        len(fetched('<script defer src="https://cdn.example/x.js"></script> <link rel=x href="//fonts.example/f">'))
        == 2
    )


def test_the_reference_names_everything_public() -> None:
    named = set(re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE))
    for module in PUBLIC:
        public = set(importlib.import_module(module).__all__) - UNSAID.get(module, set())
        missing = {f"{module}.{name}" for name in public} - named
        assert not missing, f"docs/reference.md lacks {', '.join(sorted(missing))}: add a line `::: NAME` for each"
    for name in named:
        module, _, member = name.rpartition(".")
        assert hasattr(importlib.import_module(module), member), f"docs/reference.md names {name}, which is not there"
