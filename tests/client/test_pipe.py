"""The pipe, against a server that answers what the test says, when the test says."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cacheclient.contract import ErrorType
from cacheclient.errors import UnavailableError
from cacheclient.remote import Address, Login, Pipe, RedisStore
from cacheclient.stats import Stats
from tests.conftest import PATIENCE, Server, free_port, until

HELLO = b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"
QUICK = Login(connect_timeout=0.4, timeout=0.08)


class Puppet:
    """A server with one client: keeps what it is sent, and sends what it is told."""

    def __init__(self) -> None:
        self.got = b""
        self.greeting: bytes | None = HELLO
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> Address:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connections += 1
        greeted = False
        try:
            while data := await reader.read(65536):
                self.got += data
                if not greeted and b"SETNAME" in self.got:
                    greeted, self.got = True, b""
                    if self.greeting is None:
                        break
                    writer.write(self.greeting)
        except (ConnectionError, asyncio.CancelledError):  # the client went, or the loop ends
            pass
        finally:
            writer.transport.abort()

    def send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def hang_up(self) -> None:
        assert self._writer is not None
        self._writer.transport.abort()

    async def received(self, what: bytes) -> None:
        await until(lambda: what in self.got)

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        if self._writer is not None:
            self._writer.transport.abort()


@pytest.fixture
async def puppet() -> AsyncIterator[tuple[Puppet, Address]]:
    puppet = Puppet()
    yield puppet, await puppet.start()
    puppet.close()


async def outcome(future: asyncio.Future[Any]) -> tuple[ErrorType, bool]:
    """Return the kind of failure of ``future``, and whether the command is in doubt."""
    with pytest.raises(UnavailableError) as caught:
        await asyncio.wait_for(future, PATIENCE)
    return caught.value.kind, caught.value.in_doubt


def fetch(pipe: Pipe, keys: Sequence[str], login: Login = QUICK) -> list[tuple[Sequence[str], Any]]:
    """Have a store read ``keys`` over ``pipe``; return the list that its answers will be put into."""
    link = SimpleNamespace(current=lambda _: SimpleNamespace(reads=pipe), login=login, suspect=lambda _: None)
    taken: list[tuple[Sequence[str], Any]] = []
    RedisStore(link, Stats(), 1.0).fetch(keys, lambda part, values: taken.append((part, values)))  # type: ignore[arg-type]
    return taken


async def test_keys_leave_as_one_mget_at_once(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    taken = fetch(pipe, "abc")
    assert not pipe._out, "they wait for the end of the tick"
    await far.received(b"c\r\n")
    assert far.got == b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
    far.send(b"*3\r\n$1\r\n1\r\n_\r\n$1\r\n3\r\n")
    await until(lambda: taken)
    assert taken == [("abc", [b"1", None, b"3"])]
    pipe.close()


async def test_a_batch_is_cut_at_its_limit_and_answered_in_parts(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    login = Login(max_batch=2, timeout=PATIENCE)
    pipe = await Pipe.open(address, login)
    taken = fetch(pipe, "abcde", login)
    await far.received(b"e\r\n")
    assert far.got.count(b"MGET") == 3
    far.send(b"*2\r\n+1\r\n+2\r\n-ERR no\r\n*1\r\n+5\r\n")
    await until(lambda: len(taken) == 3)
    assert [part for part, _ in taken] == ["ab", "cd", "e"]
    assert taken[0][1] == [b"1", b"2"]
    assert isinstance(taken[1][1], UnavailableError), "one part that is refused fails no other"
    assert taken[2][1] == [b"5"]
    pipe.close()


async def test_an_unanswered_command_fails_in_time_and_those_behind_it_too(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = pipe.call("FIRST")
    await far.received(b"FIRST")
    await until(lambda: loop.time() > began + QUICK.timeout / 2)
    second = pipe.call("SECOND")
    assert await outcome(first) == (ErrorType.TIMEOUT, True)
    assert await outcome(second) == (ErrorType.TIMEOUT, True)
    assert loop.time() - began < QUICK.connect_timeout, "the second had to wait for the end of the connection"
    assert await outcome(pipe.call("THIRD")) == (ErrorType.TIMEOUT, False)  # refused at once: it was never sent
    pipe.close()


async def test_a_late_answer_is_thrown_away_and_the_pipe_goes_on(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, Login(connect_timeout=PATIENCE, timeout=0.05))
    assert await outcome(pipe.call("SLOW")) == (ErrorType.TIMEOUT, True)
    far.send(b"+late\r\n")
    await until(lambda: not pipe._overdue)
    quick = pipe.call("QUICK")
    await far.received(b"QUICK")
    far.send(b"+quick\r\n")
    assert await quick == b"quick"
    pipe.close()


@pytest.mark.parametrize("noise", [b">2\r\n+invalidate\r\n_\r\n", b"$100\r\nthe beginning"])
async def test_a_push_or_half_a_reply_does_not_end_the_wait(puppet: tuple[Puppet, Address], noise: bytes) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, Login(connect_timeout=PATIENCE, timeout=0.05))
    assert await outcome(pipe.call("SLOW")) == (ErrorType.TIMEOUT, True)
    received = asyncio.Event()
    original = pipe.data_received

    def data_received(data: bytes) -> None:
        original(data)
        received.set()

    assert pipe._transport is not None
    pipe.data_received = data_received  # type: ignore[method-assign]
    pipe._transport.set_protocol(pipe)  # the transport keeps the bound method
    far.send(noise)
    await asyncio.wait_for(received.wait(), PATIENCE)
    assert await outcome(pipe.call("NEXT")) == (ErrorType.TIMEOUT, False)
    pipe.close()


async def test_commands_behind_a_second_silence_fail_in_time(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, Login(connect_timeout=PATIENCE, timeout=0.1))
    calls = [pipe.call("ONE"), pipe.call("TWO")]
    assert [await outcome(call) for call in calls] == [(ErrorType.TIMEOUT, True)] * 2
    far.send(b"+one\r\n")
    await until(lambda: len(pipe._slots) == 1)
    assert await outcome(pipe.call("THREE")) == (ErrorType.TIMEOUT, False)
    far.send(b"+two\r\n")
    await until(lambda: not pipe._slots)
    began = asyncio.get_running_loop().time()
    assert await outcome(pipe.call("FOUR")) == (ErrorType.TIMEOUT, True)
    assert asyncio.get_running_loop().time() - began < PATIENCE / 2
    pipe.close()


async def test_a_connection_that_stays_silent_is_given_up(puppet: tuple[Puppet, Address]) -> None:
    _, address = puppet
    pipe = await Pipe.open(address, QUICK)
    began = asyncio.get_running_loop().time()
    assert await outcome(pipe.call("SLOW")) == (ErrorType.TIMEOUT, True)
    await asyncio.wait_for(pipe.closed, PATIENCE)
    assert asyncio.get_running_loop().time() - began >= QUICK.connect_timeout - 0.01
    assert await outcome(pipe.call("GET", "a")) == (ErrorType.CONNECTION, False)


async def test_a_time_limit_longer_than_the_connection_s_is_kept(puppet: tuple[Puppet, Address]) -> None:
    _, address = puppet
    pipe = await Pipe.open(address, Login(connect_timeout=0.1, timeout=0.4))
    began = asyncio.get_running_loop().time()
    await outcome(pipe.call("SLOW"))
    assert asyncio.get_running_loop().time() - began >= 0.39


@pytest.mark.parametrize(
    "reply", [b":5\r\n", b"*1\r\n:1\r\n", b"_\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n", b"\x00\x01junk\r\n"]
)
async def test_a_reply_out_of_step_ends_the_connection_and_leaves_nobody_waiting(
    puppet: tuple[Puppet, Address], reply: bytes
) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, Login(timeout=PATIENCE, connect_timeout=PATIENCE))
    taken = fetch(pipe, "ab")
    await far.received(b"MGET")
    behind = pipe.call("PING")
    far.send(reply + b"\r\n")
    await asyncio.wait_for(pipe.closed, PATIENCE)
    assert len(taken) == 1, "the readers were forgotten, or told twice"
    assert isinstance(taken[0][1], UnavailableError)
    assert behind.done(), "a caller was forgotten"
    assert isinstance(behind.exception(), UnavailableError)


async def test_an_answer_that_nobody_asked_for_ends_the_connection(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    far.send(b"+hello?\r\n")
    await asyncio.wait_for(pipe.closed, PATIENCE)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("READONLY You can't write", ErrorType.READONLY), ("OOM command not allowed", ErrorType.OOM),
     ("MISCONF Redis is", ErrorType.MISCONF), ("NOREPLICAS Not enough", ErrorType.NOREPLICAS),
     ("LOADING Redis is loading", ErrorType.CONNECTION), ("MASTERDOWN Link", ErrorType.READONLY),
     ("WRONGTYPE Operation", ErrorType.OTHER), ("ERR", ErrorType.OTHER)],
)  # fmt: skip
async def test_refusals_have_their_kind_and_are_not_in_doubt(
    puppet: tuple[Puppet, Address], text: str, kind: ErrorType
) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    call = pipe.call("GET", "a")
    await far.received(b"GET")
    far.send(f"-{text}\r\n".encode())
    assert await outcome(call) == (kind, False)
    pipe.close()


async def test_losing_the_connection_fails_all_who_wait(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    waiting, taken = [pipe.call("A"), pipe.call("B")], fetch(pipe, "cd")
    await far.received(b"MGET")
    far.hang_up()
    assert [await outcome(future) for future in waiting] == [(ErrorType.CONNECTION, True)] * 2
    assert [type(values) for _, values in taken] == [UnavailableError]
    assert await outcome(pipe.call("B")) == (ErrorType.CONNECTION, False)


async def test_closing_fails_those_whose_commands_have_not_left(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    waiting = [pipe.call("A"), pipe.call("B")]
    pipe.close()
    pipe.close()
    for future in waiting:
        assert await outcome(future) == (ErrorType.CONNECTION, False)
    assert far.got == b""


async def test_a_cancelled_caller_shifts_nobody_s_answer(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    first, second = pipe.call("A"), pipe.call("B")
    await far.received(b"B\r\n")
    first.cancel()
    far.send(b"+a\r\n+b\r\n")
    assert await second == b"b"
    pipe.close()


async def test_each_caller_gets_an_exception_of_its_own(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    pipe = await Pipe.open(address, QUICK)
    calls = [pipe.call("A") for _ in range(3)]
    await far.received(b"A\r\n")
    far.hang_up()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"-WRONGPASS invalid username-password pair\r\n", "WRONGPASS"),
        (b"-ERR unknown command `HELLO`\r\n", "unknown command"),
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol|closed"),
        (None, "lost"),
    ],
)
async def test_a_handshake_that_fails_says_why(
    puppet: tuple[Puppet, Address], greeting: bytes | None, message: str
) -> None:
    far, address = puppet
    far.greeting = greeting
    with pytest.raises(UnavailableError, match=message):
        await Pipe.open(address, QUICK)


async def test_a_server_that_never_greets_is_given_up_in_time(puppet: tuple[Puppet, Address]) -> None:
    far, address = puppet
    far.greeting = b""
    began = asyncio.get_running_loop().time()
    with pytest.raises(UnavailableError, match="no answer"):
        await Pipe.open(address, QUICK)
    assert asyncio.get_running_loop().time() - began >= QUICK.connect_timeout - 0.01


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a" * 70, "a..b"])
async def test_a_place_without_a_server_is_one_kind_of_error(host: str) -> None:
    with pytest.raises(UnavailableError, match="cannot connect to"):
        await Pipe.open(Address(host, free_port()), Login(connect_timeout=5))


async def test_opening_can_be_cancelled_at_any_moment(shared_server: Server) -> None:
    address = Address("127.0.0.1", shared_server.port)
    connected = [0]
    for ticks in range(12):
        opening = asyncio.create_task(Pipe.open(address, Login(name="given-up")))
        for _ in range(ticks):
            await asyncio.sleep(0)
        opening.cancel()
        result = (await asyncio.gather(opening, return_exceptions=True))[0]
        if isinstance(result, Pipe):
            connected[0] += 1
            result.close()

    def gone() -> bool:
        return not any(client["name"] == "given-up" for client in shared_server.client.client_list())

    await until(gone)


async def test_a_burst_of_thousands_is_answered(shared_server: Server, namespace: str) -> None:
    pipe = await Pipe.open(Address("127.0.0.1", shared_server.port), Login(timeout=PATIENCE))
    writes = [pipe.call("SET", f"{namespace}:{n}", n, "PX", 60_000) for n in range(5000)]
    await asyncio.gather(*writes)
    taken = fetch(pipe, [f"{namespace}:{n}" for n in range(5000)])
    await until(lambda: len(taken) == math.ceil(5000 / QUICK.max_batch))
    assert [value for _, values in taken for value in values] == [str(n).encode() for n in range(5000)]
    large = b"x" * 5_000_000
    await pipe.call("SET", f"{namespace}:large", large, "PX", 60_000)
    assert await pipe.call("GET", f"{namespace}:large") == large
    pipe.close()


async def test_time_goes_by_the_wire_not_by_a_busy_loop(shared_server: Server, namespace: str) -> None:
    pipe = await Pipe.open(Address("127.0.0.1", shared_server.port), Login(timeout=0.1))
    loop = asyncio.get_running_loop()

    def busy(seconds: float) -> None:
        end = loop.time() + seconds
        while loop.time() < end:
            pass

    write, read = pipe.call("SET", f"{namespace}:a", 1, "PX", 60_000), pipe.call("GET", f"{namespace}:a")
    busy(0.2)  # before anything has left
    assert await write == b"OK"
    assert await read == b"1"
    again = pipe.call("GET", f"{namespace}:a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    busy(0.2)  # after it has left: the answer lies there
    assert await again == b"1"
    pipe.close()


async def test_nothing_is_left_of_a_closed_pipe(
    puppet: tuple[Puppet, Address], recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()
    recwarn.clear()  # what other tests left is not this one's
    pipe = await Pipe.open(puppet[1], QUICK)
    read = pipe.call("GET", "a")
    pipe.close()
    await outcome(read)
    assert pipe._timer is None
    del pipe
    await asyncio.sleep(0)
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
