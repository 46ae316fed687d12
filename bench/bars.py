"""The bars, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from bench.figures import Outcome
from bench.hit_ratio import hit_ratio
from bench.importing import importing
from bench.l1_hit import asynchronous, threaded
from bench.memory import memory
from bench.mix import mixed
from bench.other_sizes import other_sizes
from bench.push import push
from bench.reads import many_tasks, many_threads, one_task
from bench.rendering import rendering
from bench.rounds import Setting
from bench.scale import pattern, tag
from bench.scraping import scraping
from bench.service import endpoint
from bench.stampede import stampede
from bench.tuning import tuning
from bench.warmup import warm_up


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it is about, and how it is measured."""

    title: str
    measure: Callable[[Setting], Coroutine[Any, Any, Outcome]]


BARS: Final = {
    "P1": Bar("an L1 hit through AsyncCache.get, over dict.get", asynchronous),
    "P2": Bar("an L1 hit through Cache.get, over dict.get", threaded),
    "P3": Bar("L1 hit ratio on access traces", hit_ratio),
    "P4": Bar("L2 reads of 1 KB by many tasks, over redis-py asyncio with hiredis, on uvloop", many_tasks),
    "P5": Bar("L2 reads of 1 KB by one task", one_task),
    "P6": Bar("L2 reads of 1 KB by 8 threads, over redis-py", many_threads),
    "P7": Bar("get_or_load by 64 tasks, over the textbook two-tier cache", mixed),
    "P8": Bar("stampede on one cold key from 4 processes, 0.2 s loader", stampede),
    "P9": Bar("the example service's cached endpoint, over the bare framework", endpoint),
    "P10": Bar("from invalidate to gone from another process's L1", push),
    "P11": Bar("invalidate_pattern among a million keys", pattern),
    "P12": Bar("invalidate_tag of few and of many entries", tag),
    "P13": Bar("rendering the stacks, from cold and warm", rendering),
    "P14": Bar("memory of L1 entries of 1 KB, over a dict", memory),
    "S1": Bar("a scrape after much traffic, over one after little", scraping),
    "S2": Bar("L1's hit ratio at other sizes: what it tells, beside what those sizes have", other_sizes),
    "S3": Bar("lookups during a warm-up, over lookups without one", warm_up),
    "S4": Bar("automatic tuning on access traces: how often it changes its mind", tuning),
    "S5": Bar("import cacheclient in a fresh interpreter", importing),
}
