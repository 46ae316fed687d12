"""S3-FIFO by hand: who leaves, who stays, and what is left of those that left out of turn."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import L1Options
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.queues import _FEW, GONE, SMALL_SHARE, Queues
from cacheclient.stats import TierStats
from tests.client.test_local import stored


class Entry:
    def __init__(self, key: str) -> None:
        self.key = key
        self.frequency = 0
        self.place = GONE


class Reference:
    """The paper's queues with ordered dicts, from which an entry is taken at once."""

    def __init__(self, size: int) -> None:
        self.size, self.small_size = size, max(1, size // SMALL_SHARE)
        self.small: OrderedDict[str, int] = OrderedDict()
        self.main: OrderedDict[str, int] = OrderedDict()
        self.ghost: OrderedDict[int, None] = OrderedDict()

    def add(self, key: str) -> None:
        queue = self.small
        if hash(key) in self.ghost:
            del self.ghost[hash(key)]
            queue = self.main
        queue[key] = 0

    def use(self, key: str) -> None:
        queue = self.small if key in self.small else self.main
        queue[key] = min(3, queue[key] + 1)

    def drop(self, key: str) -> None:
        del (self.small if key in self.small else self.main)[key]

    def evict(self) -> str:
        if len(self.small) >= self.small_size or not self.main:
            while self.small:
                key, used = self.small.popitem(last=False)
                if used:
                    self.main[key] = 0
                    continue
                self.ghost[hash(key)] = None
                if len(self.ghost) > self.size:
                    self.ghost.popitem(last=False)
                return key
        while True:
            key, used = self.main.popitem(last=False)
            if not used:
                return key
            self.main[key] = used - 1


@given(st.lists(st.tuples(st.sampled_from(["ask", "ask", "ask", "drop"]), st.integers(0, 40)), max_size=400))
def test_entries_leave_in_the_order_of_the_paper(steps: list[tuple[str, int]]) -> None:
    size = 12
    queues: Queues[Entry] = Queues(size)
    reference, here = Reference(size), {}
    for step, number in steps:
        key = str(number)
        if step == "drop":
            if key in here:
                queues.gone(here.pop(key))
                reference.drop(key)
        elif key in here:
            here[key].frequency = min(3, here[key].frequency + 1)
            reference.use(key)
        else:
            if len(here) == size:
                left = queues.evict()
                assert left.key == reference.evict()
                del here[left.key]
            here[key] = Entry(key)
            queues.add(here[key])
            reference.add(key)
        assert len(queues) == len(here)


def test_husks_are_swept_out_before_they_are_many() -> None:
    queues: Queues[Entry] = Queues(1000)
    for number in range(100_000):
        entry = Entry(str(number))
        queues.add(entry)
        queues.gone(entry)
    assert sum(map(len, queues._queues)) <= _FEW + 1


@pytest.mark.parametrize("way", ["drop", "replace"])
def test_what_was_dropped_leaves_no_value_behind(way: str) -> None:
    local = Local(L1Options(max_entries=100), TierStats())
    fence = local.begin("a")
    local.commit("a", fence, stored("old"), 0.0, 60.0)
    item = local.table["a"]
    if way == "drop":
        local.drop("a")
    else:
        fence = local.begin("a")
        local.commit("a", fence, stored("new"), 0.0, 60.0)
    assert item.value is ABSENT, "a thread that looks at the husk finds nothing there"
