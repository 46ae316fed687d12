"""Rate limiters: shared by the fleet, exact, told what to do without Redis, and cheap to those who hammer.

Most run on the fake, which decides by the rule itself; that the script in Redis decides the same is shown by test_gcra.
"""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header
from fastapi.testclient import TestClient

from cacheclient import AsyncCache, CacheOptions, ClosedError, L2Options, Limit, RateLimitedError, UnavailableError
from cacheclient.errors import ConfigurationError
from cacheclient.ratelimit import headers, limit_key
from cacheclient.ratelimit.fastapi import install, rate_limited
from cacheclient.remote import LocalLimits, Pipe
from cacheclient.sync import Cache
from cacheclient.testing import Chaos, FakeClock, Fleet
from tests.conftest import Server

TEN = Limit(10, per=10)  # one a second
Open = Callable[..., Awaitable[AsyncCache]]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
async def cache(fleet: Fleet) -> AsyncIterator[AsyncCache]:
    async with fleet.cache() as cache:
        yield cache


# -- what is decided --------------------------------------------------------------------------------------------------


async def test_hits_pass_until_the_burst_is_used_up_and_come_back_one_by_one(cache: AsyncCache, fleet: Fleet) -> None:
    limiter = cache.rate_limiter("search", Limit(10, per=10, burst=3))
    left = [(await limiter.hit("ann")).remaining for _ in range(3)]
    assert left == [2, 1, 0]
    refused = await limiter.hit("ann")
    assert (bool(refused), refused.remaining, refused.retry_after, refused.reset_after) == (False, 0, 1.0, 3.0)
    assert (await limiter.hit("bob")).remaining == 2  # each subject has its own
    fleet.clock.advance(1)
    assert (await limiter.hit("ann")).allowed
    assert not (await limiter.hit("ann")).allowed


async def test_caches_of_one_namespace_share_a_limit_and_names_keep_them_apart(fleet: Fleet, cache: AsyncCache) -> None:
    async with fleet.cache(version=2) as other:
        await cache.rate_limiter("search", TEN).hit("ann", 4)
        assert (await other.rate_limiter("search", TEN).hit("ann")).remaining == 5
        assert (await other.rate_limiter("login", TEN).hit("ann")).remaining == 9


async def test_a_hit_may_cost_more_than_one(cache: AsyncCache) -> None:
    limiter = cache.rate_limiter("search", TEN)
    assert (await limiter.hit("ann", 8)).remaining == 2
    refused = await limiter.hit("ann", 5)
    assert (refused.allowed, refused.retry_after, refused.remaining) == (False, 3.0, 2)
    assert (await limiter.hit("ann", 2)).allowed  # a refused hit took nothing
    never = await limiter.hit("ann", 11)
    assert (never.allowed, never.retry_after) == (False, math.inf)


async def test_peek_looks_and_reset_gives_everything_back(cache: AsyncCache) -> None:
    limiter = cache.rate_limiter("search", TEN)
    assert (await limiter.peek("ann")).remaining == 10
    await limiter.hit("ann", 10)
    assert not (await limiter.peek("ann")).allowed
    assert not (await limiter.hit("ann")).allowed
    await limiter.reset("ann")
    assert (await limiter.hit("ann")).remaining == 9


async def test_the_limit_may_be_another_for_each_subject_and_at_any_time(cache: AsyncCache) -> None:
    plans: dict[str, Limit | None] = {"free": Limit(2, per=60), "paid": Limit(100, per=60), "staff": None}

    async def look_up(subject: str) -> Limit | None:
        return plans[subject]

    for limit in (plans.__getitem__, look_up):
        limiter = cache.rate_limiter(f"of-{getattr(limit, '__name__', '').strip('_')}", limit)
        assert [(await limiter.hit(who)).remaining for who in ("free", "paid", "staff")] == [1, 99, None]
    limiter = cache.rate_limiter("changing", look_up)
    await limiter.hit("free", 2)
    assert not await limiter.hit("free")
    plans["free"] = Limit(50, per=60)  # bought more: at once, although this process remembers the refusal
    assert (await limiter.hit("free")).remaining == 47
    assert (await limiter.hit("free", limit=Limit(49, per=60))).remaining == 45
    assert not cache.stats().rate_limited["allowed/nobody"]  # what is not limited is not counted


async def test_errors_of_the_function_and_limits_that_are_none_pass_through(cache: AsyncCache) -> None:
    def broken(subject: str) -> Limit:
        raise LookupError(subject)

    with pytest.raises(LookupError):
        await cache.rate_limiter("a", broken).hit("ann")
    with pytest.raises(ConfigurationError, match="limit=5: a Limit"):
        await cache.rate_limiter("a", lambda _: 5).hit("ann")  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="limit='5/s': a Limit"):
        await cache.rate_limiter("a").hit("ann", limit="5/s")  # type: ignore[arg-type]


# -- who is over the limit is refused here ----------------------------------------------------------------------------


async def test_who_hammers_costs_redis_nothing_until_a_hit_would_pass(cache: AsyncCache, fleet: Fleet) -> None:
    limiter = cache.rate_limiter("search", TEN)
    await limiter.hit("ann", 10)
    assert (await limiter.hit("ann")).decided_by == "redis"
    asked = len(fleet.store.called("limit"))
    for _ in range(50):
        refused = await limiter.hit("ann")
        assert (refused.allowed, refused.decided_by, refused.remaining) == (False, "memory", 0)
    assert len(fleet.store.called("limit")) == asked
    fleet.clock.advance(0.5)
    assert (await limiter.hit("ann")).retry_after == 0.5
    fleet.clock.advance(0.5)
    assert (await limiter.hit("ann")).decided_by == "redis"
    assert cache.stats().rate_limited == {"allowed/redis": 2, "refused/redis": 1, "refused/memory": 51}


async def test_what_is_remembered_counts_from_before_redis_was_asked(cache: AsyncCache, fleet: Fleet) -> None:
    limiter = cache.rate_limiter("search", TEN)
    await limiter.hit("ann", 10)
    held = fleet.store.hold("limit", executed=True)  # Redis decides; its answer takes 0.9 s
    refused = asyncio.create_task(limiter.hit("ann"))
    await held.reached.wait()
    fleet.clock.advance(0.9)
    held.go.set()
    assert not await refused
    fleet.clock.advance(0.1)
    assert (await limiter.hit("ann")).allowed


async def test_a_cheaper_hit_is_not_refused_because_a_dearer_one_was(cache: AsyncCache) -> None:
    limiter = cache.rate_limiter("search", TEN)
    await limiter.hit("ann", 5)
    assert not await limiter.hit("ann", 6)
    assert await limiter.hit("ann", 5)


async def test_no_more_subjects_are_remembered_than_there_is_room_for(cache: AsyncCache, fleet: Fleet) -> None:
    limiter = cache.rate_limiter("search", Limit(1, per=100), remember=2)
    for who in "abcabc":
        await limiter.hit(who)
    asked = len(fleet.store.called("limit"))
    assert [(await limiter.hit(who)).decided_by for who in "bca"] == ["memory", "memory", "redis"]
    assert len(fleet.store.called("limit")) == asked + 1


async def test_hits_of_one_tick_travel_together(
    opened: Open, shared_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await opened(shared_server.url, namespace)
    limiter = cache.rate_limiter("search", Limit(1000))
    await limiter.hit("first")  # Redis has the script from now on
    writes, flush = [], Pipe.flush

    def counted(pipe: Pipe) -> None:
        if pipe._out:
            writes.append(sum(b"EVALSHA" in part for part in pipe._out))
        flush(pipe)

    monkeypatch.setattr(Pipe, "flush", counted)
    decisions = await asyncio.gather(*(limiter.hit(f"user:{n % 10}") for n in range(100)))
    assert all(decisions)
    assert writes.count(100) == 1
    assert sum(writes) == 100


# -- on real Redis ----------------------------------------------------------------------------------------------------


def test_four_processes_together_never_get_more_than_the_limit(shared_server: Server, namespace: str) -> None:
    count, burst = 400, 50
    script = str(Path(__file__).with_name("limit_hammer.py"))
    command = [sys.executable, script, str(shared_server.port), namespace, "1.0", str(count), str(burst)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    reports = [list(map(int, process.communicate(timeout=60)[0].split())) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    passed, refused = sum(r[0] for r in reports), sum(r[1] for r in reports)
    seconds = (max(r[3] for r in reports) - min(r[2] for r in reports)) / 1e6 + 0.001  # its clock ticks in ms
    assert refused > 0
    assert passed <= burst + count * seconds
    assert passed >= count * 1.0  # and it is not too strict: at least one process hammered all the time


async def test_a_bucket_expires_when_it_is_empty_and_tells_no_l1(shared_server: Server, namespace: str) -> None:
    async with AsyncCache.from_url(shared_server.url, namespace=namespace) as cache:
        await cache.rate_limiter("search", TEN).hit("ann@example.org", 3)
    key = f"{namespace}:limit:search:ann@example.org"
    assert 2000 < shared_server.client.pttl(key) <= 3000  # type: ignore[operator]
    assert not key.startswith((cache.space.prefix, cache.space.tag_prefix))


async def test_hits_are_decided_after_the_script_is_gone(shared_server: Server, namespace: str) -> None:
    async with AsyncCache.from_url(shared_server.url, namespace=namespace) as cache:
        limiter = cache.rate_limiter("search", TEN)
        assert (await limiter.hit("ann")).remaining == 9
        shared_server.client.script_flush()
        assert (await limiter.hit("ann")).remaining == 8


# -- without Redis ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outage", "passes"), [("open", 30), ("closed", 0), ("local", 10)])
async def test_while_redis_is_hung_hits_pass_as_told_and_that_is_counted_and_said_once(
    own_server: Server, namespace: str, outage: Any, passes: int, caplog: pytest.LogCaptureFixture
) -> None:
    options = CacheOptions(l2=L2Options(timeout=0.5))
    async with AsyncCache.from_url(own_server.url, namespace=namespace, options=options) as cache:
        limiter = cache.rate_limiter("search", Limit(10, per=1000), outage=outage)
        assert (await limiter.hit("bob")).decided_by == "redis"
        with own_server.frozen(), caplog.at_level(logging.WARNING, "cacheclient"):
            decisions = await asyncio.gather(*(limiter.hit("ann") for _ in range(30)))
        assert {d.decided_by for d in decisions} == {"outage"}
        assert sum(d.allowed for d in decisions) == passes
        assert all(d.retry_after > 0 for d in decisions if not d)
        counted = cache.stats().rate_limited
        assert (counted["allowed/outage"], counted["refused/outage"]) == (passes, 30 - passes)
        said = [r.getMessage() for r in caplog.records if "rate limit 'search'" in r.getMessage()]
        assert len(said) == 1
        assert f"({outage})" in said[0]


async def test_after_an_outage_redis_decides_again(cache: AsyncCache, fleet: Fleet) -> None:
    limiter = cache.rate_limiter("search", TEN, outage="closed")
    fleet.outage()
    refused = await limiter.hit("ann")
    assert (refused.allowed, refused.retry_after, refused.remaining) == (False, 1.0, None)
    with pytest.raises(UnavailableError):
        await limiter.peek("ann")
    fleet.recover()
    assert (await limiter.hit("ann")).decided_by == "redis"


async def test_a_failover_gives_back_what_was_not_replicated_and_no_more(cache: AsyncCache, fleet: Fleet) -> None:
    limiter = cache.rate_limiter("search", TEN)
    await limiter.hit("ann", 6)
    replicated = fleet.store.copy()
    await limiter.hit("ann", 3)
    fleet.failover(replicated)
    assert (await limiter.peek("ann")).remaining == 4


async def test_a_hit_whose_answer_was_lost_has_been_counted() -> None:
    with Chaos(lost=1.0, most=1, calls=frozenset({"hit"})).installed():
        async with Fleet().cache() as cache:
            limiter = cache.rate_limiter("search", TEN)
            assert (await limiter.hit("ann")).decided_by == "outage"
            assert (await limiter.peek("ann")).remaining == 9


async def test_a_process_alone_keeps_no_more_buckets_than_are_in_use() -> None:
    clock = FakeClock()
    limits = LocalLimits(clock)
    for n in range(1000):
        assert limits.decide(f"user:{n}", TEN, 1).allowed
        clock.advance(0.1)
    assert len(limits._buckets) < 30  # a bucket is empty after a second
    await limits.forget("user:999")
    assert limits.decide("user:999", TEN, 1).remaining == 9


# -- those who wait, and decorators -----------------------------------------------------------------------------------


async def test_acquire_waits_for_its_turn_or_says_when_that_would_be() -> None:
    async with AsyncCache.from_url("memory://", namespace="test") as cache:
        limiter = cache.rate_limiter("search", Limit(100, per=1, burst=1))
        for _ in range(5):
            assert (await limiter.acquire("ann", wait=5)).allowed
        slow = cache.rate_limiter("slow", Limit(1, per=60))
        await slow.acquire("ann")
        with pytest.raises(RateLimitedError, match=r"rate limit slow: refused, the limit is 1 per 60 s; again in") as e:
            await slow.acquire("ann", wait=1)
        assert 59 < e.value.decision.retry_after <= 60
        again = pickle.loads(pickle.dumps(e.value))  # noqa: S301  our own
        assert (str(again), again.decision) == (str(e.value), e.value.decision)
        with pytest.raises(RateLimitedError, match="it never passes"):
            await slow.acquire("ann", 2, wait=1)


async def test_a_decorated_function_is_limited_by_its_arguments(cache: AsyncCache) -> None:
    limiter = cache.rate_limiter("search", Limit(1, per=60))

    @limiter.limited("user:{user}")
    async def search(user: int, words: str) -> str:
        return f"{user}: {words}"

    assert await search(1, "a") == "1: a"
    assert await search(2, words="a") == "2: a"
    with pytest.raises(RateLimitedError):
        await search(1, "b")
    with pytest.raises(ConfigurationError, match="no parameter 'usr'"):
        limiter.limited("user:{usr}")(search)
    with pytest.raises(ConfigurationError, match="is for `async def`"):
        limiter.limited("x")(len)  # type: ignore[arg-type]


def test_threads_share_a_limit_with_everybody_else(fleet: Fleet) -> None:
    with fleet.threads() as cache:
        limiter = cache.rate_limiter("search", lambda who: None if who == "staff" else Limit(2, per=60))
        assert [limiter.hit("ann").remaining for _ in range(2)] == [1, 0]
        assert limiter.hit("staff").limit is None
        assert not limiter.peek("ann")
        with pytest.raises(RateLimitedError):
            limiter.acquire("ann")
        limiter.reset("ann")

        @limiter.limited("{user}")
        def search(user: str) -> str:
            return user

        assert [search("ann"), search("ann")] == ["ann", "ann"]
        with pytest.raises(RateLimitedError):
            search("ann")

        async def look_up(who: str) -> Limit:  # noqa: ARG001
            return TEN

        with pytest.raises(ConfigurationError, match="plain one"):
            cache.rate_limiter("search", look_up).hit("ann")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="is for plain functions"):
            limiter.limited("x")(look_up)
        assert cache.stats().rate_limited["allowed/redis"] == 4


def test_a_limiter_may_be_made_before_the_cache_is_open_but_not_used(fleet: Fleet) -> None:
    plain, threads = fleet.cache(), fleet.threads()
    with pytest.raises(ClosedError):
        asyncio.run(plain.rate_limiter("search", TEN).hit("ann"))
    limiter = threads.rate_limiter("search", TEN)
    with pytest.raises(ClosedError):
        limiter.hit("ann")
    with threads:
        assert limiter.hit("ann")


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "limit", "settings", "named"),
    [
        ("", TEN, {}, "name=''"),
        ("Search", TEN, {}, "name='Search': a lower-case letter"),
        ("a:b", TEN, {}, "name='a:b'"),
        (None, TEN, {}, "name=None"),
        ("search", 10, {}, "search: limit=10: a Limit"),
        ("search", TEN, {"outage": "half"}, "outage='half': one of open, closed, local"),
        ("search", TEN, {"remember": -1}, "remember=-1"),
        ("search", TEN, {"remember": True}, "remember=True"),
    ],
)
def test_a_limiter_that_cannot_be_is_refused_where_it_is_made(
    name: Any, limit: Any, settings: dict[str, Any], named: str
) -> None:
    for make in (AsyncCache, Cache):
        with pytest.raises(ConfigurationError, match=named):
            make.from_url("memory://", namespace="test").rate_limiter(name, limit, **settings)


@pytest.mark.parametrize("subject", ["", None, 5])
async def test_a_subject_is_a_str_that_is_not_empty(cache: AsyncCache, subject: Any) -> None:
    with pytest.raises(ConfigurationError, match="subject="):
        await cache.rate_limiter("search", TEN).hit(subject)


@pytest.mark.parametrize("wait", [-1, math.nan, math.inf, "1", True])
async def test_seconds_to_wait_are_seconds(cache: AsyncCache, wait: Any) -> None:
    with pytest.raises(ConfigurationError, match="wait="):
        await cache.rate_limiter("search", TEN).acquire("ann", wait=wait)


def test_any_str_is_a_subject_and_no_two_share_a_key() -> None:
    subjects = ["a", "a b", "{a}", "a\n", "é", "\ud800", "x" * 128, "x" * 129, "#1", " "]
    keys = {limit_key("ns", "search", subject) for subject in subjects}
    assert len(keys) == len(subjects)
    assert all(key.isascii() and key.isprintable() and len(key) < 200 and not set(key) & set("{} ") for key in keys)


# -- HTTP -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def app(cache: AsyncCache) -> FastAPI:
    app = FastAPI()
    install(app)
    limiter = cache.rate_limiter("search", Limit(2, per=60))

    def user(x_user: Annotated[str, Header()]) -> str:
        return x_user

    @app.get("/search", dependencies=[Depends(rate_limited(limiter, user))])
    async def search() -> str:
        return "found"

    @app.get("/open", dependencies=[Depends(rate_limited(lambda: limiter))])
    async def by_address() -> str:
        return "found"

    closed = cache.rate_limiter("strict", TEN, outage="closed")

    @app.get("/strict", dependencies=[Depends(rate_limited(closed)), Depends(rate_limited(limiter, cost=2))])
    async def strict() -> str:
        return "found"

    return app


async def test_responses_say_what_is_left_and_refusals_when_to_come_again(app: FastAPI) -> None:
    client = TestClient(app)
    ann = {"X-User": "ann"}
    first = client.get("/search", headers=ann)
    assert first.status_code == 200
    assert first.headers["RateLimit-Policy"] == '"search";q=2;w=60'
    assert first.headers["RateLimit"] == '"search";r=1;t=30'
    assert client.get("/search", headers=ann).headers["RateLimit"] == '"search";r=0;t=60'
    refused = client.get("/search", headers=ann)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "30"
    assert refused.headers["RateLimit"] == '"search";r=0;t=30'
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Too many requests",
        "status": 429, "detail": "search: 2 per 60 s; again in 30 s", "violated-policies": ["search"],
    }  # fmt: skip
    assert client.get("/search", headers={"X-User": "bob"}).status_code == 200
    assert client.get("/search").status_code == 422  # the subject is a dependency like any other


async def test_several_limits_are_all_told(app: FastAPI) -> None:
    client = TestClient(app)
    assert client.get("/strict").headers["RateLimit"] == '"strict";r=9;t=1, "search";r=0;t=60'
    assert client.get("/open").status_code == 429  # the same client, by its address


async def test_a_limit_that_cannot_be_looked_at_is_another_error_than_one_that_is_reached(
    app: FastAPI, fleet: Fleet
) -> None:
    fleet.outage()
    client = TestClient(app)
    refused = client.get("/strict")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "RateLimit" not in refused.headers
    assert refused.json()["status"] == 503
    assert client.get("/open").status_code == 200


async def test_what_is_not_limited_has_no_fields(cache: AsyncCache) -> None:
    decision = await cache.rate_limiter("search").hit("ann")
    assert headers("search", decision) == {}
    never = await cache.rate_limiter("search", TEN).hit("ann", 11)
    assert headers("search", never) == {"RateLimit-Policy": '"search";q=10;w=10', "RateLimit": '"search";r=10'}
