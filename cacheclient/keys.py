"""Keys: ``namespace:vN:id`` (requirement 2.4). Pure.

The version rises with the schema of the values, so that pods of two releases share one Redis without reading each
other's entries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cacheclient.errors import ConfigurationError

_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MAX_ID_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class KeySpace:
    """One version of one namespace.

    Raises:
        ConfigurationError: if the namespace or the version cannot be part of a key.
    """

    namespace: str
    version: int = 1
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ConfigurationError(
                f"namespace={self.namespace!r}: a lower-case letter, then up to 63 of a-z 0-9 _ . - (no colon)"
            )
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise ConfigurationError(f"version={self.version!r}: a whole number from 1")
        object.__setattr__(self, "prefix", f"{self.namespace}:v{self.version}:")

    def full(self, key: str) -> str:
        """Return the Redis key of ``key``.

        Raises:
            ConfigurationError: if ``key`` is not a str of 1 to 512 UTF-8 bytes without control characters.
        """
        if not isinstance(key, str):
            raise ConfigurationError(f"key={key!r}: a str is needed, not {type(key).__name__}")
        if not key or not key.isprintable() or len(key.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise ConfigurationError(f"key={key[:80]!r}: 1 to {MAX_ID_BYTES} bytes of printable characters")
        return self.prefix + key

    def short(self, full: str) -> str | None:
        """Return the id inside a Redis key, or None if the key belongs to another namespace or version."""
        return full[len(self.prefix) :] if full.startswith(self.prefix) else None
