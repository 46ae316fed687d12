"""What was invalidated since a source began to read: a value read before must not be stored after.

A tombstone forbids that for some seconds; a source may take an hour. So a warm-up listens to the events that announce
every invalidation, of a key or a pattern, and to the pushes that tell of changed tags.
"""

from __future__ import annotations

from typing import Final

from cacheclient.keys import Glob

_MAX_KEYS: Final = 500_000  # remembered, at about 150 bytes each
_MAX_GLOBS: Final = 1000


class Watch:
    """What changed below one prefix, since it was made.

    Attributes:
        lost: whether anything may have changed: what tells of changes was interrupted, or told of too much.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._keys: set[str] = set()
        self._tags: set[str] = set()
        self._globs: dict[str, Glob] = {}
        self.lost = False

    def gap(self) -> None:
        """Take note that any key may have changed."""
        self.lost = True

    def changed(self, key: str) -> None:
        """Take note that this id is being invalidated, or was set."""
        self._keys.add(key)
        self.lost = self.lost or len(self._keys) > _MAX_KEYS

    def tag(self, name: str) -> None:
        """Take note that the marker of a tag changed: it was invalidated, made, or given more time."""
        self._tags.add(name)

    def told(self, name: str) -> bool:
        """Return whether the marker of a tag changed."""
        return name in self._tags

    def forget(self, name: str) -> None:
        """Forget that the marker of a tag changed: what it holds is about to be asked."""
        self._tags.discard(name)

    def pattern(self, glob: Glob) -> None:
        """Take note that every Redis key that matches ``glob`` is being, or was, invalidated."""
        self._globs[glob.pattern] = glob
        self.lost = self.lost or len(self._globs) > _MAX_GLOBS

    def hit(self, key: str) -> bool:
        """Return whether ``key`` may have been invalidated."""
        if self.lost or key in self._keys:
            return True
        full = self._prefix + key
        return any(glob.matches(full) for glob in self._globs.values())
