"""Counters and histograms: quantiles, sums and differences, and snapshots taken while others count."""

from __future__ import annotations

import pickle
import sys
import threading
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import AsyncCache, Stats
from cacheclient.contract import LATENCY_BUCKETS
from cacheclient.stats import Histogram, TierStats

TIMES = st.lists(st.floats(1e-7, 0.9), min_size=1, max_size=50)


def filled(times: list[float]) -> Histogram:
    histogram = Histogram()
    for seconds in times:
        histogram.observe(seconds)
    return histogram


def busy(number: int) -> Stats:
    stats = Stats(l1=TierStats(hits=8 * number, misses=2 * number, entries=number, size_bytes=100, capacity_bytes=1000))
    stats.l2.hits, stats.l2.misses = number, number
    stats.l1.evictions["capacity"] = number
    stats.errors["l2/timeout"] = number
    stats.coalesced["process"] = stats.leases["granted"] = stats.invalidations["local"] = number
    stats.stale_served["error"] = stats.failovers = stats.gaps = stats.connection_errors = number
    stats.all_lookups.observe(0.001, number)
    stats.outage.observe(3.0, number)
    stats.listener_connected = True
    return stats


@given(TIMES, st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_its_rank(times: list[float], q: float) -> None:
    rank = max(1, -(-q * len(times) // 1))  # the smallest whole rank that covers the share
    value = sorted(times)[int(rank) - 1]
    edge = bisect_left(LATENCY_BUCKETS, value)
    low = LATENCY_BUCKETS[edge - 1] if edge else 0.0
    quantile = filled(times).quantile(q)
    assert quantile is not None
    assert low <= quantile <= LATENCY_BUCKETS[edge]


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    assert filled([0.004] * 100).quantile(0.5) == pytest.approx(0.00375)  # half way from 2.5 to 5 ms
    assert filled([0.0001]).quantile(1.0) == 0.0001  # an edge belongs to the bucket below it


def test_what_is_above_the_last_edge_is_given_as_the_last_edge() -> None:
    assert filled([7.0]).quantile(0.5) == LATENCY_BUCKETS[-1]


def test_nothing_has_no_quantile_and_no_rate() -> None:
    assert Histogram().quantile(0.5) is None
    assert TierStats().hit_rate is None
    assert Stats().combined_hit_rate is None


@given(TIMES, TIMES)
def test_sums_and_differences_of_histograms_are_those_of_their_observations(a: list[float], b: list[float]) -> None:
    both = filled(a + b)
    assert filled(a).combine(filled(b)).counts == both.counts
    again = both.combine(filled(b), -1)
    assert again.counts == filled(a).counts
    assert again.total == pytest.approx(sum(a), abs=1e-9)


def test_a_weight_counts_as_so_many_observations() -> None:
    histogram = Histogram()
    histogram.observe(0.01, 64)
    assert histogram.count == 64
    assert histogram.total == pytest.approx(0.64)


def test_merged_processes_add_up() -> None:
    total = Stats.merge([busy(1), busy(2), busy(3)])
    expected = busy(6)
    expected.l1.size_bytes, expected.l1.capacity_bytes = 300, 3000
    expected.outage.total = total.outage.total
    expected.all_lookups.total = total.all_lookups.total
    assert total == expected
    assert total.all_lookups.total == pytest.approx(0.006)


def test_one_deaf_process_makes_the_fleet_deaf() -> None:
    deaf = busy(1)
    deaf.listener_connected = False
    deaf.circuit_open = True
    for order in ([busy(1), deaf], [deaf, busy(1)]):
        merged = Stats.merge(order)
        assert not merged.listener_connected
        assert merged.circuit_open


def test_a_difference_has_the_counts_of_the_phase_and_the_levels_of_its_end() -> None:
    phase = busy(5) - busy(2)
    assert (phase.l1.hits, phase.l2.misses, phase.errors["l2/timeout"], phase.gaps) == (24, 3, 3, 3)
    assert (phase.l1.entries, phase.l1.size_bytes, phase.l1.capacity_bytes) == (5, 100, 1000)
    assert phase.listener_connected
    assert phase.all_lookups.count == 3


def test_the_combined_rate_counts_a_lookup_once() -> None:
    stats = busy(1)  # ten lookups: eight answered by L1, one by L2, one by nobody
    assert stats.l1.hit_rate == 0.8
    assert stats.l2.hit_rate == 0.5
    assert stats.combined_hit_rate == pytest.approx(0.9)


def test_snapshots_travel_between_processes() -> None:
    assert pickle.loads(pickle.dumps(busy(3))) == busy(3)  # noqa: S301  our own bytes


def test_the_figures_for_json_are_plain() -> None:
    figures = busy(1).to_dict()
    assert figures["combined"] == {"hit_rate": pytest.approx(0.9), "lookups": 10}
    assert figures["l1"] == {
        "hit_rate": 0.8, "size_mb": 0.0, "entries": 1, "lookups": 10, "p95_seconds": None,
    }  # fmt: skip


def test_a_snapshot_stays_as_it_was() -> None:
    cache = AsyncCache.from_url("memory://", namespace="a")
    cache._stats.listener_connected = True
    before = cache.stats()
    cache._stats.errors["l2/timeout"] += 1
    cache._stats.l1.hits += 1
    cache._stats.all_lookups.observe(0.1)
    assert before == Stats(l1=TierStats(capacity_bytes=before.l1.capacity_bytes), listener_connected=True)
    assert cache.stats().errors == {"l2/timeout": 1}


def test_any_thread_may_take_a_snapshot_while_new_counters_appear() -> None:
    cache = AsyncCache.from_url("memory://", namespace="a")
    done = threading.Event()

    def count() -> None:
        for number in range(30_000):
            cache._stats.errors[f"l2/{number % 500}"] += 1
            if number % 500 == 499:
                cache._stats.errors.clear()
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=count)
        thread.start()
        while not done.is_set():
            cache.stats()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
