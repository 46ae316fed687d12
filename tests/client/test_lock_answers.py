"""Answers that a lock does not get, or gets too late: what its holder may believe then."""

from __future__ import annotations

import pytest

from cacheclient.errors import (
    LockLostError,
    LockTimeoutError,
    UnavailableError,
)
from cacheclient.lock import Lock, lock_key
from cacheclient.remote import Attempt, LocalLocks
from cacheclient.testing import FakeClock
from tests.conftest import until

KEY = "ns:lock:job"


class Shaky:
    """A store whose answers the test takes away: ``lose`` names, in order, the calls whose answer does not arrive."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.inner = LocalLocks(clock) if clock else LocalLocks()
        self.lose: list[str] = []
        self.calls: list[str] = []

    async def acquire(self, key: str, holder: str, seconds: float) -> Attempt:
        answer = await self.inner.acquire(key, holder, seconds)
        self._answer("acquire")
        return answer

    async def extend(self, key: str, holder: str, seconds: float) -> bool:
        answer = await self.inner.extend(key, holder, seconds)
        self._answer("extend")
        return answer

    async def release(self, key: str, holder: str) -> bool:
        answer = await self.inner.release(key, holder)
        self._answer("release")
        return answer

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.lose and self.lose[0] in (call, "all"):
            if self.lose[0] != "all":
                self.lose.pop(0)
            raise UnavailableError("no answer")


async def test_an_acquisition_whose_answer_was_lost_is_found_by_the_next_attempt() -> None:
    store = Shaky()
    store.lose = ["acquire", "acquire"]
    async with Lock(store, KEY, wait=10) as lock:
        assert lock.token > 0
    assert store.calls == ["acquire", "acquire", "acquire", "release"]


async def test_giving_up_after_an_unheard_success_frees_the_lock() -> None:
    store = Shaky()
    store.lose = ["acquire"]
    with pytest.raises(LockTimeoutError, match="no answer"):
        await Lock(store, KEY, wait=0).acquire()
    assert (await store.inner.acquire(KEY, "somebody else", 1)).token is not None


async def test_a_release_whose_answer_was_lost_is_repeated_and_not_taken_for_a_loss() -> None:
    store = Shaky()
    async with Lock(store, KEY):
        store.lose = ["release"]
    assert store.calls == ["acquire", "release", "release"]


async def test_a_release_that_never_gets_through_is_a_loss_only_if_the_time_is_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    store = Shaky(clock)
    async with Lock(store, KEY, timeout=10, clock=clock):
        store.lose = ["all"]
    assert store.calls.count("release") == 3
    assert "may stay until it expires: no answer" in caplog.text
    store.lose = []
    lock = Lock(store, lock_key("ns", "other"), timeout=10, clock=clock)
    await lock.acquire()
    store.lose = ["all"]
    clock.now += 10
    with pytest.raises(LockLostError):
        await lock.release()


class Slow(LocalLocks):
    """A store whose answer to an acquisition takes 3 s."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.hands = clock

    async def acquire(self, key: str, holder: str, seconds: float) -> Attempt:
        answer = await super().acquire(key, holder, seconds)
        self.hands.now += 3
        return answer


async def test_the_holder_counts_from_before_it_asked_less_a_margin() -> None:
    clock = FakeClock()
    lock = Lock(Slow(clock), KEY, timeout=10, clock=clock)
    await lock.acquire()
    assert lock.remaining == pytest.approx(10 - 3 - 0.1 - 0.002)
    clock.now += 6.897
    assert lock.remaining > 0
    clock.now += 0.002
    assert lock.lost


async def test_an_answer_that_comes_after_the_lock_expired_is_no_lock() -> None:
    clock = FakeClock()
    with pytest.raises(LockTimeoutError, match="an answer took 2 s"):
        await Lock(Slow(clock), KEY, timeout=2, wait=0, clock=clock).acquire()


async def test_an_extension_without_an_answer_changes_nothing_that_the_holder_believes() -> None:
    clock = FakeClock()
    store = Shaky(clock)
    lock = Lock(store, KEY, timeout=10, clock=clock)
    await lock.acquire()
    believed = lock.remaining
    store.lose = ["extend"]
    with pytest.raises(UnavailableError):
        await lock.extend(100)
    assert lock.remaining == believed
    await lock.extend(100)
    assert lock.remaining > 98
    await lock.release()


async def test_auto_extension_tries_on_while_redis_is_silent_and_ends_with_the_lock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Shaky()
    lock = Lock(store, KEY, timeout=0.5, auto_extend=True)
    await lock.acquire()
    store.lose = ["extend", "extend"]
    await until(lambda: not store.lose and not lock.lost)
    store.lose = ["all"]
    assert lock._extender is not None
    await until(lock._extender.done)
    assert "not extended, so it may be lost: no answer" in caplog.text
    await until(lambda: lock.lost)
    with pytest.raises(LockLostError):
        await lock.release()


async def test_an_error_nobody_expected_in_the_extension_reaches_the_holder() -> None:
    class Broken(LocalLocks):
        async def extend(self, key: str, holder: str, seconds: float) -> bool:
            raise ZeroDivisionError(f"{holder}: {key}, {seconds}")

    clock = FakeClock()
    lock = Lock(Broken(clock), KEY, timeout=0.1, auto_extend=True, clock=clock)
    await lock.acquire()
    assert lock._extender is not None
    await until(lock._extender.done)
    with pytest.raises(ZeroDivisionError):
        await lock.release()


async def test_the_error_of_the_block_is_not_hidden_by_the_loss_of_the_lock() -> None:
    clock = FakeClock()

    async def work() -> None:
        async with Lock(LocalLocks(clock), KEY, timeout=1, clock=clock):
            clock.now += 2
            raise KeyError(7)

    with pytest.raises(KeyError) as caught:
        await work()
    assert caught.value.__notes__ == [f"{KEY}: the lock was lost before it was released"]


async def test_the_block_may_release_early() -> None:
    store = LocalLocks()
    async with Lock(store, KEY) as lock:
        await lock.release()
        await Lock(store, KEY, wait=0).acquire()


async def test_attempts_are_bounded() -> None:
    store = Shaky()
    await store.inner.acquire(KEY, "somebody else", 60)
    with pytest.raises(LockTimeoutError, match=r"attempts: 3"):
        await Lock(store, KEY, wait=60, max_attempts=3).acquire()
    assert store.calls == ["acquire"] * 3 + ["release"]
