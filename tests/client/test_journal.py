"""The journal: what is owed is paid, in batches, and a debt made anew is not settled by an older payment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cacheclient.errors import UnavailableError
from cacheclient.journal import Debt, Journal
from cacheclient.testing import FakeClock
from tests.conftest import until


class Far:
    """Takes tombstones, or not."""

    def __init__(self) -> None:
        self.away = False
        self.never: set[str] = set()
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.go = asyncio.Event()
        self.go.set()

    async def send(self, debt: Debt) -> None:
        self.asked.append(debt.name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            await self.go.wait()
            if self.away or debt.name in self.never:
                raise UnavailableError("away")
            self.sent.append(debt.name)
        finally:
            self.at_once -= 1


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def journal(far: Far, clock: FakeClock) -> AsyncIterator[Journal]:
    journal = Journal(far.send, 60, clock)
    journal.start()
    yield journal
    await journal.close()


async def test_what_is_owed_is_paid_once(journal: Journal, far: Far) -> None:
    for key in "aba":
        journal.owe(Debt("key", key))
    assert len(journal) == 2
    await until(lambda: not len(journal))
    assert sorted(far.sent) == ["a", "b"]


async def test_what_does_not_get_through_is_sent_until_it_does(journal: Journal, far: Far) -> None:
    far.away = True
    journal.owe(Debt("key", "a"))
    await until(lambda: far.most_at_once)
    assert "a" in journal
    far.away = False
    await until(lambda: far.sent == ["a"])
    await until(lambda: "a" not in journal)


async def test_thousands_are_paid_in_batches(journal: Journal, far: Far) -> None:
    for number in range(1000):
        journal.owe(Debt("key", str(number)))
    await until(lambda: not len(journal))
    assert sorted(far.sent, key=int) == [str(number) for number in range(1000)]
    assert far.most_at_once <= 128


async def test_the_newest_goes_first(journal: Journal, far: Far) -> None:
    far.away = True
    for number in range(1000):
        journal.owe(Debt("key", str(number)))
    await until(lambda: far.most_at_once)
    far.away = False
    await until(lambda: far.sent)
    assert far.sent[0] == "999"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.journal._RETRY", 0.001)


@pytest.mark.usefixtures("impatient")
async def test_while_redis_is_away_one_is_tried_for_all_but_for_every_tenth_time(journal: Journal, far: Far) -> None:
    far.away = True
    for number in range(100):
        journal.owe(Debt("key", str(number)))
    await until(lambda: len(far.asked) >= 100 + 9 + 100)
    newest_first = [str(number) for number in reversed(range(100))]
    assert far.asked[: 100 + 9 + 100] == [*newest_first, *["99"] * 9, *newest_first]
    far.away = False
    await until(lambda: not len(journal))
    assert far.sent == newest_first, "the first that gets through is followed by all"


@pytest.mark.usefixtures("impatient")
async def test_a_debt_that_never_gets_through_keeps_no_other_for_ever(journal: Journal, far: Far) -> None:
    far.away = True
    for name in ("a", "b", "newest"):
        journal.owe(Debt("key", name))
    await until(lambda: len(far.asked) > 3)
    far.never, far.away = {"newest"}, False
    await until(lambda: sorted(far.sent) == ["a", "b"])
    assert "newest" in journal
    far.never = set()


async def test_a_new_master_is_asked_for_all_at_once(journal: Journal, far: Far) -> None:
    far.away = True
    for name in "abc":
        journal.owe(Debt("key", name))
    await until(lambda: far.asked == ["c", "b", "a", "c"])
    journal.replay()
    await until(lambda: len(far.asked) == 7)
    assert far.asked[4:] == ["c", "b", "a"]


async def test_a_debt_made_anew_during_its_payment_is_paid_again(journal: Journal, far: Far) -> None:
    far.go.clear()
    journal.owe(Debt("key", "a"))
    await until(lambda: far.at_once)
    journal.owe(Debt("key", "a"))
    far.go.set()
    await until(lambda: far.sent == ["a", "a"])
    await until(lambda: "a" not in journal)


async def test_a_key_stays_owed_while_its_payment_is_on_the_way(journal: Journal, far: Far) -> None:
    far.go.clear()
    journal.owe(Debt("key", "a"))
    await until(lambda: far.at_once)
    assert "a" in journal
    far.go.set()


async def test_closing_during_a_payment_pays_it(far: Far, clock: FakeClock) -> None:
    journal = Journal(far.send, 60, clock)
    journal.start()
    far.go.clear()
    journal.owe(Debt("key", "a"))
    await until(lambda: far.at_once)
    closing = asyncio.create_task(journal.close())
    await until(lambda: far.most_at_once == 1 and not closing.done())
    far.go.set()
    await closing
    assert far.sent == ["a"]


async def test_closing_gives_up_on_a_redis_that_is_away(far: Far, clock: FakeClock) -> None:
    journal = Journal(far.send, 60, clock)
    journal.start()
    far.away = True
    journal.owe(Debt("key", "a"))
    await asyncio.wait_for(journal.close(), 5)
    assert "a" in journal


async def test_a_new_master_gets_what_is_recent_and_no_more(journal: Journal, far: Far, clock: FakeClock) -> None:
    journal.note(Debt("key", "old"))
    clock.now += 40
    journal.note(Debt("key", "recent"))
    clock.now += 10
    journal.note(Debt("key", "new"))
    clock.now += 15
    journal.replay()
    assert "recent" in journal
    await until(lambda: not len(journal))
    assert far.sent == ["new", "recent"]


async def test_only_the_recent_is_remembered(journal: Journal, clock: FakeClock) -> None:
    for number in range(100):
        journal.note(Debt("key", str(number)))
        clock.now += 1
    assert len(journal._recent) <= 61
    journal.note(Debt("key", "99"))
    assert list(journal._recent)[-1] == Debt("key", "99")
