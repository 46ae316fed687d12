"""The collector: what Prometheus gets to see, held against the contract and a real parser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from cacheclient import AsyncCache, Cache
from cacheclient.contract import METRICS, SIZES, ErrorType, Tier
from cacheclient.metrics import CacheCollector, register
from cacheclient.sizing import Curve

KINDS = {"info": "gauge"}
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def cache() -> AsyncCache:
    return AsyncCache.from_url("memory://", namespace="shop", version=4)


@pytest.fixture
def registry(cache: AsyncCache) -> CollectorRegistry:
    registry = CollectorRegistry()
    register(cache, registry=registry)
    return registry


def scrape(registry: CollectorRegistry) -> Series:
    """Return every series of a scrape by name and labels."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


CURVE = Curve(
    lookups=10, hits=6, gained=tuple(zip(SIZES, (-2, 0, 1, 2), strict=True)), followed=3, working_set_bytes=500,
    capacity_bytes=1000,
)  # fmt: skip


def with_lookups(cache: AsyncCache) -> AsyncCache:
    stats = cache._stats
    stats.l1.hits, stats.l1.misses, stats.l2.hits, stats.l2.misses = 6, 4, 3, 1
    stats.l1.lookup.observe(0.0004)
    stats.l2.lookup.observe(0.003)
    stats.l2.write.observe(0.02)
    stats.l3.lookup.observe(0.2)
    stats.all_lookups.observe(2.0)
    stats.outage.observe(7.0)
    stats.curves = {"l1": CURVE}
    stats.tuning = {"l1_ttl_seconds": 300.0}
    return cache


def test_every_metric_of_ours_is_exported_and_no_other(registry: CollectorRegistry, cache: AsyncCache) -> None:
    with_lookups(cache)
    text = generate_latest(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == KINDS.get(metric.kind, metric.kind)
        assert family.documentation == metric.help
        assert family.samples, metric.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric.name


def test_the_openmetrics_format_parses_too(registry: CollectorRegistry, cache: AsyncCache) -> None:
    with_lookups(cache)
    text = openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # published without types
    families = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert len(families) == len(METRICS)


def test_every_series_exists_before_its_first_event(registry: CollectorRegistry, cache: AsyncCache) -> None:
    before = set(scrape(registry))
    stats = cache._stats
    with_lookups(cache)
    for kind in ErrorType:
        stats.errors[f"{Tier.L3 if kind is ErrorType.LOADER else Tier.L2}/{kind}"] += 1
    stats.coalesced["process"] += 1
    for counter, keys in ((stats.leases, ("granted", "wait", "value")), (stats.invalidations, ("local", "remote")),
                          (stats.l1.evictions, ("capacity", "replaced"))):  # fmt: skip
        for key in keys:
            counter[key] += 1
    new = set(scrape(registry)) - before
    # A rate of nothing is not 0, and what a sample cannot tell yet is not either.
    assert {name for name, _ in new} == {
        "cache_hit_rate",
        "cache_hit_rate_at_size",
        "cache_working_set_bytes",
        "cache_tuning_value",
    }


def test_counters_show_their_events(registry: CollectorRegistry, cache: AsyncCache) -> None:
    with_lookups(cache)
    cache._stats.errors["l2/timeout"] = 5
    cache._stats.leases["wait"] = 2
    series = scrape(registry)

    def value(name: str, **labels: str) -> float:
        return series[name, tuple(sorted({"cache": "shop", **labels}.items()))]

    assert value("cache_hits_total", tier="l1") == 6
    assert value("cache_misses_total", tier="l2") == 1
    assert value("cache_errors_total", tier="l2", type="timeout") == 5
    assert value("cache_lease_total", outcome="wait") == 2
    assert value("cache_hit_rate", tier="l1") == 0.6
    assert value("cache_hit_rate", tier="l2") == 0.75
    assert value("cache_hit_rate", tier="all") == 0.9
    assert value("cache_namespace_version", version="4") == 4
    assert value("redis_failover_duration_seconds_bucket", le="10.0") == 1
    assert value("redis_failover_duration_seconds_bucket", le="5.0") == 0


@pytest.mark.parametrize("name", ["cache_lookup_duration", "cache_write_duration"])
def test_milliseconds_are_seconds_times_a_thousand(registry: CollectorRegistry, cache: AsyncCache, name: str) -> None:
    with_lookups(cache)
    series = scrape(registry)

    def of(unit: str, scale: float) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
        for (sample, labels), value in series.items():
            if sample.startswith(f"{name}_{unit}"):
                suffix = sample.removeprefix(f"{name}_{unit}")
                scaled = [(k, f"{float(v) * scale:.6g}" if k == "le" else v) for k, v in labels]
                yield suffix, tuple(scaled), round(value * (scale if suffix == "_sum" else 1), 9)

    seconds, milliseconds = sorted(of("seconds", 1000)), sorted(of("ms", 1))
    assert seconds == milliseconds
    assert any(suffix == "_sum" and value for suffix, _, value in seconds)


def test_buckets_are_cumulative_and_end_in_the_count(registry: CollectorRegistry, cache: AsyncCache) -> None:
    with_lookups(cache)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        if family.type != "histogram":
            continue
        running: dict[tuple[str, ...], float] = {}
        for sample in family.samples:
            key = tuple(v for k, v in sorted(sample.labels.items()) if k != "le")
            if sample.name.endswith("_bucket"):
                assert sample.value >= running.get(key, 0)
                running[key] = sample.value
            elif sample.name.endswith("_count"):
                assert sample.value == running[key]


def test_the_hit_rate_forgets_what_is_older_than_a_minute(cache: AsyncCache, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cacheclient.metrics.time.monotonic", lambda: now[0])
    registry = CollectorRegistry()
    register(cache, registry=registry)
    rate = ("cache_hit_rate", (("cache", "shop"), ("tier", "l1")))
    stats = cache._stats

    def scrape_at(seconds: float, hits: int, misses: int) -> float | None:
        now[0] = seconds
        stats.l1.hits, stats.l1.misses = stats.l1.hits + hits, stats.l1.misses + misses
        return scrape(registry).get(rate)

    assert scrape_at(0, 0, 100) == 0
    assert [scrape_at(s, 10, 0) for s in (30, 60, 90)] == [1, 1, 1]
    assert scrape_at(120, 0, 10) == 0.5  # since 60 s: ten hits, ten misses
    assert scrape_at(300, 0, 0) is None  # idle: no rate rather than 0


def test_two_caches_are_two_sets_of_series() -> None:
    registry = CollectorRegistry()
    caches = [AsyncCache.from_url("memory://", namespace=name) for name in ("one", "two")]
    register(*caches, registry=registry)
    caches[0]._stats.l1.hits = 3
    series = scrape(registry)
    assert series["cache_hits_total", (("cache", "one"), ("tier", "l1"))] == 3
    assert series["cache_hits_total", (("cache", "two"), ("tier", "l1"))] == 0


def test_a_cache_for_threads_is_observed_the_same_way() -> None:
    registry = CollectorRegistry()
    with Cache.from_url("memory://", namespace="threads") as cache:
        collector = register(cache, registry=registry)
        assert isinstance(collector, CacheCollector)
        cache.set("a", 1)
        cache.get("a")
        assert scrape(registry)["cache_hits_total", (("cache", "threads"), ("tier", "l1"))] == 1
        registry.unregister(collector)
        assert scrape(registry) == {}
