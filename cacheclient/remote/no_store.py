"""The second tier of ``memory://``: there is none."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence

from cacheclient.remote.protocol import Accept, Held, Leased, Take
from cacheclient.remote.scan import END, SCAN_COUNT, Step


class NoStore:
    """The absent L2 of ``memory://``: never holds anything, grants every lease."""

    echoes = False

    def __init__(self) -> None:
        self._markers: dict[str, bytes] = {}

    def fetch(self, keys: Sequence[str], take: Take) -> None:
        """Give nothing, or a marker's token, at once."""
        take(keys, [self._markers.get(key) for key in keys])

    async def write_ids(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return None for each: nothing is stored here."""
        return [None for _ in keys]

    async def inspect(self, keys: Sequence[str]) -> list[Held]:
        """Return nothing, or a marker's token, which stays."""
        return [Held(self._markers.get(key), math.inf) for key in keys]

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:  # noqa: ARG002
        """Grant it."""
        return Leased(granted=True)

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float | None) -> bool:  # noqa: ARG002
        """Return True: nobody else can have written."""
        return True

    async def claim(self, key: str, token: bytes, seconds: float) -> bool:  # noqa: ARG002
        """Return True: there is nobody else."""
        return True

    async def mark(self, key: str, token: bytes, seconds: float | None) -> tuple[bytes, float]:  # noqa: ARG002
        """Return the marker's token, or make ``token`` it."""
        return self._markers.setdefault(key, token), math.inf

    async def remark(self, key: str, token: bytes, seconds: float | None) -> None:  # noqa: ARG002
        """Replace a marker's token."""
        self._markers[key] = token

    async def release(self, key: str, token: bytes) -> None:
        """Do nothing."""

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Do nothing."""

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:  # noqa: ARG002
        """Return True."""
        return True

    async def repair(self, key: str, expected: bytes, write_id: bytes, seconds: float) -> bool:  # noqa: ARG002
        """Return False: nothing is stored here."""
        return False

    async def bury_matching(
        self,
        pattern: str,  # noqa: ARG002
        write_id: bytes,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
        only: Accept | None = None,  # noqa: ARG002
    ) -> AsyncIterator[int]:
        """Yield 0: nothing is stored here."""
        yield 0

    async def drop_matching(self, pattern: str) -> AsyncIterator[int]:  # noqa: ARG002
        """Yield 0: nothing is stored here."""
        yield 0

    async def scan(
        self,
        pattern: str,  # noqa: ARG002
        count: int = SCAN_COUNT,  # noqa: ARG002
        at: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> AsyncIterator[Step]:
        """Yield a step that found nothing: nothing is stored here."""
        yield Step([], "", END)

    async def adopt(self, key: str, data: bytes, seconds: float | None) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    async def unlink(self, keys: Sequence[str | bytes]) -> int:  # noqa: ARG002
        """Return 0."""
        return 0

    def publish(self, channel: str, message: bytes) -> None:
        """Do nothing."""
