"""Options: small frozen values, one unit (seconds), refused at construction if they cannot work.

``CacheOptions.from_env`` and ``CacheOptions.to_env`` are inverses, so that the infrastructure program can set a pod's
environment from its stack file and the application reads back exactly those options. A variable is
``CACHE_OPT_<GROUP>_<FIELD>``, for example ``CACHE_OPT_L1_MAX_ENTRIES=10000``.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Self

from cacheclient.contract import Env, TuningLimit
from cacheclient.errors import ConfigurationError


class TTL(float, Enum):
    """The three lifetimes of requirement 2.5, in seconds."""

    SHORT = 300.0
    MEDIUM = 1800.0
    LONG = 3600.0


_MONTH: Final = 30 * 86_400.0
_HOUR: Final = 3600.0


def _seconds(name: str, value: float, low: float, high: float) -> float:
    """Return the seconds that a call gave; raise ConfigurationError if they are out of range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigurationError(f"{name}={value!r}: seconds, from {low:g} to {high:.15g}")
    return float(value)


def _check(owner: str, name: str, value: float, low: float, high: float, kind: type = float) -> None:
    allowed = int if kind is int else (int, float)
    if not isinstance(value, allowed) or isinstance(value, bool) or not low <= value <= high:
        noun = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{owner}.{name}={value!r}: {noun} from {low:.15g} to {high:.15g}")


def _check_flag(owner: str, name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{owner}.{name}={value!r}: true or false")


@dataclass(frozen=True, slots=True, kw_only=True)
class L1Options:
    """The tier in the process.

    Attributes:
        max_entries: entries held at most; 0 turns the tier off.
        max_bytes: encoded bytes held at most (the Python objects are larger by a factor that depends on the type).
        ttl: seconds an entry lives at most; never longer than it lives in L2.
        jitter: share of the ttl, 0 to 0.5, by which lives are shortened at random, so that they do not end together.
        copy: give every caller a value of its own, decoded anew at each hit, instead of one that callers share: for
            applications that change what they get. A hit then costs as much as decoding does.
    """

    max_entries: int = 10_000
    max_bytes: int = 64 * 2**20
    ttl: float = TTL.SHORT.value
    jitter: float = 0.1
    copy: bool = False

    def __post_init__(self) -> None:
        _check("l1", "max_entries", self.max_entries, 0, 10**8, int)
        _check("l1", "max_bytes", self.max_bytes, 1024, 2**40, int)
        _check("l1", "ttl", self.ttl, 0.001, 86_400)
        _check("l1", "jitter", self.jitter, 0, 0.5)
        _check_flag("l1", "copy", self.copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Options:
    """The tier in Redis.

    Attributes:
        ttl: seconds a value lives, unless the call says otherwise.
        timeout: seconds a Redis command may take before the caller goes on without Redis.
        connect_timeout: seconds for a connection, a handshake or a question to one Sentinel.
        max_batch: keys in one MGET at most; longer batches would stall other clients of Redis.
        early_refresh: how eagerly one reader reloads a value before it is stale (XFetch's beta; 0 turns it off).
    """

    ttl: float = TTL.MEDIUM.value
    timeout: float = 0.05
    connect_timeout: float = 1.0
    max_batch: int = 128
    early_refresh: float = 1.0

    def __post_init__(self) -> None:
        _check("l2", "ttl", self.ttl, 0.01, 30 * 86_400)
        _check("l2", "timeout", self.timeout, 0.001, 60)
        _check("l2", "connect_timeout", self.connect_timeout, 0.01, 60)
        _check("l2", "max_batch", self.max_batch, 1, 4096, int)
        _check("l2", "early_refresh", self.early_refresh, 0, 100)

    def life(self, ttl: float | None, name: str = "ttl") -> float:
        """Return the seconds that a value lives which a call gave ``ttl`` (under that ``name``).

        Raises:
            ConfigurationError: if that is neither None nor 0.001 s to 30 days.
        """
        return self.ttl if ttl is None else _seconds(name, ttl, 0.001, _MONTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """Leases: who in the fleet loads a missing key.

    Attributes:
        load_timeout: seconds after which a loader is cancelled.
        lease: seconds a lease lives if its holder dies; at least ``load_timeout``, so that a running load keeps it.
        wait: seconds a caller waits for another process's load before it loads by itself, without caching.
        max_unleased: loads without a lease at the same time in this process (bulkhead: Redis may be away for all keys).
    """

    load_timeout: float = 5.0
    lease: float = 5.0
    wait: float = 5.0
    max_unleased: int = 32

    def __post_init__(self) -> None:
        _check("lock", "load_timeout", self.load_timeout, 0.01, 3600)
        _check("lock", "lease", self.lease, 0.01, 3600)
        _check("lock", "wait", self.wait, 0.001, 3600)
        _check("lock", "max_unleased", self.max_unleased, 1, 10_000, int)
        if self.lease < self.load_timeout:
            raise ConfigurationError(f"lock.lease={self.lease!r}: at least lock.load_timeout ({self.load_timeout:g})")

    def limit(self, load_timeout: float | None) -> float:
        """Return the seconds that a load may take which a call gave ``load_timeout``.

        Raises:
            ConfigurationError: if that is neither None nor 0.01 s to an hour.
        """
        return self.load_timeout if load_timeout is None else _seconds("load_timeout", load_timeout, 0.01, _HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """Coherence of L1 with the fleet.

    Attributes:
        max_staleness: seconds. L1 answers only if the tracking connection proved itself alive with a question asked at
            most this long ago; so an entry is served at most this long after it was invalidated elsewhere.
        journal: seconds for which own invalidations are kept, to repeat them on a new master, and those that others
            announced, to believe nothing older there.
        max_pushes: changed keys that Redis may tell of in a second before L1 is switched off, until it has been half of
            that for five seconds: entries would leave about as fast as they come. 0: never.
        audit: one in so many invalidations is looked after, to measure how consistent the cache is. 0: none.
        supersedes: an older version whose entries an invalidation or a ``set`` of this one forgets, too: while pods of
            both run, or its entries are migrated. 0: none.
    """

    max_staleness: float = 1.0
    journal: float = 60.0
    max_pushes: int = 20_000
    audit: int = 1000
    supersedes: int = 0

    def __post_init__(self) -> None:
        _check("sync", "max_staleness", self.max_staleness, 0.05, 60)
        _check("sync", "journal", self.journal, 0, 3600)
        _check("sync", "max_pushes", self.max_pushes, 0, 10**9, int)
        _check("sync", "audit", self.audit, 0, 10**9, int)
        _check("sync", "supersedes", self.supersedes, 0, 10**9, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailsafeOptions:
    """What may be served when a value is past its time.

    Attributes:
        window: seconds after its lifetime for which a value may still be served if its loader fails; 0 turns this off.
        throttle: seconds for which the fleet then leaves the failing loader alone.
        revalidate: serve the stale value at once and reload behind it, instead of making a reader wait for the load.
        offline: seconds for which L1 goes on answering, marked stale, after its last proof of freshness has run out,
            while Redis does not answer either. What others invalidate meanwhile is not seen. 0 turns this off.
    """

    window: float = 0.0
    throttle: float = 5.0
    revalidate: bool = False
    offline: float = 0.0

    def __post_init__(self) -> None:
        _check("failsafe", "window", self.window, 0, 30 * 86_400)
        _check("failsafe", "throttle", self.throttle, 0.01, 3600)
        _check("failsafe", "offline", self.offline, 0, 86_400)
        _check_flag("failsafe", "revalidate", self.revalidate)
        if self.revalidate and not self.window:
            raise ConfigurationError("failsafe.revalidate=True: needs failsafe.window above 0")

    def allowance(self, stale: float | None) -> float:
        """Return the seconds past its time for which a value may be served by a call that gave ``stale``.

        Raises:
            ConfigurationError: if that is neither None nor 0 s to 30 days.
        """
        return self.window if stale is None else _seconds("stale", stale, 0, _MONTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """What a cache finds out about itself, and the four rules that act on it (see ``tuning``).

    Attributes:
        interval: seconds between two looks at the figures; 0 turns all of this off.
        sample: keys that are followed, of those that L1 has room for, to tell what hit rate it would have at other
            sizes. With 128 that is right within one to three points; each costs about 4 KB.
        apply: carry out what the rules decide. By default they only say what they would do, and why.
        l2_hit_rate: below it scaling Redis up is suggested; 0: never.
        pressure: bytes of L1 over those allowed, above which entries are given up until ``evict_to`` of them are held;
            1: never.
        evict_to: that target; below ``pressure``.
        l1_hit_rate: below it the L1 TTL is raised to ``raised_ttl``; 0: never.
        raised_ttl: seconds; nothing is raised if ``l1.ttl`` is as much already.
        invalidations: a second; more of them trigger a pre-warm.
        hold: seconds for which a figure must be beyond its threshold.
        cooldown: seconds after a change of a rule, and after the start, in which it changes nothing.
    """

    interval: float = 10.0
    sample: int = 128
    apply: bool = False
    l2_hit_rate: float = TuningLimit.L2_HIT_RATE.value
    pressure: float = TuningLimit.PRESSURE.value
    evict_to: float = 0.7
    l1_hit_rate: float = TuningLimit.L1_HIT_RATE.value
    raised_ttl: float = TuningLimit.RAISED_TTL.value
    invalidations: float = TuningLimit.INVALIDATIONS.value
    hold: float = 30.0
    cooldown: float = 300.0

    def __post_init__(self) -> None:
        _check("tuning", "interval", self.interval, 0, 3600)
        _check("tuning", "sample", self.sample, 16, 65_536, int)
        _check_flag("tuning", "apply", self.apply)
        for share in ("l2_hit_rate", "pressure", "l1_hit_rate"):
            _check("tuning", share, getattr(self, share), 0, 1)
        _check("tuning", "evict_to", self.evict_to, 0.1, 1)
        _check("tuning", "raised_ttl", self.raised_ttl, 1, 86_400)
        _check("tuning", "invalidations", self.invalidations, 0.01, 10**6)
        _check("tuning", "hold", self.hold, 0, 3600)
        _check("tuning", "cooldown", self.cooldown, 1, 86_400)
        if self.evict_to >= self.pressure:
            raise ConfigurationError(f"tuning.evict_to={self.evict_to!r}: below tuning.pressure ({self.pressure:g})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """All options of a cache."""

    l1: L1Options = field(default_factory=L1Options)
    l2: L2Options = field(default_factory=L2Options)
    lock: LockOptions = field(default_factory=LockOptions)
    sync: SyncOptions = field(default_factory=SyncOptions)
    failsafe: FailsafeOptions = field(default_factory=FailsafeOptions)
    tuning: TuningOptions = field(default_factory=TuningOptions)

    def to_env(self) -> dict[str, str]:
        """Return the environment variables that ``from_env`` reads back to an equal value."""
        return {
            _variable(group.name, option.name): _text(getattr(getattr(self, group.name), option.name))
            for group in dataclasses.fields(self)
            for option in dataclasses.fields(getattr(self, group.name))
        }

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return the options that the environment sets; what it does not set keeps its default.

        Raises:
            ConfigurationError: for a ``CACHE_OPT_`` variable that is no option (the nearest is named) or no number.
        """
        environ = os.environ if environ is None else environ
        default = cls()
        known = {
            _variable(group.name, option.name): (
                group.name,
                option.name,
                type(getattr(getattr(default, group.name), option.name)),
            )
            for group in dataclasses.fields(default)
            for option in dataclasses.fields(getattr(default, group.name))
        }
        values: dict[str, dict[str, Any]] = {}
        for variable, text in environ.items():
            if variable.startswith(Env.OPTION_PREFIX):
                group, option, kind = _lookup(variable, known)
                values.setdefault(group, {})[option] = _value(variable, text, kind)
        return dataclasses.replace(
            default, **{group: dataclasses.replace(getattr(default, group), **given) for group, given in values.items()}
        )


def _variable(group: str, option: str) -> str:
    return f"{Env.OPTION_PREFIX.value}{group}_{option}".upper()


def _text(value: float) -> str:
    return repr(float(value)) if isinstance(value, TTL) else repr(value)  # an Enum's repr is not a number


def _lookup(variable: str, known: Mapping[str, tuple[str, str, type]]) -> tuple[str, str, type]:
    if variable in known:
        return known[variable]
    nearest = difflib.get_close_matches(variable, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(sorted(known))}"
    raise ConfigurationError(f"{variable}: no such option{hint}")


def _value(variable: str, text: str, kind: type) -> float | bool:
    if kind is bool:
        if text not in ("True", "true", "False", "false"):
            raise ConfigurationError(f"{variable}={text!r}: true or false")
        return text in ("True", "true")
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise ConfigurationError(
            f"{variable}={text!r}: a {'whole number' if kind is int else 'number (seconds)'} is needed"
        ) from None
