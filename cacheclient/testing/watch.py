"""What tests assert about a cache: how often the source was asked, and what was invalidated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cacheclient.cache import AsyncCache
from cacheclient.stats import Stats
from cacheclient.sync import Cache

_FIGURES: Final[dict[str, Callable[[Stats], int]]] = {
    "lookups": lambda s: s.lookups,
    "l1_hits": lambda s: s.l1.hits,
    "l2_hits": lambda s: s.l2.hits,
    "misses": lambda s: s.l2.misses,
    "loads": lambda s: s.loads,
    "invalidations": lambda s: sum(n for kind, n in s.invalidations.items() if kind.endswith("/local")),
    "heard": lambda s: sum(n for kind, n in s.invalidations.items() if kind.endswith("/remote")),
    "stale": lambda s: s.stale_served.total(),
    "errors": lambda s: s.errors.total(),
}


class Watch:
    """What ``caches`` have done, all together, since this was made.

    The figures: ``lookups`` by the application; ``l1_hits``, ``l2_hits`` and ``misses`` say who answered; ``loads`` are
    calls of loaders; ``invalidations`` were made by these caches (keys, tags, patterns), ``heard`` are changes that
    they were told of, their own included; ``stale`` values served past their time; ``errors`` of any tier.
    """

    def __init__(self, *caches: AsyncCache[Any] | Cache[Any]) -> None:
        self._before = [(cache, cache.stats()) for cache in caches]

    @property
    def stats(self) -> Stats:
        """Every counter, as the difference."""
        return Stats.merge(cache.stats() - before for cache, before in self._before)

    @property
    def seen(self) -> dict[str, int]:
        """The figures by name."""
        stats = self.stats
        return {name: figure(stats) for name, figure in _FIGURES.items()}

    def expect(self, **figures: int) -> None:
        """Compare the figures named with what was seen: ``expect(loads=1, invalidations=2)``.

        Raises:
            AssertionError: if one differs; it says what was expected and everything that was seen.
            TypeError: if there is no such figure.
        """
        if unknown := figures.keys() - _FIGURES.keys():
            raise TypeError(f"no such figure: {', '.join(sorted(unknown))}; known: {', '.join(_FIGURES)}")
        seen = self.seen
        wrong = [f"{name}: expected {want}, seen {seen[name]}" for name, want in figures.items() if seen[name] != want]
        if wrong:
            everything = ", ".join(f"{name} {count}" for name, count in seen.items())
            raise AssertionError(f"{'; '.join(wrong)}\nall that was seen: {everything}")


class Recorded:
    """A loader that remembers what it was asked for. Wraps one for a key or for many, plain or asynchronous.

    Attributes:
        asked: the argument of each call, in order: a key, or the keys of one call of ``get_or_load_many``.
        error: raised by every call while it is set: the source is down.
    """

    def __init__(self, load: Callable[[Any], Any]) -> None:
        self._load = load
        self.asked: list[Any] = []
        self.error: Exception | None = None

    def __call__(self, wanted: Any) -> Any:
        """Load."""
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        return self._load(wanted)
