"""A loop whose turn threads may take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from cacheclient.turns import Turn, new_loop
from tests.conftest import PATIENCE, wait_for

Turned = tuple[asyncio.AbstractEventLoop, Turn]


@pytest.fixture
def turned() -> Iterator[Turned]:
    loop, turn = new_loop()

    def run() -> None:
        with turn:
            loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    yield loop, turn
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    loop.close()


def test_nothing_runs_on_the_loop_while_a_thread_has_its_turn(turned: Turned) -> None:
    loop, turn = turned
    ran = threading.Event()
    with turn:
        loop.call_soon_threadsafe(ran.set)
        assert not ran.wait(0.05)
    assert ran.wait(PATIENCE)


def test_who_gives_the_turn_up_and_wants_it_back_comes_behind_who_waits() -> None:
    turn, order = Turn(), []

    def take() -> None:
        with turn:
            order.append("who waited")

    turn.acquire()
    thread = threading.Thread(target=take)
    thread.start()
    wait_for(turn._next.locked)
    turn.release()
    with turn:
        order.append("who came back")
    thread.join(PATIENCE)
    assert order == ["who waited", "who came back"]


def test_a_thread_gets_the_turn_of_a_loop_that_never_rests(turned: Turned) -> None:
    loop, turn = turned
    busy, rounds = threading.Event(), 0

    def again() -> None:
        nonlocal rounds
        rounds += 1
        if not busy.is_set():
            loop.call_soon(again)

    loop.call_soon_threadsafe(again)
    for _ in range(50):
        with turn:
            seen = rounds
            assert seen == rounds
    busy.set()
