"""The code blocks of the pages: where they stand, what they are, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handbook.pages import ROOT, pages, written_by_hand

_FENCE: Final = re.compile(r"^( *)```(\S*)$")
_ITEM: Final = re.compile(r"^ *(?:[-*]|\d+\.) ")
_INLINE: Final = re.compile(r"(?<!`)`((?:make|cachestack|python -m) [^`]+)`(?!`)")
_NESTED: Final = re.compile(r"\$\(([^()]*)\)")
_BETWEEN: Final = frozenset({"|", "||", "&&", ";", "&", "(", ")", "$"})


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code on a page; ``line`` is that of its first line."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def script(self) -> str:
        """What a shell would be given: all of a script, of a session what follows the prompts."""
        if self.language != "console":
            return self.text
        lines, goes_on = [], False
        for line in self.text.splitlines():
            if goes_on or line.startswith("$ "):
                lines.append(line.removeprefix("$ "))
                goes_on = line.endswith("\\")
        return "\n".join(lines)


def of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, those that are only indented included; their language is then ``indented``."""
    name, begun, in_list, before = str(page.relative_to(ROOT)), None, False, ""
    lines: list[str] = []
    for number, line in enumerate(written_by_hand(page.read_text(encoding="utf-8")).splitlines(), 1):
        fence = _FENCE.match(line)
        if begun and fence and not fence[2]:
            yield Block(name, begun[0] + 1, begun[1] or "none", "".join(f"{each}\n" for each in lines))
            begun = None
        elif begun:
            lines.append(line[begun[2] :] if line[: begun[2]].isspace() else line)
        elif fence:
            begun, lines = (number, fence[2], len(fence[1])), []
        else:
            in_list = bool(_ITEM.match(line)) or (in_list and line[:1] in ("", " "))
            if line.startswith("    ") and not before.strip() and not in_list:
                yield Block(name, number, "indented", f"{line}\n")
        before = line


def all_of_them() -> list[Block]:
    """Return every block of every page."""
    return [block for page in pages() for block in of(page)]


def inline_commands() -> dict[str, str]:
    """Return the commands that stand in the text of a page, and where."""
    found = {}
    for page in pages():
        text = re.sub(
            r"^ *```.*?^ *```$", "", written_by_hand(page.read_text(encoding="utf-8")), flags=re.DOTALL | re.MULTILINE
        )
        for command in _INLINE.findall(text):
            if "..." not in command:
                found.setdefault(re.sub(r"<(\w+)>", r"\1", " ".join(command.split())), str(page.relative_to(ROOT)))
    return found


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of every simple command of a script: those of pipes, and those in ``$( )``, too."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if skip:
                skip = False
            elif word in _BETWEEN:
                yield from _simple(words)
                words = []
            elif re.fullmatch(r"[<>]+&?", word):
                skip = True
                words = words[:-1] if words and words[-1].isdigit() else words
            else:
                words.append(word)


def _simple(words: list[str]) -> Iterator[list[str]]:
    for word in words:
        for inner in _NESTED.findall(word):
            yield from commands(inner)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.DOTALL):
        words = words[1:]
    if words:
        yield words
