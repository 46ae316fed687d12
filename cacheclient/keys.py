"""Keys: ``namespace:vN:id`` (requirement 2.4). Pure.

The version rises with the schema of the values, so that pods of two releases share one Redis without reading each
other's entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cacheclient.contract import Record
from cacheclient.errors import ConfigurationError

_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_ENTRY: Final = re.compile(rf"{_NAMESPACE.pattern}:v[1-9][0-9]*:(.+)")
MAX_ID_BYTES: Final = 512
_MAX_PATTERN: Final = 2048  # the longest key with a namespace, every character escaped
_BACKSLASH: Final = ord("\\")
_LAST_ASCII: Final = 127
_SPECIAL: Final = re.compile(r"[*?\[\\]")
_STAR: Final = b".*"  # nothing else in the regular expression of a glob reads so: literal stars are escaped


@dataclass(frozen=True, slots=True)
class KeySpace:
    """One version of one namespace.

    Raises:
        ConfigurationError: if the namespace or the version cannot be part of a key.
    """

    namespace: str
    version: int = 1
    prefix: str = field(init=False)
    tag_prefix: str = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.namespace, str) or not _NAMESPACE.fullmatch(self.namespace):
            raise ConfigurationError(
                f"namespace={self.namespace!r}: a lower-case letter, then up to 63 of a-z 0-9 _ . - (no colon)"
            )
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise ConfigurationError(f"version={self.version!r}: a whole number from 1")
        object.__setattr__(self, "prefix", f"{self.namespace}:v{self.version}:")
        object.__setattr__(self, "tag_prefix", f"{self.namespace}:tag:")

    def full(self, key: str) -> str:
        """Return the Redis key of ``key``.

        Raises:
            ConfigurationError: if ``key`` is not a str of 1 to 512 UTF-8 bytes without control characters.
        """
        if type(key) is str and key.isascii() and key.isprintable() and 0 < len(key) <= MAX_ID_BYTES:
            return self.prefix + key  # nearly all keys; the rest is looked at more closely
        if not isinstance(key, str):
            raise ConfigurationError(f"key={key!r}: a str is needed, not {type(key).__name__}")
        if not key or not key.isprintable() or len(key.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise ConfigurationError(f"key={key[:80]!r}: 1 to {MAX_ID_BYTES} bytes of printable characters")
        return self.prefix + key

    def older(self, version: int) -> KeySpace:
        """Return this version of the namespace, or an older one.

        Raises:
            ConfigurationError: if ``version`` is not a whole number from 1 to this one.
        """
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= self.version:
            raise ConfigurationError(f"version={version!r}: a whole number from 1 to {self.version}, this cache's own")
        return KeySpace(self.namespace, version)

    def marker(self, tag: str) -> str:
        """Return the Redis key of a tag's token; tags are shared by all versions of a namespace."""
        return self.tag_prefix + tag

    def claim(self, key: str) -> str:
        """Return the Redis key by which one reader of the fleet takes it on to refresh ``key``."""
        return f"{self.namespace}:refresh:v{self.version}:{key}"

    def migration(self, old_version: int) -> str:
        """Return the Redis key of where the migration from ``old_version`` to this one stands."""
        return f"{self.namespace}:migration:v{old_version}-v{self.version}"

    def record(self, kind: Record, name: str = "") -> str:
        """Return the Redis key of what is kept beside the entries; like tags, for all versions of a namespace."""
        return f"{self.namespace}:{kind}:{name}" if name else f"{self.namespace}:{kind}"

    def short(self, full: str) -> str | None:
        """Return the id inside a Redis key, or None if the key belongs to another namespace or version."""
        return full[len(self.prefix) :] if full.startswith(self.prefix) else None


def id_of(full: str) -> str | None:
    """Return the id inside a Redis key of any namespace and version; None if it is not a cache's entry."""
    found = _ENTRY.fullmatch(full)
    return found and found[1]


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern over ids: ``*`` any characters, ``?`` one, ``[a-z]`` one of; a backslash takes the next as it is.

    The same rules as Redis' MATCH, so that L1 and L2 agree on what matches. Redis compares bytes: ``?`` is half an "é".

    Raises:
        ConfigurationError: if the pattern is empty, too long, ends inside a bracket or an escape, or has a bracket with
            other characters than ASCII.
    """

    pattern: str
    literal: str | None = field(init=False, default=None)
    _regex: re.Pattern[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not 0 < len(self.pattern) <= _MAX_PATTERN:
            raise ConfigurationError(f"pattern={str(self.pattern)[:80]!r}: a str of 1 to {_MAX_PATTERN} characters")
        parts = list(_glob_parts(self.pattern.encode("utf-8", "replace")))
        if all(literal for _, literal in parts):
            object.__setattr__(self, "literal", b"".join(text for text, _ in parts).decode())
        head, *tail = b"".join(re.escape(text) if literal else text for text, literal in parts).split(_STAR)
        # All but the last star may stop at the first place where what follows fits, and never need to go back on it:
        # without the atomic groups, a pattern of many stars would take time without end.
        middle = b"".join(b"(?>.*?%s)" % piece for piece in tail[:-1])
        regex = b"".join((head, middle, *(_STAR + last for last in tail[-1:])))
        object.__setattr__(self, "_regex", re.compile(regex, re.DOTALL))

    def matches(self, key: str) -> bool:
        """Return whether the whole of ``key`` matches."""
        return self._regex.fullmatch(key.encode()) is not None


def may_reach(pattern: str, prefix: str) -> bool:
    """Return whether ``pattern`` may match keys under ``prefix``, by what is before its first wildcard."""
    head = _SPECIAL.split(pattern, maxsplit=1)[0]
    return head.startswith(prefix) or prefix.startswith(head)


def escape(text: str) -> str:
    """Return the glob that matches ``text`` and nothing else."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _glob_parts(pattern: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the pieces of a glob: (byte, True), or (regular expression, False)."""
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            yield _STAR, False
        elif char == b"?":
            yield b".", False
        elif char == b"\\":
            if at == len(pattern):
                raise ConfigurationError(f"pattern={pattern.decode()!r}: nothing follows the last backslash")
            yield pattern[at : at + 1], True
            at += 1
        elif char == b"[":
            regex, at = _one_of(pattern, at)
            yield regex, False
        else:
            yield char, True


def _one_of(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return the regular expression of the bracket whose inside begins ``at``, and where the pattern goes on.

    As Redis reads it: a bracket may be empty and then matches nothing, and a range may be written backwards.
    """
    negated = pattern[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while pattern[at : at + 1] != b"]":
        if at + 1 >= len(pattern):
            raise ConfigurationError(f"pattern={pattern.decode()!r}: a bracket is not closed")
        low = high = pattern[at]
        if low == _BACKSLASH:
            low = high = pattern[at + 1]
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            high = pattern[at + 2]
            at += 3
        else:
            at += 1
        if max(low, high) > _LAST_ASCII:
            raise ConfigurationError(f"pattern={pattern.decode()!r}: a bracket may hold ASCII characters only")
        members.update(range(min(low, high), max(low, high) + 1))
    if not members:
        return (b"." if negated else b"(?!)"), at + 1
    inside = b"".join(b"\\x%02x" % member for member in sorted(members))
    return b"[%s%s]" % (b"^" if negated else b"", inside), at + 1
