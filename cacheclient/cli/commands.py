"""The commands of this package."""

from __future__ import annotations

from typing import Final

from cacheclient.cli.command import Command

CACHE: Final = "The cache"
"""The heading of what has to do with a cache; others have to do with the set of servers below it."""

COMMANDS: Final = (
    Command(
        name="stats",
        load="cacheclient.cli.statistics:stats",
        help="Show the hit rates, sizes and latencies of one process since it started.",
        panel=CACHE,
    ),
    Command(name="get", load="cacheclient.cli.lookups:get", help="Print the value of a key as JSON.", panel=CACHE),
    Command(
        name="explain",
        load="cacheclient.cli.lookups:explain",
        help="Say what Redis holds of a key, and what a lookup would find.",
        panel=CACHE,
    ),
    Command(
        name="invalidate",
        load="cacheclient.cli.invalidate:invalidate",
        help="Make every process forget keys, a pattern, a tag, or the whole namespace.",
        panel=CACHE,
    ),
    Command(
        name="migrate",
        load="cacheclient.cli.migrate:migrate",
        help="Copy the entries of an older version to this one, so that it need not start cold.",
        panel=CACHE,
    ),
    Command(
        name="warm",
        load="cacheclient.cli.warm:warm",
        help="Put entries into the cache before anybody asks for them.",
        panel=CACHE,
        extras=("warm",),
    ),
    Command(
        name="lock",
        load="cacheclient.cli.lock:lock",
        help="Run a command while nobody else in the fleet holds the lock.",
        panel=CACHE,
    ),
    Command(
        name="doctor",
        load="cacheclient.cli.doctor:doctor",
        help="Check everything that a cache stands on, and say how to mend it.",
        panel=CACHE,
    ),
)
