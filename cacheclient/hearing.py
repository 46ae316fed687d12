"""What a cache does when it is told what others did: pushes of the tracking connection, and events of the channels.

Pushes are Redis' own word that a key changed, and coherence rests on them: each is handled at once, and cheaply, since
every process gets those of the whole fleet. Past a rate L1 is switched off (see ``storm``).

Events are for what no key change can say, and for systems that are not caches. Their priority says how soon they are
heeded. One key is dropped at once, whatever the priority. A pattern costs a pass over all of L1, so only a ``high`` one
gets a pass of its own; ``normal`` ones share the one at the end of this event-loop tick; ``low`` ones are gathered for
a quarter of a second. None of this delays a push. A ``prewarm`` event goes to who asked for them (``on_prewarm``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from cacheclient import events
from cacheclient.auditor import Auditor
from cacheclient.clock import Clock
from cacheclient.events import Event, EventType, Priority
from cacheclient.flights import Flights
from cacheclient.keys import Glob, KeySpace, may_reach
from cacheclient.local import Local
from cacheclient.propagation import Propagation
from cacheclient.revalidation import Revalidation
from cacheclient.sizing import Follower
from cacheclient.stats import Stats
from cacheclient.storm import PushGuard
from cacheclient.tags import NAMESPACE, Tags
from cacheclient.witness import Witnesses

_LOW_DELAY: Final = 0.25  # seconds for which patterns of low priority are gathered
_MAX_WAITING: Final = 1000  # different patterns that may wait
_log = logging.getLogger("cacheclient")


class Hearing:
    """The ear of one cache; ``own_id`` is in the events that it sent itself.

    Attributes:
        propagation: times the own invalidations until they are heard of.
        witnesses: are told of every invalidation, own ones too.
    """

    def __init__(
        self,
        space: KeySpace,
        local: Local,
        tags: Tags,
        flights: Flights,
        revalidation: Revalidation,
        guard: PushGuard,
        auditor: Auditor,
        *,
        own_id: str,
        stats: Stats,
        clock: Clock,
    ) -> None:
        self._space = space
        self._local = local
        self._tags = tags
        self._flights = flights
        self._revalidation = revalidation
        self._guard = guard
        self._auditor = auditor
        self._note: Callable[[Event, Glob], None] = lambda *_: None
        self.propagation = Propagation(stats.propagation, clock)
        self._own_id = own_id
        self._stats = stats
        self._clock = clock
        self._waiting: dict[str, Glob] = {}
        self._soon: asyncio.Handle | None = None  # what waits is applied at the end of this tick
        self._later: asyncio.Handle | None = None  # or a little later
        self._prewarmers: list[Callable[[Event], None]] = []
        self.witnesses = Witnesses()

    def on_prewarm(self, callback: Callable[[Event], None]) -> None:
        """Have ``callback`` called on the event loop with each prewarm event that may concern this namespace."""
        self._prewarmers.append(callback)

    def note_with(self, note: Callable[[Event, Glob], None]) -> None:
        """Have ``note`` called with each event of another cache about what changed, and the pattern in it."""
        self._note = note

    def close(self) -> None:
        """Forget what waits to be applied."""
        self._waiting.clear()
        self._unplan()

    def told(self, keys: Sequence[str] | None) -> None:
        """Take a push of the listener: these Redis keys changed; None means that any may have.

        No keys at all is a sign of life: nothing has changed up to now.
        """
        if keys is None:
            self.propagation.gap()
            self.witnesses.gap()
            self._tags.forget()
            self._flights.pushed_all()
            self._revalidation.begin()
            return
        now = self._clock()
        if self._guard.count(len(keys), now):
            self._switch()
        if not keys:
            self._local.note_proof(now)
        drop, pushed, prefix, cut = self._local.drop, self._flights.pushed, self._space.prefix, len(self._space.prefix)
        told = [full[cut:] for full in keys if full.startswith(prefix)]
        for key in told:
            drop(key)
            pushed(key)
        if self.propagation.waiting:
            self.propagation.told(told)
        if told:
            self._stats.invalidations["key/remote"] += len(told)
            self._auditor.sample(told)
        if len(told) < len(keys):
            for full in keys:
                if full.startswith(self._space.tag_prefix):
                    self._tag_changed(full.removeprefix(self._space.tag_prefix))

    def heard(self, data: bytes) -> None:
        """Take an event of the channels: drop from L1 what an invalidation or an update of somebody else names."""
        event = events.decode(data)
        if event is None:
            self._stats.events[events.misfit(data)] += 1
            return
        self._stats.events[event.event_type] += 1
        own = event.id == self._own_id
        if event.event_type is not EventType.PREWARM:
            self._changed(event, own=own)
        elif not own:
            self.prewarm(event)

    def prewarm(self, event: Event) -> None:
        """Tell those who asked for pre-warms of ``event``, if it may concern this namespace."""
        if not may_reach(event.key_pattern, self._space.prefix):
            return
        for callback in self._prewarmers:
            try:
                callback(event)
            except Exception:  # noqa: BLE001  whatever it raises, the listener goes on
                _log.exception("cacheclient: a prewarm event was not heeded")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _changed(self, event: Event, *, own: bool) -> None:
        follower = self._local.follower if event.event_type is EventType.INVALIDATE else None
        if own and not self.witnesses and follower is None:
            return
        try:
            glob = Glob(event.key_pattern)
        except ValueError:
            self._stats.events["malformed"] += 1
            return
        key = None if glob.literal is None else self._space.short(glob.literal)
        if follower is not None:
            self._follow(follower, glob)
        if glob.literal is None:
            self.witnesses.pattern(glob)
        elif key is not None:
            self.witnesses.changed(key)
        if own:
            return
        self._note(event, glob)
        if glob.literal is None:
            self._stats.invalidations["event/remote"] += 1
            self._match(glob, event.priority)
        elif key is not None:
            self._stats.invalidations["event/remote"] += 1
            self._flights.pushed(key)
            if not (event.id and self._auditor.sample((key,))):  # another cache of ours: its push drops the key, too
                self._local.drop(key)

    def _switch(self) -> None:
        self._stats.l1_off = self._guard.storm
        if self._guard.storm:
            self._stats.storms += 1
            self._local.switch_off()
            _log.warning("cacheclient: L1 of %s is off: pushes come faster than sync.max_pushes", self._space.prefix)
        else:
            self._local.switch_on()
            _log.warning("cacheclient: L1 of %s is on again", self._space.prefix)

    def _tag_changed(self, name: str) -> None:
        self._stats.invalidations["tag/remote"] += 1
        self.witnesses.tag(name)
        self._tags.changed(name)
        if name == NAMESPACE:
            self._local.flush()
        self._flights.pushed_all()

    def _follow(self, follower: Follower, glob: Glob) -> None:
        """Tell the follower what L2 has lost."""
        if glob.literal is None:
            follower.invalidated_matching(lambda key: glob.matches(self._space.prefix + key))
        elif (key := self._space.short(glob.literal)) is not None:
            follower.invalidated(key)

    def _match(self, glob: Glob, priority: Priority) -> None:
        """Drop what ``glob`` matches: now, at the end of this tick, or a little later."""
        self._waiting[glob.pattern] = glob
        if priority is Priority.HIGH or len(self._waiting) > _MAX_WAITING:
            self._apply()
        elif priority is Priority.NORMAL:
            self._soon = self._soon or asyncio.get_running_loop().call_soon(self._apply)
        else:
            self._later = self._later or asyncio.get_running_loop().call_later(_LOW_DELAY, self._apply)

    def _unplan(self) -> None:
        for handle in (self._soon, self._later):
            if handle is not None:
                handle.cancel()
        self._soon = self._later = None

    def _apply(self) -> None:
        """Drop, in one pass, what the patterns match that wait."""
        self._unplan()
        globs, self._waiting = list(self._waiting.values()), {}
        prefix = self._space.prefix
        self._local.drop_matching(lambda key: any(glob.matches(prefix + key) for glob in globs))
        self._flights.pushed_all()
