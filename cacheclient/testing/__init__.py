"""For the tests of applications: a Redis that fails on request, a clock that stands still, figures to assert.

::

    async def test_a_changed_profile_is_loaded_again(cache_fleet):  # a fixture: pytest finds it by itself
        async with cache_fleet.cache("profile") as cache:
            watch = Watch(cache)
            await show_profile(cache, "42")
            await change_profile(cache, "42")
            await show_profile(cache, "42")
            watch.expect(loads=2, invalidations=1)

Nothing here needs pytest but ``cacheclient.testing.plugin``, which holds the fixtures. See docs/testing.md.
"""

from cacheclient.testing.chaos import Chaos
from cacheclient.testing.clock import FakeClock
from cacheclient.testing.fleet import Fleet
from cacheclient.testing.line import Line
from cacheclient.testing.quiet import no_waits, quiet
from cacheclient.testing.store import Call, FakeStore, Hold
from cacheclient.testing.substitute import Substitution, memory, substituted
from cacheclient.testing.watch import Recorded, Watch

__all__ = [
    "Call", "Chaos", "FakeClock", "FakeStore", "Fleet", "Hold", "Line", "Recorded", "Substitution", "Watch", "memory",
    "no_waits", "quiet", "substituted",
]  # fmt: skip
