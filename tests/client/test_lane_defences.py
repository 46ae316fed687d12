"""What a lane must withstand: each is played out, and once more with its defence taken away, when it must go wrong."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Final

import pytest

from cacheclient import MISSING, Cache, UnavailableError
from cacheclient.contract import ErrorType
from cacheclient.crossing import Crossing
from cacheclient.reading import Reader
from cacheclient.remote import Address, Connection, Lane, Login
from cacheclient.remote.lanes import Lanes
from cacheclient.remote.replies import timed_out
from tests.client.test_lanes import OPTIONS, Held, lane_of
from tests.conftest import PATIENCE, Server, wait_for

_TIMEOUT: Final = 0.2  # seconds that a command may take in these tests, by a clock that stands still
_PASSWORD: Final = "secret"  # noqa: S105  of a server of these tests
_IMPATIENCE: Final = 1.0  # seconds after which what goes on without its defence counts as lost


class Clock:
    """Seconds that go on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """A socket on which each of ``parts`` arrives by itself, ``pause`` seconds after the one before."""

    def __init__(self, clock: Clock, parts: Sequence[bytes], pause: float) -> None:
        self._clock, self._parts, self._pause = clock, iter(parts), pause

    def sendall(self, _: bytes) -> None:
        """Take a command."""

    def recv(self, _: int) -> bytes:
        self._clock.now += self._pause
        return next(self._parts)


@dataclasses.dataclass
class Scene:
    """What a case may use: a cache whose L2 holds "a" to "e", threads, and a server that wants a password."""

    cache: Cache[Any]
    pool: ThreadPoolExecutor
    guarded: Callable[[], Server]
    clock: Clock
    patch: pytest.MonkeyPatch
    patience: float = PATIENCE

    def lane(self, parts: Sequence[bytes], pause: float = 0.0) -> Lane:
        """Return a lane whose server says ``parts``."""
        wire: Any = Wire(self.clock, parts, pause)
        return Lane(_beside(1), wire, Login(timeout=_TIMEOUT))

    def seen(self, part: type, method: str) -> list[Any]:
        """Return a list of the arguments of every call of ``method`` from now on."""
        calls: list[Any] = []
        call = getattr(part, method)
        self.patch.setattr(part, method, lambda self, *rest: (calls.append(rest), call(self, *rest))[1])
        return calls


Case = Callable[[Scene], None]


def _beside(port: int) -> Connection:
    return Connection(Address("127.0.0.1", port), 1, None, None)  # type: ignore[arg-type]


@pytest.fixture
def scene(
    shared_server: Server, launch: Callable[..., Server], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    clock = Clock()
    with (
        Cache.from_url(shared_server.url, namespace=namespace, options=OPTIONS) as cache,
        ThreadPoolExecutor(8) as pool,
    ):
        assert cache.set_many({key: key for key in "abcde"})
        lane_of(cache)
        monkeypatch.setattr("cacheclient.remote.lane.monotonic", clock)
        yield Scene(cache, pool, lambda: launch("", "--requirepass", _PASSWORD), clock, monkeypatch)


# -- one connection ----------------------------------------------------------------------------------------------------


def an_answer_trickles_in(scene: Scene) -> None:
    answer = b"*1\r\n$5\r\nvalue\r\n"
    quick = scene.lane([answer[:4], answer[4:]], pause=_TIMEOUT / 3)
    assert quick.fetch(["a"]) == [b"value"]
    slow = scene.lane([bytes([byte]) for byte in answer], pause=_TIMEOUT / 3)  # none is late by itself
    with pytest.raises(UnavailableError) as error:
        slow.fetch(["a"])
    assert error.value.kind is ErrorType.TIMEOUT
    assert slow.failed, "what is left of the answer would be taken for the next one"


def an_answer_is_too_short(scene: Scene) -> None:
    lane = scene.lane([b"*1\r\n$1\r\nb\r\n"])
    with pytest.raises(UnavailableError, match="MGET of 2 keys"):
        lane.fetch(["a", "b"])
    assert lane.failed


def a_server_wants_a_password(scene: Scene) -> None:
    server = scene.guarded()
    lane = Lane.open(_beside(server.port), Login(password=_PASSWORD))
    lane.end()


def a_cache_lives_in_a_database_of_its_own(scene: Scene) -> None:
    server = scene.guarded()
    for database in (0, 3):
        lane = Lane.open(_beside(server.port), Login(password=_PASSWORD, database=database))
        before = lane.fetch(["a"])
        lane._call("SET", "a", str(database), seconds=_TIMEOUT)
        lane.end()
        assert before == [None], "it is that of another database"


# -- lanes and their threads -------------------------------------------------------------------------------------------


def a_read_that_is_out_of_time(scene: Scene) -> None:
    lane, cache = lane_of(scene.cache), scene.cache
    late, again = cache.stats().errors["l2/timeout"], scene.seen(Reader, "send")

    def never(_: Sequence[str]) -> list[bytes | None]:
        lane.failed = True
        raise timed_out(_TIMEOUT)

    lane.fetch = never  # type: ignore[method-assign]
    assert scene.pool.submit(cache.get, "a", MISSING).result(scene.patience) is MISSING
    assert not again, "it was asked a second time, and takes twice as long"
    wait_for(lambda: cache.stats().errors["l2/timeout"] == late + 1, scene.patience)


def a_lane_is_lost_and_the_next_cannot_be_opened(scene: Scene) -> None:
    scene.patch.setattr("cacheclient.remote.lanes._AGAIN", 0.01)
    lane, lanes = lane_of(scene.cache), scene.cache._here()._lanes
    assert lanes is not None
    open_lane, refusals = Lane.open, iter([UnavailableError("no")] * 2)

    def refused(connection: Connection, login: Login) -> Lane:
        for refusal in refusals:
            raise refusal
        return open_lane(connection, login)

    scene.patch.setattr(Lane, "open", refused)
    lane._socket.shutdown(socket.SHUT_RDWR)
    assert scene.pool.submit(scene.cache.get, "a").result(scene.patience) == "a"
    wait_for(lambda: lanes._lane not in (None, lane), scene.patience)
    assert not list(refusals)


def threads_come_while_another_leads(scene: Scene) -> None:
    scene.patch.setattr("cacheclient.crossing._PATIENCE", PATIENCE)  # nobody has the loop look
    crossing, held = scene.cache._here().crossing, Held(lane_of(scene.cache))
    first = scene.pool.submit(scene.cache.get, "a")
    assert held.reached.wait(PATIENCE)
    rest = [scene.pool.submit(scene.cache.get, key) for key in "bcd"]
    wait_for(lambda: len(crossing._asked) == 3)
    held.go.set()
    try:
        assert [read.result(scene.patience) for read in (first, *rest)] == list("abcd")
        wait_for(lambda: not crossing._lead.locked(), scene.patience)
    finally:
        crossing._wake()


# -- defences, taken away ----------------------------------------------------------------------------------------------


def only_silence_is_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cacheclient.remote.lane.monotonic", lambda: 0.0)


def any_answer_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_mget", lambda self, keys: self._call("MGET", *keys, seconds=_TIMEOUT))


def greeted_without(patch: pytest.MonkeyPatch, **nothing: Any) -> None:
    greet = Lane._greet
    patch.setattr(Lane, "_greet", lambda self, login: greet(self, dataclasses.replace(login, **nothing)))


def nobody_logs_in(patch: pytest.MonkeyPatch) -> None:
    greeted_without(patch, password="")


def every_lane_is_in_database_0(patch: pytest.MonkeyPatch) -> None:
    greeted_without(patch, database=0)


def a_time_out_is_asked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cacheclient.crossing.ErrorType", SimpleNamespace(TIMEOUT=None))


def a_lane_is_opened_with_the_link_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lanes, "_try_again", lambda _: None)


def the_lead_is_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crossing, "_pass_on", lambda self: self._lead.release())


RACES: Final[Mapping[Case, Callable[[pytest.MonkeyPatch], None]]] = {
    an_answer_trickles_in: only_silence_is_late,
    an_answer_is_too_short: any_answer_is_believed,
    a_server_wants_a_password: nobody_logs_in,
    a_cache_lives_in_a_database_of_its_own: every_lane_is_in_database_0,
    a_read_that_is_out_of_time: a_time_out_is_asked_again,
    a_lane_is_lost_and_the_next_cannot_be_opened: a_lane_is_opened_with_the_link_only,
    threads_come_while_another_leads: the_lead_is_given_up,
}


@pytest.mark.parametrize("case", RACES, ids=lambda case: case.__name__)
def test_a_lane_withstands_it(case: Case, scene: Scene) -> None:
    case(scene)


@pytest.mark.parametrize(("case", "removed"), RACES.items(), ids=lambda part: part.__name__)
def test_without_its_defence_it_does_not(
    case: Case, removed: Callable[[pytest.MonkeyPatch], None], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed(monkeypatch)
    scene.patience = _IMPATIENCE
    with pytest.raises((AssertionError, TimeoutError, UnavailableError, pytest.fail.Exception)):
        case(scene)
