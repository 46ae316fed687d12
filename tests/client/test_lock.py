"""The public lock: one holder at a time, rising fencing tokens, and a holder who is told when it lost the lock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from cacheclient.errors import (
    CacheError,
    ConfigurationError,
    LockError,
    LockLostError,
    LockTimeoutError,
    UnavailableError,
)
from cacheclient.keys import KeySpace
from cacheclient.lock import Lock, lock_key, next_pause
from cacheclient.remote import LocalLocks, LockStore, RedisLocks
from cacheclient.testing import FakeClock
from tests.client.conftest import store_on
from tests.conftest import BINARIES, Server, until

KEY = "ns:lock:job"


@contextlib.asynccontextmanager
async def locks_on(server: Server, within: float = 5.0) -> AsyncIterator[RedisLocks]:
    async with store_on(server, within) as store:
        yield RedisLocks(store)


@pytest.fixture(scope="module", params=["memory", *BINARIES])
def backend(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Server | None:
    return None if request.param == "memory" else launch(request.param)


@pytest.fixture
async def store(backend: Server | None) -> AsyncIterator[LockStore]:
    """Return a place for locks, of each kind in turn."""
    if backend is None:
        yield LocalLocks()
    else:
        async with locks_on(backend) as locks:
            yield locks


@pytest.fixture
def key(namespace: str) -> str:
    return lock_key(namespace, "job")


# -- one rule book for every kind of store ----------------------------------------------------------------------------


async def test_a_lock_has_one_holder_and_is_free_again_after_the_block(store: LockStore, key: str) -> None:
    async with Lock(store, key) as lock:
        assert 29 < lock.remaining <= 30
        assert not lock.lost
        with pytest.raises(LockTimeoutError, match=f"{key}: not acquired .*: somebody else holds it"):
            await Lock(store, key, wait=0).acquire()
    assert lock.remaining == 0
    async with Lock(store, key, wait=0):
        pass


async def test_who_holds_a_lock_is_told_without_what_would_free_it(store: LockStore, key: str) -> None:
    assert await store.holder(key) is None
    async with Lock(store, key, timeout=20):
        holder = await store.holder(key)
        assert holder is not None
        assert holder.name == f"{socket.gethostname()}:{os.getpid()}"
        assert 10 < holder.expires_in <= 20
    assert await store.holder(key) is None


async def test_tasks_that_compete_take_turns_and_their_tokens_rise(store: LockStore, key: str) -> None:
    inside, tokens = 0, []

    async def work() -> None:
        nonlocal inside
        async with Lock(store, key, wait=60) as lock:
            inside += 1
            assert inside == 1
            tokens.append(lock.token)
            await asyncio.sleep(0.002)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(12)))
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 12


async def test_a_lock_that_expired_goes_to_the_next_and_its_holder_is_told(store: LockStore, key: str) -> None:
    first = Lock(store, key, timeout=0.1)
    old = await first.acquire()
    second = Lock(store, key, wait=5)
    assert await second.acquire() > old
    assert first.lost
    for refused in (first.extend, first.release):
        with pytest.raises(LockLostError):
            await refused()
    assert not second.lost
    await second.release()  # raises if the first one had taken it away


async def test_an_extended_lock_outlives_its_first_time_limit(store: LockStore, key: str) -> None:
    async with Lock(store, key, timeout=0.5) as lock:
        await lock.extend(30)
        assert 29 < lock.remaining <= 30
        with pytest.raises(LockTimeoutError):
            await Lock(store, key, wait=0.7).acquire()
        await lock.extend()  # 0.5 s from now would be sooner: never less
        assert lock.remaining > 28
        with pytest.raises(LockTimeoutError):
            await Lock(store, key, wait=0.7).acquire()


async def test_auto_extension_keeps_a_lock_for_as_long_as_the_block_takes(store: LockStore, key: str) -> None:
    async with Lock(store, key, timeout=0.8, auto_extend=True) as lock:
        with pytest.raises(LockTimeoutError):
            await Lock(store, key, wait=1.3).acquire()
        assert not lock.lost
    async with Lock(store, key, wait=0):
        pass
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("cacheclient-lock")]


async def test_only_the_holder_can_extend_and_release(store: LockStore, key: str) -> None:
    async with Lock(store, key):
        assert not await store.extend(key, "somebody else", 60)
        assert not await store.release(key, "somebody else")
        assert (await store.acquire(key, "somebody else", 60)).token is None


async def test_asking_again_as_the_same_holder_gives_a_higher_token(store: LockStore, key: str) -> None:
    first, second = await store.acquire(key, "me", 60), await store.acquire(key, "me", 60)
    assert first.token is not None
    assert second.token is not None
    assert second.token > first.token
    assert await store.release(key, "me")
    assert not await store.release(key, "me")


async def test_the_loser_is_told_for_how_long_the_lock_is_taken(store: LockStore, key: str) -> None:
    await store.acquire(key, "me", 60)
    answer = await store.acquire(key, "you", 60)
    assert 59 < answer.expires_in <= 60


async def test_locks_of_different_names_do_not_touch(store: LockStore, namespace: str) -> None:
    async with Lock(store, lock_key(namespace, "a")), Lock(store, lock_key(namespace, "b"), wait=0):
        pass


async def test_who_is_cancelled_while_waiting_leaves_nothing(store: LockStore, key: str) -> None:
    async with Lock(store, key):
        waiting = Lock(store, key, wait=60)
        task = asyncio.create_task(waiting.acquire())
        await until(lambda: waiting._acquiring)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(LockError, match="does not hold"):
            _ = waiting.token
    async with Lock(store, key, wait=0):
        pass


async def test_a_lock_without_redis_that_expired_is_gone_although_nobody_took_it() -> None:
    clock = FakeClock()
    store = LocalLocks(clock)
    await store.acquire(KEY, "me", 10)
    clock.now += 10
    assert not await store.extend(KEY, "me", 10)
    assert not await store.release(KEY, "me")
    assert (await store.acquire(KEY, "you", 10)).token is not None


# -- on real Redis ----------------------------------------------------------------------------------------------------


def test_four_processes_never_hold_a_lock_at_once(shared_server: Server, namespace: str) -> None:
    command = [
        sys.executable,
        str(Path(__file__).with_name("lock_contender.py")),
        str(shared_server.port),
        namespace,
        "50",
    ]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    client = shared_server.client
    assert client.get(f"{namespace}:counter") == b"200"
    tokens: Any = client.lrange(f"{namespace}:tokens", 0, -1)
    assert sorted(set(map(int, tokens))) == list(map(int, tokens))
    assert client.exists(lock_key(namespace, "counter")) == 0


async def test_every_key_of_a_lock_is_in_its_namespace_and_expires(shared_server: Server, namespace: str) -> None:
    async with locks_on(shared_server) as locks, Lock(locks, lock_key(namespace, "job"), timeout=30):
        keys: Any = shared_server.client.keys(f"*{namespace}:*")
        assert f"{namespace}:lock:job".encode() in keys
        assert len(keys) == 2
        for name in keys:
            assert name.startswith(f"{namespace}:".encode())
            assert not name.startswith(KeySpace(namespace).prefix.encode())  # no push for it, no L1 in the way
            assert shared_server.client.pttl(name) > 0
        assert len({key_slot(name) for name in keys}) == 1  # a script of a Redis Cluster needs that


async def test_a_holder_cancelled_before_it_hears_that_it_has_the_lock_gives_it_back(
    own_server: Server, namespace: str
) -> None:
    key = lock_key(namespace, "job")
    async with locks_on(own_server) as locks:
        async with Lock(locks, key) as earlier:  # also so that Redis has the scripts: from now on one command each
            token = earlier.token
        task = asyncio.create_task(Lock(locks, key).acquire())
        with own_server.frozen():
            for _ in range(10):  # the request leaves; nobody answers
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
    [counter] = own_server.client.keys(f"{key}:token*")
    last: Any = own_server.client.get(counter)
    assert int(last) > token  # it did get the lock
    assert own_server.client.get(key) is None


async def test_a_lock_that_vanished_from_redis_is_lost(own_server: Server, namespace: str) -> None:
    key = lock_key(namespace, "job")
    async with locks_on(own_server) as locks:
        with pytest.raises(LockLostError, match="lost before it was released"):
            async with Lock(locks, key):
                own_server.client.delete(key)
        lock = Lock(locks, key)
        await lock.acquire()
        own_server.client.delete(key)
        with pytest.raises(LockLostError, match="expired, or was lost with a Redis node"):
            await lock.extend()
        assert lock.lost
        with pytest.raises(LockLostError, match="lost before it was released"):
            await lock.release()


async def test_auto_extension_notices_a_lock_that_vanished(own_server: Server, namespace: str) -> None:
    key = lock_key(namespace, "job")
    async with locks_on(own_server) as locks:
        lock = Lock(locks, key, timeout=0.3, auto_extend=True)
        await lock.acquire()
        own_server.client.set(key, "somebody else")
        await until(lambda: lock.lost)
        with pytest.raises(LockLostError):
            await lock.release()
        assert own_server.client.get(key) == b"somebody else"


async def test_tokens_rise_although_the_counter_was_lost_or_the_clock_stepped_back(
    shared_server: Server, namespace: str
) -> None:
    key = lock_key(namespace, "job")
    async with locks_on(shared_server) as locks:
        async with Lock(locks, key) as lock:
            first = lock.token
        [counter] = shared_server.client.keys(f"{namespace}:lock:job:token*")
        shared_server.client.delete(counter)  # as a failover or an eviction does
        async with Lock(locks, key) as lock:
            second = lock.token
        ahead = second + 3_600_000_000  # as if the clock had been an hour ahead until now
        shared_server.client.set(counter, ahead)
        async with Lock(locks, key) as lock:
            third = lock.token
    assert first < second
    assert third == ahead + 1


async def test_a_waiting_caller_gets_the_lock_when_redis_is_back(own_server: Server, namespace: str) -> None:
    async with locks_on(own_server, within=0.05) as locks:
        lock = Lock(locks, lock_key(namespace, "job"), wait=30)
        with own_server.frozen():
            task = asyncio.create_task(lock.acquire())
            with pytest.raises(UnavailableError):
                await locks.extend(lock_key(namespace, "other"), "me", 1)
            assert not task.done()
        assert await task > 0
        await lock.release()


async def test_without_redis_the_error_says_why_there_is_no_lock(own_server: Server, namespace: str) -> None:
    async with locks_on(own_server) as locks:
        own_server.kill()
        with pytest.raises(
            LockTimeoutError, match=r"not acquired .*: (the connection|no Redis master|no answer)"
        ) as caught:
            await Lock(locks, lock_key(namespace, "job"), wait=0.1).acquire()
        assert isinstance(caught.value.__cause__, UnavailableError)


# -- use and misuse ---------------------------------------------------------------------------------------------------


async def test_an_object_holds_a_lock_once() -> None:
    lock = Lock(LocalLocks(), KEY)
    for refused in (lock.extend, lock.release):
        with pytest.raises(LockError, match="does not hold the lock"):
            await refused()
    first = await lock.acquire()
    with pytest.raises(LockError, match="use one object for each holder"):
        await lock.acquire()
    await lock.release()
    assert await lock.acquire() > first  # again, as a new holder
    await lock.release()


def test_pauses_double_up_to_a_bound_and_are_half_random() -> None:
    draws = [[next_pause(attempt, 60) for _ in range(50)] for attempt in range(1, 40)]
    assert all(0.005 <= pause <= 0.01 for pause in draws[0])
    assert all(0.02 <= pause <= 0.04 for pause in draws[2])
    assert all(0.25 <= pause <= 0.5 for pause in draws[-1])
    assert len(set(draws[-1])) == 50
    assert all(next_pause(40, 0.1) <= 0.1 for _ in range(50))  # no longer than until the lock expires
    assert all(next_pause(40, 0.0) >= 0.005 for _ in range(50))  # but never a busy loop


def test_the_errors_of_a_lock_are_one_family() -> None:
    assert issubclass(LockError, CacheError)
    assert issubclass(LockTimeoutError, LockError)
    assert issubclass(LockTimeoutError, TimeoutError)
    assert issubclass(LockLostError, LockError)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timeout": 0.049}, "lock timeout=0.049: seconds, from 0.05 to 86400"),
        ({"timeout": True}, "lock timeout=True: seconds"),
        ({"timeout": float("nan")}, "lock timeout=nan: seconds"),
        ({"wait": -1}, "lock wait=-1: seconds, from 0 to 86400"),
        ({"wait": "1"}, "lock wait='1': seconds"),
        ({"max_attempts": 0}, "lock max_attempts=0: a whole number from 1, or None"),
        ({"max_attempts": True}, "lock max_attempts=True: a whole number from 1"),
    ],
)
def test_a_lock_that_cannot_work_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Lock(LocalLocks(), KEY, **given)


@pytest.mark.parametrize("name", ["", "a\n", "x" * 257, "{a}", None])
def test_a_name_that_cannot_be_a_key_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"lock name=.*1 to 256 bytes of printable characters, no braces"):
        lock_key("ns", name)
