"""Entries of an older version, copied to this one, so that a release with another schema need not start cold.

The old version's keys are searched in small steps (SCAN), and each value entry that can be read is transformed and
stored under the new version's key, with what is left of its life and the tags it had. What the new version has already
is never undone: the copy is stored only over nothing, or over a value written before it (``scripts/adopt.lua``). After
it was stored the original is looked at again, and a copy of what has changed meanwhile is taken back.

Both versions run during a rollout, and each invalidates its own keys. An entry of the old version that only a pod of
the new one invalidated would be copied as if it were good. So pods of the new version run with ``sync.supersedes``
until the migration is over: what they invalidate is forgotten under the old version, too. The other way there is no
such help: what a pod of the old version invalidates stays in the new one, copied or loaded, unless it does so by tag,
since versions share tags.

Where it stands is kept in Redis after every step, so that a migration that was interrupted goes on; doing a step twice
changes nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypedDict

import msgspec

from cacheclient import entry
from cacheclient.clock import Clock
from cacheclient.codec import Codec, KeyedCodec, for_name
from cacheclient.codec.protocol import PLAIN
from cacheclient.entry import KEPT, NEGATIVE, Stored
from cacheclient.errors import CodecError, ConfigurationError, UnavailableError
from cacheclient.keys import KeySpace
from cacheclient.missing import MISSING
from cacheclient.remote import Held, Store, fetched
from cacheclient.serializer import Serializer
from cacheclient.stats import Stats

MAX_ERRORS: Final = 100  # told one by one; all are counted
_STEP: Final = 200  # keys looked at in one step of SCAN
_REMEMBERED: Final = 7 * 86_400  # seconds for which an interrupted migration can go on where it was
_PAUSES: Final = (0.05, 0.2, 1.0, 5.0, 15.0)  # seconds between attempts while Redis does not answer

Transform = Callable[[Any], Any]


@dataclass(slots=True)
class Migration:
    """How far a migration has come.

    Attributes:
        seen: keys of the old version looked at; SCAN may show one twice.
        copied: entries that the new version has now (in a dry run: would have).
        skipped: what needed no copy: the new version has something at least as new; a lease, a tombstone, a value past
            its time; ``transform`` returned MISSING; the original changed while it was copied.
        failed: what could not be read, transformed or encoded.
        dropped: old entries removed.
        errors: the ids and texts of the first 100 that failed.
        done: whether every key has been looked at.
    """

    seen: int = 0
    copied: int = 0
    skipped: int = 0
    failed: int = 0
    dropped: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    done: bool = False


class PlanOptions(TypedDict, total=False):
    """What a migration may be told by name.

    Attributes:
        transform: takes the old value and returns the new one, or something awaitable that gives it; MISSING: no copy.
            It runs on the event loop, so it must be quick, and may be asked twice for one value. Without one the bytes
            are copied, if they decode to the new type.
        codec: what the old values were encoded with. By default they are decoded to plain dicts, lists and strings if a
            plain codec wrote them and there is a ``transform``; else with the cache's own codec.
        drop_old: remove each old entry when the new version has it. Pods of the old version then load it again.
        rate: keys a second at most, 1 to 1000000 (default 2000). Where Redis is slow it is less. Each copy is told to
            every process of the new version: past ``sync.max_pushes`` their L1 is switched off meanwhile.
        resume: go on where an earlier migration between these versions was interrupted (default), or begin anew.
        dry_run: count what would be done, and change nothing.
        strict: raise the first error of a transform or a codec, instead of counting it.
        progress: called with how far it has come after each step, some hundred keys, on the event loop.
    """

    transform: Transform | None
    codec: Codec | None
    drop_old: bool
    rate: float
    resume: bool
    dry_run: bool
    strict: bool
    progress: Callable[[Migration], None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``PlanOptions`` with their defaults."""

    transform: Transform | None = None
    codec: Codec | None = None
    drop_old: bool = False
    rate: float = 2000.0
    resume: bool = True
    dry_run: bool = False
    strict: bool = False
    progress: Callable[[Migration], None] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, (int, float)) or not 1 <= self.rate <= 1e6:  # noqa: PLR2004
            raise ConfigurationError(f"migrate rate={self.rate!r}: keys a second, from 1 to 1000000")


class _Place(msgspec.Struct):
    """What is kept in Redis of a migration under way."""

    at: dict[str, str]
    done: Migration


class _Copy(NamedTuple):
    """One entry on its way: both keys, the copy, its write id, the original's, and the seconds it has left."""

    old: str
    new: str
    data: bytes
    write_id: bytes
    original: bytes
    left: float


class Migrator:
    """Migrates entries to the version of one cache."""

    def __init__(
        self, space: KeySpace, store: Store, serializer: Serializer, grave: float, *, stats: Stats, clock: Clock
    ) -> None:
        """Prepare; ``grave`` is for how many seconds a tombstone stands."""
        self._space = space
        self._store = store
        self._serializer = serializer
        self._grave = grave
        self._stats = stats
        self._clock = clock

    async def run(self, old_version: int, plan: Plan) -> Migration:
        """Copy the entries of ``old_version``; see ``AsyncCache.migrate``."""
        source = KeySpace(self._space.namespace, old_version)
        if old_version == self._space.version:
            raise ConfigurationError(f"migrate old_version={old_version!r}: another version than the cache's own")
        memo = self._space.migration(old_version)
        place = await self._recall(memo) if plan.resume and not plan.dry_run else _Place({}, Migration())
        failures = 0
        while not place.done.done:
            try:
                async for step in self._store.scan(source.prefix + "*", _STEP, place.at):
                    began = self._clock()
                    await self._step(source, step.keys, plan, place.done)
                    place.at[step.history] = step.cursor
                    await self._note(memo, place, plan)
                    failures = 0
                    await self._rest(len(step.keys), self._clock() - began, plan.rate)
                place.done.done = True
            except UnavailableError:
                if failures == len(_PAUSES):
                    raise
                await asyncio.sleep(_PAUSES[failures])
                failures += 1
        if not plan.dry_run:
            await self._store.unlink([memo])
        self._tell(plan, place.done)
        return place.done

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _recall(self, memo: str) -> _Place:
        raw = (await fetched(self._store, [memo]))[memo]
        try:
            return msgspec.json.decode(raw or b"", type=_Place)
        except msgspec.DecodeError:
            return _Place({}, Migration())

    async def _note(self, memo: str, place: _Place, plan: Plan) -> None:
        if not plan.dry_run:
            await self._store.put(memo, msgspec.json.encode(place), _REMEMBERED)
        self._tell(plan, place.done)

    @staticmethod
    def _tell(plan: Plan, done: Migration) -> None:
        if plan.progress is not None:
            plan.progress(done)

    @staticmethod
    async def _rest(keys: int, busy: float, rate: float) -> None:
        """Keep to the rate, and leave Redis to others for at least as long as it was kept busy."""
        await asyncio.sleep(max(busy, keys / rate - busy))

    async def _step(self, source: KeySpace, found: Sequence[bytes], plan: Plan, done: Migration) -> None:
        keys = [key.decode("utf-8", "replace") for key in found]
        held = await self._store.inspect(keys)
        result = Migration(seen=len(keys))
        copies: list[_Copy] = []
        for full, one in zip(keys, held, strict=True):
            try:
                copy = await self._prepare(source, full, one, plan)
            except Exception as error:  # the application's transform and codec may raise anything
                if plan.strict:
                    error.add_note(f"while {full!r} was migrated")
                    raise
                result.failed += 1
                result.errors.append((full.removeprefix(source.prefix), f"{type(error).__name__}: {error}"))
            else:
                if copy is None:
                    result.skipped += 1
                else:
                    copies.append(copy)
        await self._carry_out(copies, plan, result)
        self._add(result, done)

    async def _prepare(self, source: KeySpace, full: str, held: Held, plan: Plan) -> _Copy | None:
        """Return the copy to store; None if there is nothing to copy. Raises what the transform or a codec raises."""
        if held.raw is None or held.left <= 0 or entry.is_marker(held.raw):
            return None
        old = entry.unpack(held.raw)
        if old is None:
            raise CodecError("not an entry that this release can read")
        if old.flags & KEPT:  # its time is that of its loader's failure, not that of its value
            return None
        new = self._space.prefix + full.removeprefix(source.prefix)
        payload = await self._payload(old, full, new, plan)
        if payload is None:
            return None
        write_id = entry.new_write_id()
        codec_id = self._serializer.codec.id
        data = entry.pack(msgspec.structs.replace(old, write_id=write_id, codec_id=codec_id, payload=payload))
        if self._serializer.load(data, new) is None:
            raise CodecError("it does not decode to the new version's type: give a transform")
        return _Copy(full, new, data, write_id, old.write_id, held.left)

    async def _payload(self, old: Stored, full: str, new: str, plan: Plan) -> bytes | None:
        """Return the payload under the key ``new``; None if the transform wants no copy."""
        codec = self._serializer.codec
        if old.flags & NEGATIVE:
            return b""
        if plan.transform is None and plan.codec is None and not isinstance(codec, KeyedCodec):
            if old.codec_id != codec.id:
                raise CodecError(f"codec {old.codec_id}, not {codec.id}: say what the old codec was")
            return old.payload
        reader = plan.codec or _reader(old.codec_id, codec, transformed=plan.transform is not None)
        value = reader.decode_for(full, old.payload) if isinstance(reader, KeyedCodec) else reader.decode(old.payload)
        if plan.transform is not None:
            value = plan.transform(value)
            if inspect.isawaitable(value):
                value = await value
        return None if value is MISSING else self._serializer.encode(value, new)

    async def _carry_out(self, copies: list[_Copy], plan: Plan, result: Migration) -> None:
        """Store the copies, take back those whose original changed meanwhile, drop the originals if that is asked."""
        if plan.dry_run:
            there = await self._store.write_ids([copy.new for copy in copies])
            result.copied += there.count(None)
            result.skipped += len(there) - there.count(None)
            return
        stored = await asyncio.gather(*(self._store.adopt(c.new, c.data, _life(c.left)) for c in copies))
        originals = await self._store.write_ids([copy.old for copy in copies])
        spent = []
        for copy, adopted, original in zip(copies, stored, originals, strict=True):
            stands = original == copy.original
            if adopted and not stands:
                grave = entry.tombstone(entry.new_write_id())
                await self._store.fill(copy.new, copy.write_id, grave, self._grave)
            result.copied += adopted and stands
            result.skipped += not (adopted and stands)
            if stands:
                spent.append(copy.old)
        if plan.drop_old and spent:
            result.dropped += await self._store.unlink(spent)

    def _add(self, result: Migration, done: Migration) -> None:
        for name in ("seen", "copied", "skipped", "failed", "dropped"):
            setattr(done, name, getattr(done, name) + getattr(result, name))
            self._stats.migrated[name] += getattr(result, name)
        done.errors.extend(result.errors[: MAX_ERRORS - len(done.errors)])


def _reader(codec_id: int, own: Codec, *, transformed: bool) -> Codec:
    """Return what decodes the old values: the plain codec of that id, to plain types, or the cache's own."""
    if transformed and codec_id in PLAIN:
        return for_name(PLAIN[codec_id])
    if codec_id != own.id:
        raise CodecError(f"codec {codec_id}: say what the old codec was")
    return own


def _life(left: float) -> float | None:
    return None if left == math.inf else left
