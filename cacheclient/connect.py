"""Putting the parts of a cache together: from a URL, from the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec

from cacheclient.auditor import Auditor, Versions
from cacheclient.clock import Clock, boottime
from cacheclient.codec import Codec
from cacheclient.contract import Record
from cacheclient.errors import ConfigurationError, UnavailableError
from cacheclient.events import EventType, Priority
from cacheclient.flights import Flights
from cacheclient.hearing import Hearing
from cacheclient.hearsay import Hearsay
from cacheclient.invalidation import Invalidation
from cacheclient.keys import KeySpace
from cacheclient.loads import Loads
from cacheclient.local import Local
from cacheclient.migration import Migrator
from cacheclient.options import CacheOptions
from cacheclient.reading import Reader
from cacheclient.remote import Records, Target, TlsFiles, parse, read_secret
from cacheclient.retention import Retention
from cacheclient.revalidation import Revalidation
from cacheclient.serializer import Serializer
from cacheclient.shared import Connect, Shared, connect
from cacheclient.sizing import Follower
from cacheclient.stats import Stats
from cacheclient.storm import PushGuard
from cacheclient.tags import Tags
from cacheclient.tuner import Tuner

if TYPE_CHECKING:
    from cacheclient.doctor import Doctor
    from cacheclient.explain import Explainer


class Constructed(TypedDict):
    """What the settings leave for the constructor."""

    codec: str | Codec
    options: CacheOptions | None
    versions: Versions | None


class Settings(TypedDict, total=False):
    """What ``from_url`` may be told by name.

    Attributes:
        codec: ``msgpack`` (the default), ``json``, ``raw``, or an object of your own, see ``cacheclient.codec``.
        options: sizes, lifetimes and time limits.
        username: the Redis user; wins over the URL's.
        password: its password; wins over the URL's.
        password_file: a file that holds it instead; read for every connection, so that a rotation needs no restart.
        sentinel_password_file: a file with the password that the Sentinels ask for; likewise.
        ca_file: with ``rediss``, the authorities to trust instead of the machine's (PEM).
        cert_file: the certificate to show where servers ask for one (PEM).
        key_file: its key (PEM), unless ``cert_file`` holds it.
        versions: how the auditor compares what is cached with the source.
    """

    codec: str | Codec
    options: CacheOptions | None
    username: str | None
    password: str | None
    password_file: str | Path | None
    sentinel_password_file: str | Path | None
    ca_file: str | Path | None
    cert_file: str | Path | None
    key_file: str | Path | None
    versions: Versions | None


class Parts(msgspec.Struct, frozen=True):
    """What a cache is made of."""

    stats: Stats
    shared: Shared
    local: Local
    serializer: Serializer
    tags: Tags
    flights: Flights
    revalidation: Revalidation
    invalidation: Invalidation
    hearing: Hearing
    retention: Retention
    explainer: Callable[[], Explainer]
    auditor: Auditor
    doctor: Callable[[], Doctor]
    migrator: Migrator
    reader: Reader
    clock: Clock
    tuner: Tuner


def assemble(
    target: Target,
    space: KeySpace,
    codec: Codec,
    options: CacheOptions,
    clock: Clock = boottime,
    connect: Connect = connect,
    versions: Versions | None = None,
) -> Parts:
    """Return the parts of a cache, wired; nothing is opened yet. ``connect`` brings the shared side."""
    stats = Stats()
    follower = _follower(options)
    local = Local(options.l1, stats.l1, options.failsafe.offline, follower)
    shared = connect(target, space, options, stats, clock)
    store, gate = shared.store, shared.gate
    serializer = Serializer(codec, shared.server_clock, stats)
    tags = Tags(store, space, gate, clock)
    hearsay = Hearsay(space, options.sync.journal, shared.server_clock, clock)
    loads = Loads(space, store, local, serializer, tags, hearsay, options, stats=stats, gate=gate, clock=clock)
    flights = Flights(loads, options.sync.max_staleness, stats=stats, gate=gate, clock=clock)
    revalidation = Revalidation(space, store, local, tags, stats)
    auditor = Auditor(
        space, store, local, serializer, tags,
        options=options.sync if shared.listener is not None else dataclasses.replace(options.sync, audit=0),
        versions=versions, gate=gate, stats=stats, clock=clock,
    )  # fmt: skip
    invalidation = Invalidation(space, store, local, serializer, flights, tags, options, stats=stats, clock=clock)
    hearing = Hearing(
        space, local, tags, flights, revalidation, PushGuard(options.sync.max_pushes), auditor,
        own_id=invalidation.id, stats=stats, clock=clock,
    )  # fmt: skip
    hearing.note_with(hearsay.note)
    tags.distrust(invalidation.journal.owes_tag)
    revalidation.distrust(
        lambda item: (
            item.key in invalidation.journal or hearsay.refutes(space.full(item.key), item.written_ms, item.tags)
        )
    )
    if shared.link is not None and shared.listener is not None:
        invalidation.time_with(hearing.propagation.asked)
        shared.listener.report_to(hearing.told, hearing.heard)
        shared.link.on_renewal(invalidation.journal.replay)
        shared.link.on_renewal(hearsay.recall)
    retention = Retention(space, store, local, serializer, tags, invalidation.journal, hearsay, clock=clock)

    # People ask for these two, requests do not: their modules would be an eighth of what `import cacheclient` takes.
    def explainer() -> Explainer:
        from cacheclient.explain import Explainer  # noqa: PLC0415

        return Explainer(
            space, store, local, Serializer(codec, shared.server_clock, Stats()), flights, invalidation.journal,
            hearsay, gate=gate, clock=clock,
        )  # fmt: skip

    def doctor() -> Doctor:
        from cacheclient.doctor import Doctor  # noqa: PLC0415

        return Doctor(
            shared.patient, space, invalidation.journal, timeout=options.l2.timeout, gate=gate, stats=stats, clock=clock
        )

    migrator = Migrator(space, store, serializer, invalidation.grave, stats=stats, clock=clock)
    peek = local.reader(
        gate, clock, stats.all_lookups, lambda payload, key: serializer.decode(payload, space.prefix + key)
    )
    reader = Reader(
        space, store, local, serializer, tags, invalidation.journal, hearsay, peek=peek, stats=stats, clock=clock
    )
    tuner = Tuner(
        local, shared.patient, _prewarmer(space, shared.records, invalidation, hearing), options.tuning, options.l1,
        stats=stats, clock=clock,
    )  # fmt: skip
    return Parts(
        stats, shared, local, serializer, tags, flights, revalidation, invalidation, hearing, retention, explainer,
        auditor, doctor, migrator, reader, clock, tuner,
    )  # fmt: skip


def ask_for_prewarm(invalidation: Invalidation, hearing: Hearing, pattern: str, priority: Priority, plan: str) -> None:
    """Ask every process to pre-warm what matches ``pattern`` of whole Redis keys: others by an event, this one now."""
    event = invalidation.event(EventType.PREWARM, pattern, priority, plan=plan)
    hearing.prewarm(event)
    invalidation.announce(event)


def _prewarmer(
    space: KeySpace, records: Records, invalidation: Invalidation, hearing: Hearing
) -> Callable[[float], Awaitable[bool]]:
    """Return what asks the fleet for a pre-warm of the hot entries, once in so many seconds for all its processes."""

    async def prewarm(once_in: float) -> bool:
        try:
            if await records.create(space.record(Record.TUNING, EventType.PREWARM), invalidation.id.encode(), once_in):
                return False
        except UnavailableError:
            return False
        ask_for_prewarm(invalidation, hearing, f"{space.prefix}*", Priority.LOW, "hot")
        return True

    return prewarm


def _follower(options: CacheOptions) -> Follower | None:
    if not options.tuning.interval:
        return None
    return Follower(options.tuning.sample, options.l1.max_entries, options.l1.max_bytes, options.l2.ttl)


def target_of(url: str, settings: Settings) -> tuple[Target, Constructed]:
    """Return the target of ``url``, with secrets read from their files, and what else ``settings`` say.

    Raises:
        ConfigurationError: if the URL, a name or a file cannot be used, or a password is given twice.
    """
    unknown = settings.keys() - Settings.__annotations__.keys()
    if unknown:
        raise ConfigurationError(f"{min(unknown)}: no such setting; {', '.join(Settings.__annotations__)}")
    password, file = settings.get("password"), settings.get("password_file")
    sentinel_file = settings.get("sentinel_password_file")
    if password is not None and file is not None:
        raise ConfigurationError("password and password_file: give one of them")
    target = parse(
        url,
        username=settings.get("username"),
        password=read_secret(file) if file is not None else password,
        sentinel_password=read_secret(sentinel_file) if sentinel_file is not None else None,
    )
    target = dataclasses.replace(
        target, password_file=_path(file), sentinel_password_file=_path(sentinel_file), tls_files=_tls_files(settings)
    )
    return target, {
        "codec": settings.get("codec", "msgpack"), "options": settings.get("options"),
        "versions": settings.get("versions"),
    }  # fmt: skip


def _tls_files(settings: Settings) -> TlsFiles | None:
    files = TlsFiles(
        ca=_path(settings.get("ca_file")), certificate=_path(settings.get("cert_file")),
        key=_path(settings.get("key_file")),
    )  # fmt: skip
    return None if files == TlsFiles() else files


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
