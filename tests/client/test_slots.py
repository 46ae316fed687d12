"""What nodes of a Redis Cluster say, and what most of them say."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient.clock import boottime
from cacheclient.errors import UnavailableError
from cacheclient.remote import Address, parse
from cacheclient.remote.replies import Redirection, redirection, refused
from cacheclient.remote.slots import Range, View, agree, parse_view, served, slot_of, succession
from cacheclient.remote.survey import Survey
from tests.conftest import PATIENCE, free_port, until

A, B, C, D = (Address(name, 6379) for name in "abcd")
LAST = 16383
THIRDS = (Range(0, 99, A), Range(100, 199, B), Range(200, LAST, C))


def view(*ranges: Range) -> View:
    return View(ranges, frozenset(part.master for part in ranges))


@pytest.mark.parametrize(
    ("key", "same_as"),
    [("{user}:1", "user"), ("a{user}b{c}", "user"), ("{}x", "{}x"), ("a{b", "a{b"), ("ns:v1:é", "ns:v1:é".encode())],
)
def test_what_stands_between_the_first_braces_chooses_the_slot(key: str, same_as: str | bytes) -> None:
    assert slot_of(key) == slot_of(same_as)


def test_a_slot_is_the_one_that_the_specification_gives() -> None:
    assert slot_of("123456789") == 0x31C3 % 16384  # its appendix A: CRC-16 of this text


def test_a_node_that_does_not_say_its_address_is_the_one_asked() -> None:
    reply = [[100, LAST, [b"10.0.0.2", 7001, b"id", []]], [0, 99, ["", 7000, "id"], [None, 7002, "id"]]]
    assert parse_view(reply, Address("seed", 1)) == View(
        (Range(0, 99, Address("seed", 7000)), Range(100, LAST, Address("10.0.0.2", 7001))),
        frozenset({Address("seed", 7000), Address("seed", 7002), Address("10.0.0.2", 7001)}),
    )


def test_more_than_half_of_all_masters_decide() -> None:
    deposed = view(*THIRDS)
    after = view(Range(0, 99, D), *THIRDS[1:])
    assert agree([after, deposed, after], 3) == after.ranges
    assert agree([after, after], 3) == after.ranges
    assert agree([deposed], 3) is None
    assert agree([deposed, after], 3) is None
    assert agree([], 3) is None
    assert agree([deposed] * 2, 4) is None


def test_each_slot_is_decided_by_itself() -> None:
    views = [
        view(Range(0, 9, A), Range(10, 20, B)),
        view(Range(0, 12, A), Range(13, 20, B)),
        view(Range(0, 9, A), Range(10, 20, C)),
    ]
    assert agree(views[:2], 3) is None  # who has 10 to 12?
    assert agree([*views[:2], view(Range(0, 11, A), Range(12, 20, B))], 3) == (
        Range(0, 9, A), Range(10, 11, A), Range(12, 12, B), Range(13, 20, B)
    )  # fmt: skip
    assert agree(views, 3) is None


def test_slots_that_most_say_nobody_serves_are_in_no_range() -> None:
    some, fewer = view(Range(0, 9, A), Range(20, 29, B)), view(Range(0, 9, A))
    assert agree([some, fewer, fewer], 3) == (Range(0, 9, A),)


@given(st.lists(st.sampled_from([A, B, C]), min_size=4, max_size=4))
def test_votes_for_the_same_slots_agree_however_they_are_cut(masters: list[Address]) -> None:
    whole = view(*(Range(10 * i, 10 * i + 9, master) for i, master in enumerate(masters)))
    halves = view(
        *(Range(10 * i + 5 * h, 10 * i + 5 * h + 4, master) for i, master in enumerate(masters) for h in (0, 1))
    )
    agreed = agree([whole, halves, view(Range(0, 39, D))], 3)
    assert agreed is not None
    assert served(agreed) == served(whole.ranges)


def test_a_shard_is_continued_by_whoever_serves_most_of_its_slots() -> None:
    before = dict(zip("abc", served(THIRDS).values(), strict=True))
    promoted = (Range(0, 99, D), *THIRDS[1:])
    assert succession(before, promoted) == {D: "a", B: "b", C: "c"}
    added = (Range(0, 79, A), Range(80, 119, D), Range(120, 199, B), Range(200, LAST, C))
    assert succession(before, added) == {A: "a", B: "b", C: "c"}
    gone = (Range(0, 199, B), Range(200, LAST, C))
    assert succession(before, gone)[C] == "c"
    assert len(succession(before, gone)) == 2


def test_a_node_says_where_to_go() -> None:
    assert redirection(refused("MOVED 42 10.0.0.1:7000")) == Redirection(Address("10.0.0.1", 7000), asking=False)
    assert redirection(refused("ASK 42 ::1:7000")) == Redirection(Address("::1", 7000), asking=True)
    assert redirection(refused("MOVED 42 :7000")) is None  # it does not know the host: the next survey will
    assert redirection(UnavailableError("no answer")) is None


@pytest.mark.parametrize("ticks", range(6))
async def test_a_survey_that_was_just_hurried_can_be_cancelled(ticks: int) -> None:
    survey = Survey(parse(f"redis+cluster://127.0.0.1:{free_port()}"), timeout=1.0, term=3600.0, clock=boottime)
    run = asyncio.create_task(survey.run(lambda _: None, lambda _: None))
    await until(lambda: survey._hurried._waiters)  # type: ignore[attr-defined]  # it pauses
    survey.hurry()
    for _ in range(ticks):
        await asyncio.sleep(0)
    run.cancel()
    ended, _ = await asyncio.wait([run], timeout=PATIENCE)
    assert ended
    await survey.close()
