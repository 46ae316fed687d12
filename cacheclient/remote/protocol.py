"""What the cache asks of the tier that pods share, whatever it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from cacheclient.errors import UnavailableError
from cacheclient.remote.scan import SCAN_COUNT, Step


class Leased(msgspec.Struct, frozen=True):
    """The answer to a lease request: exactly one of a value entry, my lease, or neither (somebody else loads)."""

    value: bytes | None = None
    granted: bool = False


class Held(NamedTuple):
    """What a key holds: the bytes, None if nothing, and the seconds until they expire (inf: never)."""

    raw: bytes | None
    left: float


Accept = Callable[[str], bool]
# Takes some of the keys that were asked for, and what is stored under each or why that is not known.
Take = Callable[[Sequence[str], "Sequence[bytes | None] | UnavailableError"], None]


class Store(Protocol):
    """The tier that pods share. Keys are whole Redis keys, times seconds; every method may raise UnavailableError.

    ``echoes`` says whether every write comes back as a push that drops the key from L1: then filling L1 after a write
    would only evict something else.
    """

    @property
    def echoes(self) -> bool:
        """Whether writes come back as pushes."""

    def fetch(self, keys: Sequence[str], take: Take) -> None:
        """Read different ``keys``, and have ``take`` called for each part of them that is answered.

        Parts, because large batches are cut, and keys may live on several servers: each key is in one. ``take`` may be
        called at once, and must not raise. A callback, not a future: what a read costs is decided here.
        """

    async def write_ids(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return for each key the write id of the value it holds; None if it holds none."""

    async def inspect(self, keys: Sequence[str]) -> list[Held]:
        """Return what each key holds, for a look at single keys: not batched with other reads, and not counted."""

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:
        """Return the value, or take the lease under ``token`` if there is none that can be read."""

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float | None) -> bool:
        """Store ``data`` if the write id ``expected`` still stands; return whether it was stored.

        Without ``seconds`` it lives as long as what stood there would have.
        """

    async def claim(self, key: str, token: bytes, seconds: float) -> bool:
        """Take ``key`` for ``seconds`` if nobody has; return whether it was taken. ``release`` gives it back."""

    async def mark(self, key: str, token: bytes, seconds: float | None) -> tuple[bytes, float]:
        """Return the token in the marker ``key`` and its life, ``seconds`` at least; without one, store ``token``.

        Without ``seconds`` it lives for ever.
        """

    async def remark(self, key: str, token: bytes, seconds: float | None) -> None:
        """Replace the token in the marker ``key``, for ever without ``seconds``."""

    async def release(self, key: str, token: bytes) -> None:
        """Give the lease or claim ``token`` back."""

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``, whatever stands there."""

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:
        """Store a tombstone; with ``durable`` return whether every replica has it too, and there is one."""

    async def repair(self, key: str, expected: bytes, write_id: bytes, seconds: float) -> bool:
        """Store a tombstone unless ``key`` holds the write ``expected``, or nothing; return whether one was stored."""

    def bury_matching(
        self, pattern: str, write_id: bytes, seconds: float, only: Accept | None = None
    ) -> AsyncIterator[int]:
        """Store a tombstone over every key that matches the glob, and that ``only`` accepts if it is given.

        Yields after each batch how many of them held a value.
        """

    def drop_matching(self, pattern: str) -> AsyncIterator[int]:
        """Delete every key that matches the glob; yield after each batch how many that were."""

    def scan(self, pattern: str, count: int = SCAN_COUNT, at: Mapping[str, str] | None = None) -> AsyncIterator[Step]:
        """Yield the keys that match the glob, in steps that look at about ``count`` keys; ``at`` is where to go on."""

    async def adopt(self, key: str, data: bytes, seconds: float | None) -> bool:
        """Store a value entry unless there is a marker, or a value at least as new; return whether it was stored.

        Without ``seconds`` it lives for ever.
        """

    async def unlink(self, keys: Sequence[str | bytes]) -> int:
        """Remove ``keys`` without telling what they held; return how many there were. It is no invalidation."""

    def publish(self, channel: str, message: bytes) -> None:
        """Send a message to whoever listens; nobody waits for it, and it may be lost."""


async def fetched(store: Store, keys: Sequence[str]) -> dict[str, bytes | None]:
    """Return what ``store`` holds under different ``keys``: ``Store.fetch`` for those who would rather wait.

    Raises:
        UnavailableError: if any of them cannot be told.
    """
    found: dict[str, bytes | None] = {}
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(part: Sequence[str], values: Sequence[bytes | None] | UnavailableError) -> None:
        if done.done():  # another part has failed, or nobody waits any more
            return
        if isinstance(values, UnavailableError):
            done.set_exception(values)
            return
        found.update(zip(part, values, strict=True))
        if len(found) == len(keys):
            done.set_result(None)

    store.fetch(keys, take)
    await done
    return found
