"""Who is told of everything that is invalidated, as long as it looks: warm-ups, which hold values read before.

Told by events, not by pushes: a key is pushed when it is loaded and when it expires, too, and an expiry is no reason to
mistrust a value. An invalidation is announced before it takes effect, on the connection that proves what was heard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from cacheclient.keys import Glob


class Witness(Protocol):
    """Takes note of an id, the name of a tag, a glob over whole Redis keys."""

    def gap(self) -> None:
        """Take note that any key may have changed."""

    def changed(self, key: str) -> None:
        """Take note that this id is being invalidated, or was set."""

    def tag(self, name: str) -> None:
        """Take note that the marker of a tag changed, which an invalidation does, but not only that."""

    def pattern(self, glob: Glob) -> None:
        """Take note that every key that matches is being, or was, invalidated."""


class Witnesses:
    """All of those who look now; each method tells each of them."""

    def __init__(self) -> None:
        self._all: list[Witness] = []

    def __len__(self) -> int:
        return len(self._all)

    @contextlib.contextmanager
    def joined_by(self, witness: Witness) -> Iterator[None]:
        """Tell ``witness``, too, as long as the block lasts."""
        self._all.append(witness)
        try:
            yield
        finally:
            self._all.remove(witness)

    def gap(self) -> None:
        """Any key may have changed."""
        for witness in self._all:
            witness.gap()

    def changed(self, key: str) -> None:
        """This id is being invalidated, or was set."""
        for witness in self._all:
            witness.changed(key)

    def tag(self, name: str) -> None:
        """The marker of a tag changed."""
        for witness in self._all:
            witness.tag(name)

    def pattern(self, glob: Glob) -> None:
        """Every key that matches is being, or was, invalidated."""
        for witness in self._all:
            witness.pattern(glob)
