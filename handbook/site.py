"""How the repository's pages become a site: a hook that mkdocs loads by path, in an environment without the project.

Pages are written for readers of the repository, so three things differ on the site. Pages outside of docs/ join it
(``ELSEWHERE``); links go to pages, or end where their target is source code; and lists and blocks are laid out for
Python-Markdown, which is stricter than what repositories show.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
ELSEWHERE: Final = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "examples/fingerprint/README.md": "example.md",
}
"""Pages of the site by their place in the repository; those in docs/ keep their names. README.md has no page of its
own: links to it lead home, whose source is docs/index.md."""

_FENCE: Final = re.compile(r"^( *)(```+)")
_ITEM: Final = re.compile(r"^ *(?:[-*]|\d+\.) ")
_LINK: Final = re.compile(
    r"(?P<shown>!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\])\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)"
)
_DRAWING: Final = re.compile(r"^!\[(?P<text>[^\]]*)\]\((?P<path>[^()\s]*diagrams/[^()\s]+\.svg)\)$", re.MULTILINE)
_FETCHED: Final = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"[^>]*>")
_THIRD: Final = re.compile(r" {3}[^ ]")  # what goes on below a number, such as a table
_DEEP: Final = 4  # spaces of a block in a list


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File  # noqa: PLC0415  the module is read by tests without mkdocs, too

    for source, page in ELSEWHERE.items():
        if page not in files.src_uris:
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page as Python-Markdown and the site need it."""
    del config
    if "\n## " not in markdown:  # nothing to list beside the page: its tables get the room
        page.meta["hide"] = ["toc"]
    source = Path(str(page.file.abs_src_path)).resolve().relative_to(ROOT)
    return for_the_site(markdown, source.as_posix(), page.file.src_uri, frozenset(files.src_uris))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that fetches something from elsewhere: who reads the documentation is told to nobody.

    Raises:
        ValueError: if it does; what it fetches is named.
    """
    del config
    if found := fetched(output):
        raise ValueError(f"{page.file.src_uri} fetches from elsewhere: {found}")
    return output


def fetched(html: str) -> list[str]:
    """Return the elements that make a browser ask another server."""
    return _FETCHED.findall(html)


def for_the_site(markdown: str, source: str, page: str, pages: frozenset[str]) -> str:
    """Return a page of the repository as one of the site.

    Args:
        markdown: its text.
        source: where it is in the repository.
        page: where it is on the site.
        pages: everything that the site has.
    """

    def linked(prose: str) -> str:
        shown = _DRAWING.sub(lambda drawing: _inlined(drawing["text"], _place(source, drawing["path"])), prose)
        return _LINK.sub(lambda link: _link(link, source, page, pages), shown)

    pieces = groupby(laid_out(markdown), key=lambda piece: piece[1])
    texts = (("\n".join(line for line, _ in lines), is_code) for is_code, lines in pieces)
    return "\n".join(text if is_code else linked(text) for text, is_code in texts) + "\n"


def _place(source: str, target: str) -> str:
    """Return the place in the repository that a link in ``source`` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def laid_out(markdown: str) -> Iterator[tuple[str, bool]]:
    """Yield each line and whether it is code: lists begin after an empty line, blocks in lists are four spaces deep."""
    fence, shift, in_list, before = "", 0, False, ""
    for line in markdown.splitlines():
        opening = _FENCE.match(line)
        if fence:
            yield " " * shift + line, True
            if line.strip() == fence:
                fence, before = "", line
        elif opening:
            fence = opening[2]
            shift = _DEEP - len(opening[1]) if in_list and 0 < len(opening[1]) < _DEEP else 0
            if before.strip():
                yield "", False
            yield " " * shift + line, True
        else:
            is_item = bool(_ITEM.match(line))
            if is_item and before.strip() and not in_list:
                yield "", False
            in_list = is_item or (in_list and (line[:1] in ("", " ") or bool(before.strip())))
            yield (f" {line}" if in_list and _THIRD.match(line) else line), False
            before = line


def _link(link: re.Match[str], source: str, page: str, pages: frozenset[str]) -> str:
    target = link["target"]
    if re.match(r"[a-z]+:", target):
        return link[0]
    place = _place(source, target)
    on_site = ELSEWHERE.get(place, place.removeprefix("docs/"))
    if on_site in pages:
        return f"{link['shown']}({posixpath.relpath(on_site, posixpath.dirname(page) or '.')}{link['anchor'] or ''})"
    if (ROOT / place).exists():
        return str(link["text"])  # source code: named, not linked
    return link[0]  # nowhere: mkdocs refuses it, and says where it stands


def _inlined(text: str, place: str) -> str:
    """Return a drawing as part of the page, so that it follows the reader's choice of light and dark."""
    drawing = (ROOT / place).read_text(encoding="utf-8")
    body = drawing[drawing.index("<svg") :].replace("\n\n", "\n")
    return f'<figure class="drawing" markdown="0">{body}<figcaption>{text}</figcaption></figure>'
