"""What a cache saves and what it costs: one formula, for numbers and for PromQL. Pure.

``savings`` uses nothing but ``+``, ``*`` and division by a number. Given numbers it returns numbers (``GET
/cache/stats``); given expressions that write themselves down (``dashboards.arithmetic``) it returns the queries of the
dashboard. So both say the same, whatever becomes of the formula.

Money is computed from prices that somebody configured: the stack file's ``cost``, or the environment (``CACHE_COST_``).
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.stats import Stats

HOUR: Final = 3600.0  # seconds
MONTH: Final = 730 * HOUR  # a twelfth of a year, as clouds bill it
GIB: Final = 2.0**30
_HIGHEST: Final = 1e6  # dollars


class Amount(Protocol):
    """A number, or an expression that stands for one."""

    def __add__(self, other: Self, /) -> Self:
        """Return the sum."""

    def __mul__(self, other: Self, /) -> Self:
        """Return the product."""

    def __truediv__(self, other: float, /) -> Self:
        """Return the quotient."""


N = TypeVar("N", bound=Amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff(Generic[N]):
    """What things cost, in US dollars.

    Attributes:
        per_million_queries: a million calls of loaders: their share of the database's price.
        per_database_hour: an hour of the database's time, all loads one after the other. Databases are paid for by
            query or by size: give the price that you pay, and 0 for the other.
        per_million_round_trips: a million round trips to Redis: traffic between zones, say.
        per_redis_gib_month: a GiB of Redis memory for 730 hours, on each server of the set.
        per_process_gib_month: a GiB of a process's memory for 730 hours.
    """

    per_million_queries: N
    per_database_hour: N
    per_million_round_trips: N
    per_redis_gib_month: N
    per_process_gib_month: N


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices(Tariff[float]):
    """Prices as numbers; the defaults are of the size that clouds charge, for a first look.

    Raises:
        ConfigurationError: if one is not a number from 0 to a million; the text names it.
    """

    per_million_queries: float = 2.0
    per_database_hour: float = 0.0
    per_million_round_trips: float = 0.0
    per_redis_gib_month: float = 36.0
    per_process_gib_month: float = 3.6

    def __post_init__(self) -> None:
        for name in NAMES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _HIGHEST:
                raise ConfigurationError(f"cost {name}={value!r}: dollars, from 0 to {_HIGHEST:.0f}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Prices:
        """Return the prices that the environment sets, such as ``CACHE_COST_PER_MILLION_QUERIES=2``; else the defaults.

        Raises:
            ConfigurationError: for a variable that is no price (the nearest is named), or no number.
        """
        environ = os.environ if environ is None else environ
        known = {f"{Env.COST_PREFIX.value}{name}".upper(): name for name in NAMES}
        given: dict[str, float] = {}
        for variable in sorted(name for name in environ if name.startswith(Env.COST_PREFIX)):
            if variable not in known:
                near = difflib.get_close_matches(variable, known, n=1, cutoff=0)
                raise ConfigurationError(f"{variable}: no such price; did you mean {near[0]}?")
            try:
                given[known[variable]] = float(environ[variable])
            except ValueError:
                raise ConfigurationError(f"{variable}={environ[variable]!r}: a number of dollars is needed") from None
        return cls(**given)

    def to_env(self) -> dict[str, str]:
        """Return the environment variables that ``from_env`` reads back to equal prices."""
        return {f"{Env.COST_PREFIX.value}{name}".upper(): repr(float(getattr(self, name))) for name in NAMES}

    def to_dict(self) -> dict[str, float]:
        """Return the prices by name."""
        return dataclasses.asdict(self)


NAMES: Final = tuple(field.name for field in dataclasses.fields(Tariff))


@dataclass(frozen=True, slots=True, kw_only=True)
class Use(Generic[N]):
    """What was counted of a cache: rates per second, and levels.

    Attributes:
        l1_hits: lookups that L1 answered.
        l2_hits: lookups that Redis answered.
        joined: lookups that waited for a load that was in flight already, instead of loading as well.
        offline: lookups that L1 answered, marked stale, while Redis was away.
        mean_load: seconds that a load takes.
        redis_bytes: memory that Redis uses, on all servers together.
        l1_bytes: bytes that L1 holds, in all processes together.
    """

    l1_hits: N
    l2_hits: N
    joined: N
    offline: N
    mean_load: N
    redis_bytes: N
    l1_bytes: N


@dataclass(frozen=True, slots=True)
class Savings(Generic[N]):
    """What a cache is worth, per second.

    Attributes:
        queries: queries of the database that were not made.
        round_trips: round trips to Redis that were not made.
        database_seconds: time of the database that was not spent.
        saved: dollars that was worth.
        spent: dollars that the memory costs.
    """

    queries: N
    round_trips: N
    database_seconds: N
    saved: N
    spent: N


def savings(use: Use[N], prices: Tariff[N]) -> Savings[N]:
    """Return what a cache is worth, per second: a query saved costs what the mean one does."""
    queries = use.l1_hits + use.l2_hits + use.joined + use.offline
    database_seconds = queries * use.mean_load
    return Savings(
        queries,
        use.l1_hits,
        database_seconds,
        queries * prices.per_million_queries / 1e6
        + database_seconds * prices.per_database_hour / HOUR
        + use.l1_hits * prices.per_million_round_trips / 1e6,
        use.redis_bytes * prices.per_redis_gib_month / GIB / MONTH
        + use.l1_bytes * prices.per_process_gib_month / GIB / MONTH,
    )


def use_of(stats: Stats, seconds: float, redis_bytes: float = 0.0) -> Use[float]:
    """Return what a cache counted in so many seconds; ``redis_bytes`` is for the caller to know."""
    loads = stats.l3.lookup.count
    return Use(
        l1_hits=stats.l1.hits / seconds,
        l2_hits=stats.l2.hits / seconds,
        joined=stats.coalesced.total() / seconds,
        offline=stats.stale_served["offline"] / seconds,
        mean_load=stats.l3.lookup.total / loads if loads else 0.0,
        redis_bytes=redis_bytes,
        l1_bytes=float(stats.l1.size_bytes),
    )


def report(stats: Stats, prices: Prices, seconds: float, redis_bytes: float | None = None) -> dict[str, Any]:
    """Return for JSON what was saved in so many seconds, and what that is per hour.

    Without ``redis_bytes`` (memory in use, on all servers) the cost is that of L1 alone, and ``cost.redis_per_hour``
    is None: one process cannot say what share of Redis is its own.
    """
    seconds = max(seconds, 1e-9)
    worth = savings(use_of(stats, seconds, redis_bytes or 0.0), prices)
    of_l1 = savings(use_of(stats, seconds), prices).spent
    redis = None if redis_bytes is None else (worth.spent - of_l1) * HOUR
    return {
        "seconds": round(seconds, 3),
        "queries": round(worth.queries * seconds),
        "round_trips": round(worth.round_trips * seconds),
        "database_seconds": worth.database_seconds * seconds,
        "saved": worth.saved * seconds,
        "saved_per_hour": worth.saved * HOUR,
        "cost": {"l1_per_hour": of_l1 * HOUR, "redis_per_hour": redis},
        "prices": prices.to_dict(),
    }
