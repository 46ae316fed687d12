"""What others said that they invalidated or set, kept in case a failover undoes it.

A master that dies takes with it what no replica had yet, so what was invalidated last is back on the new one. Its
writer repeats it (see ``journal``), but only when the new master takes writes: without a replica that keeps up it
refuses them, for seconds, and serves what it has. And the writer may have died with the master.

But whoever listened has heard of it: every invalidation is announced before it takes effect. So each process remembers
what it was told, as the journal does its own. For ``keep`` seconds after a change of master it believes nothing that
was written before what it was told of: that is a miss, and loaded anew, by one process of the fleet if the master takes
writes. What was loaded after the invalidation is believed at once, and so is what was set.

An entry says when it was written, an event what it makes void, both by the time of the Redis server. The new master's
clock may differ, so nothing that was written since the change of master is ever doubted.

It is no promise: an event may be lost, and who was cut off from the old master has heard none. What a writer announces
when it tries to repeat an invalidation on the new master counts as well.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from cacheclient.clock import Clock, ServerClock
from cacheclient.entry import Tagged
from cacheclient.events import Event, EventType
from cacheclient.keys import Glob, KeySpace, may_reach

_MAX_KEYS: Final = 10_000  # keys and tags remembered: the latest
_MAX_PATTERNS: Final = 100  # likewise; each is compared with every key that is read after a failover


class _Told(NamedTuple):
    """What was said at a moment of the cache's clock: what was written before ``before_ms`` is void."""

    glob: Glob
    at: float
    before_ms: int


class Hearsay:
    """What one cache was told by the others."""

    def __init__(self, space: KeySpace, keep: float, server_clock: ServerClock, clock: Clock) -> None:
        self._space = space
        self._keep = keep
        self._server_clock = server_clock
        self._clock = clock
        self._keys: OrderedDict[str, _Told] = OrderedDict()  # by whole Redis key, those of markers too
        self._patterns: OrderedDict[str, _Told] = OrderedDict()
        self._doubted_ms = 0  # what was written since then, by the server's time, is not doubted
        self._ends = 0.0  # when nothing is doubted any more, by the cache's clock

    def note(self, event: Event, glob: Glob) -> None:
        """Remember an event of another cache, about what ``glob`` matches."""
        before_ms = event.before_ms
        if not before_ms and event.event_type is EventType.INVALIDATE:  # of a system that is no cache
            before_ms = self._server_clock.now_ms()
        if not before_ms or not self._concerns(glob):
            return
        told = _Told(glob, self._clock(), before_ms)
        if glob.literal is None:
            _remember(self._patterns, glob.pattern, told, _MAX_PATTERNS)
        else:
            _remember(self._keys, glob.literal, told, _MAX_KEYS)

    def recall(self) -> None:
        """Believe nothing that is void: the master may have lost what made it so, or is another one."""
        now = self._clock()
        self._doubted_ms, self._ends = self._server_clock.now_ms(), now + self._keep
        for told in (self._keys, self._patterns):
            for name in [name for name, said in told.items() if said.at < now - self._keep]:
                del told[name]

    @property
    def doubts(self) -> bool:
        """Whether ``refutes`` may say so of anything now."""
        return bool(self._keys or self._patterns) and self._clock() < self._ends

    def refutes(self, full: str, written_ms: int, tagged: Tagged) -> bool:
        """Return whether an entry that Redis has under the key ``full`` is void."""
        if written_ms >= self._doubted_ms or not self.doubts:
            return False
        names = (full, *(self._space.marker(name) for name, _ in tagged))
        told = [self._keys[name] for name in names if name in self._keys]
        told += [said for said in self._patterns.values() if said.glob.matches(full)]
        return any(written_ms < said.before_ms for said in told)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _concerns(self, glob: Glob) -> bool:
        """Whether this cache may read what ``glob`` matches."""
        if glob.literal is not None:
            return glob.literal.startswith((self._space.prefix, self._space.tag_prefix))
        return may_reach(glob.pattern, self._space.prefix)


def _remember(all_told: OrderedDict[str, _Told], name: str, told: _Told, most: int) -> None:
    """Remember the latest of each name, and ``most`` names. What is repeated may come after what followed it."""
    old = all_told.get(name)
    if old is not None and old.before_ms > told.before_ms:
        told = told._replace(before_ms=old.before_ms)
    all_told[name] = told
    all_told.move_to_end(name)
    if len(all_told) > most:
        all_told.popitem(last=False)
