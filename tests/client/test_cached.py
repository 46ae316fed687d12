"""Cached functions: what a template may be, that no two calls share a key by mistake, and what the decorator keeps."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import inspect
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import MISSING, AsyncCache, Cache, ConfigurationError
from cacheclient.template import compiled, compiled_tag
from tests.conftest import Server


class Colour(enum.Enum):
    RED = "red"


class Mood(enum.StrEnum):
    RED = "red"


@pytest.fixture
async def cache(shared_server: Server, namespace: str) -> AsyncIterator[AsyncCache[Any]]:
    async with AsyncCache.from_url(shared_server.url, namespace=namespace) as opened:
        yield opened


@pytest.fixture
def threads(shared_server: Server, namespace: str) -> Iterator[Cache[Any]]:
    with Cache.from_url(shared_server.url, namespace=namespace) as opened:
        yield opened


# -- keys -------------------------------------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.text(max_size=6), st.text("ab:~%s1", max_size=4), st.sampled_from(["", "None", "True", "1", "%", "~n", "~i1"]),
    st.integers(-20, 20), st.booleans(), st.none(), st.floats(allow_nan=False), st.binary(max_size=3),
    st.sampled_from([Colour.RED, Mood.RED, UUID(int=1), Decimal("1.0"), Decimal(1), dt.date(2026, 1, 2),
                     dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2026, 1, 2)]),  # noqa: DTZ001
)  # fmt: skip


def _plain(a, b=0, *, c=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    del a, b, c


def _typed(a: int, b: str | None = "0", *, c: UUID | int = 3) -> None:
    del a, b, c


def _told(a: Colour, b: dt.date, *, c: bytes) -> None:
    del a, b, c


_KEYS = [
    compiled(template, function, limit=limit)
    for template in ("k:{a}:{b}:{c}", "{c}/x{b}ö:-{a}", "{{{a}|{b} {c}}}")
    for function in (_plain, _typed, _told)
    for limit in (100, 512)
]


@given(first=st.tuples(_VALUES, _VALUES, _VALUES), second=st.tuples(_VALUES, _VALUES, _VALUES))
def test_different_arguments_never_share_a_key(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    def identity(values: tuple[Any, ...]) -> list[tuple[type, str]]:
        return [(type(value), repr(value)) for value in values]

    for key in _KEYS:
        one, two = key(first[0], first[1], c=first[2]), key(second[0], second[1], c=second[2])
        assert (one == two) == (identity(first) == identity(second))
        assert one.isprintable()


@given(st.text(min_size=200, max_size=2000))
def test_a_long_argument_still_gives_a_key(text: str) -> None:
    key = compiled("ö:{a}", lambda a: a, limit=120)
    assert len(key(text).encode()) <= 120
    assert key(text) != key(text + "a")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((120, "x", 7), "p:120:x:~i7"),
        (("120", "x", UUID(int=1)), f"p:~s120:x:{UUID(int=1)}"),
        ((True, "a:b c", 0.5), "p:~bTrue:a%3Ab%20c:~f0.5"),
        ((-1, None, None), "p:-1:~n:~n"),
        ((1, "", "~"), "p:1:%:~s%7E"),
        ((1, "å", b"\xff"), "p:1:%C3%A5:~xff"),
        ((Colour.RED, "x", Mood.RED), f"p:~e{__name__}.Colour.RED:x:~e{__name__}.Mood.RED"),
    ],
)
def test_keys_are_written_as_said(arguments: tuple[Any, Any, Any], key: str) -> None:
    a, b, c = arguments
    assert compiled("p:{a}:{b}:{c}", _typed, limit=512)(a, b, c=c) == key


def test_annotations_are_read_as_text_too() -> None:
    def function(a, b): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

    function.__annotations__ = {"a": "int | None", "b": "NotImported"}
    key = compiled("{a}:{b}", function, limit=512)
    assert key(5, "x") == "5:x"
    assert key(None, 5) == "~n:~i5"


def test_positional_keyword_and_default_arguments_give_one_key() -> None:
    def function(a: int, /, b: int = 2, *, c: int = 3) -> None:
        del a, b, c

    key = compiled("{a}:{b}:{c}", function, limit=512)
    assert {key(1), key(1, 2), key(1, b=2), key(1, c=3, b=2)} == {"1:2:3"}
    for bad in ({"a": 1}, {"b": 1}, {"d": 1}):
        with pytest.raises(TypeError, match="function"):
            key(**bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function"):
        key(1, 2, 3)


def test_names_of_parameters_do_not_meet_the_generated_ones() -> None:
    key = compiled("{_write1}:{_k}:{__shorten}", lambda _write1, _k, __shorten="d": None, limit=512)
    assert key("x", "y") == "x:y:d"


@pytest.mark.parametrize("value", [[1], {"a": 1}, (1,), object(), 1j, type("Text", (str,), {})("x")])
def test_an_argument_that_no_key_is_made_of_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^b=.*: a key is made of str, int, "):
        compiled("{a}:{b}:{c}", _typed, limit=512)(1, value)


def _function(user: int, city: str = "x") -> None:
    del user, city


class _Class:
    def method(self, user: int) -> None: ...


@pytest.mark.parametrize(
    ("template", "function", "ignore", "says"),
    [
        ("{user}", _function, (), r"calls that differ in 'city' would share an entry; add \{city\}, or ignore="),
        ("{city}", _function, (), "calls that differ in 'user'"),
        ("{usr}:{city}", _function, (), "no parameter 'usr' for a key; did you mean user"),
        ("{zzz}:{user}:{city}", _function, (), "no parameter 'zzz' for a key; it has user, city"),
        ("{user}", _function, ("town",), "no parameter 'town'"),
        ("{user}{city}", _function, (), r"between \{user\} and \{city\} a character like : or /"),
        ("{user}-v1_{city}", _function, (), "a character like : or /"),
        ("{user.id}:{city}", _function, (), "without attribute, index, format"),
        ("{user[0]}:{city}", _function, (), "without attribute"),
        ("{user!r}:{city}", _function, (), "without attribute"),
        ("{user:03d}:{city}", _function, (), "without attribute"),
        ("{}:{city}", _function, (), "without attribute"),
        ("{0}:{city}", _function, (), "without attribute"),
        ("{user", _function, (), "expected '}'"),
        ("user}", _function, (), "Single '}'"),
        ("", _function, (), "printable characters"),
        ("a\n{user}:{city}", _function, (), "printable characters"),
        (None, _function, (), "printable characters"),
        ("{self}:{user}", _Class.method, (), "no parameter 'self' for a key"),
        ("{a}", lambda a, *rest: None, (), r"\*rest cannot be part of a key"),  # noqa: ARG005
        ("{a}", lambda a, **rest: None, (), r"\*\*rest cannot be part of a key"),  # noqa: ARG005
        ("{a}", dict.update, (), "cannot be part of a key|parameters are not known"),
    ],
)  # fmt: skip
def test_a_template_that_does_not_fit_is_refused_at_once(template: Any, function: Any, ignore: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        compiled(template, function, limit=512, ignore=ignore)


def test_a_tag_need_not_name_every_parameter() -> None:
    assert compiled_tag("city:{city}", _function, limit=255)(5, "a b") == "city:a%20b"
    with pytest.raises(ConfigurationError, match="no parameter 'town'"):
        compiled_tag("{town}", _function, limit=255)


# -- the decorator ----------------------------------------------------------------------------------------------------


async def test_a_function_is_called_once_for_each_key(cache: AsyncCache[Any]) -> None:
    calls: list[tuple[str, int]] = []

    @cache.cached("profile:{browser}:{major}", ttl=60)
    async def profile(browser: str, major: int = 1) -> str:
        """Say it."""
        calls.append((browser, major))
        return f"{browser} {major} {len(calls)}"

    assert await profile("firefox", 120) == await profile("firefox", major=120) == "firefox 120 1"
    assert await profile("firefox") == "firefox 1 2"
    assert profile.key("firefox", 120) == "profile:firefox:120"
    assert await cache.get("profile:firefox:120") == "firefox 120 1"
    assert await profile.refresh("firefox", 120) == "firefox 120 3"
    assert await profile("firefox", 120) == "firefox 120 3"
    assert await profile.invalidate("firefox", 120)
    assert await profile("firefox", 120) == "firefox 120 4"
    assert profile.__name__ == "profile"
    assert profile.__doc__ == "Say it."
    assert list(inspect.signature(profile).parameters) == ["browser", "major"]
    assert await profile.__wrapped__("a", 1) == "a 1 5"


async def test_a_hit_in_l1_asks_nobody(namespace: str) -> None:
    async with AsyncCache.from_url("memory://", namespace=namespace) as cache:

        @cache.cached("{number}")
        async def double(number: int) -> int:
            return 2 * number

        assert [await double(2) for _ in range(3)] == [4, 4, 4]
        assert cache.stats().l1.hits == 2
        assert cache.stats().loads == 1


async def test_tags_are_templates_and_options_are_kept(
    cache: AsyncCache[Any], shared_server: Server, namespace: str
) -> None:
    calls = 0

    @cache.cached("{user}:{city}", tags=["user:{user}", "all"], ttl=60, negative_ttl=30, ignore=["session"])
    async def row(user: int, city: str, session: object) -> Any:
        nonlocal calls
        calls += 1
        assert user
        assert session
        return MISSING if city == "nowhere" else calls

    assert await row(1, "x", object()) == await row(1, "x", object()) == 1
    assert await row(2, "x", object()) == 2
    assert 50_000 < shared_server.client.pttl(f"{namespace}:v1:1:x") <= 60_000
    await cache.invalidate_tag("user:1")
    assert await row(1, "x", object()) == 3
    assert await row(2, "x", object()) == 2
    assert await row(1, "nowhere", object()) is MISSING
    assert await row(1, "nowhere", object()) is MISSING
    assert calls == 4


async def test_methods_share_their_entries_and_keep_their_calls(cache: AsyncCache[Any]) -> None:
    class Service:
        calls = 0

        @cache.cached("row:{user}")
        async def row(self, user: int) -> str:
            self.calls += 1
            return f"{user} {self.calls}"

        @classmethod
        @cache.cached("kind:{user}")
        async def kind(cls, user: int) -> str:
            return f"{cls.__name__} {user}"

        @staticmethod
        @cache.cached("static:{user}")
        async def static(user: int) -> int:
            return user

    one, other = Service(), Service()
    assert await one.row(1) == await other.row(user=1) == "1 1"
    assert one.row.key(1) == "row:1"
    assert await one.row.invalidate(1)
    assert await other.row(1) == "1 1"
    assert await one.row.refresh(1) == "1 2"
    assert await Service.row(one, 1) == "1 2"
    assert await Service.kind(1) == "Service 1"
    assert await one.static(3) == 3


async def test_errors_pass_through_and_one_call_serves_all(cache: AsyncCache[Any]) -> None:
    began = asyncio.Event()
    calls = 0

    @cache.cached("{key}")
    async def load(key: str) -> str:
        nonlocal calls
        calls += 1
        if key == "bad":
            raise LookupError(key)
        await began.wait()
        return key

    waiting = [asyncio.create_task(load("a")) for _ in range(5)]
    await asyncio.sleep(0)
    began.set()
    assert await asyncio.gather(*waiting) == ["a"] * 5
    assert calls == 1
    with pytest.raises(LookupError):
        await load("bad")


def test_plain_functions_are_cached(threads: Cache[Any]) -> None:
    calls = 0

    @threads.cached("times:{number}:{factor}", tags=["n:{number}"], ttl=60)
    def times(number: int, factor: int = 2) -> tuple[int, int]:
        nonlocal calls
        calls += 1
        return number * factor, calls

    assert list(times(2)) == list(times(2, 2)) == [4, 1]
    assert list(times.refresh(2)) == [4, 2]
    assert times.key(2) == "times:2:2"
    assert times.invalidate(2)
    assert list(times(2)) == [4, 3]
    assert threads.invalidate_tag("n:2")
    assert list(times(2)) == [4, 4]
    assert times.__wrapped__(2) == (4, 5)

    class Service:
        factor = 3

        @threads.cached("method:{number}")
        def times(self, number: int) -> int:
            return self.factor * number

    one = Service()
    assert one.times(2) == Service.times(one, 2) == 6
    Service.factor = 4
    assert one.times(2) == 6
    assert one.times.key(2) == "method:2"
    assert one.times.refresh(2) == 8
    assert one.times.invalidate(2)


async def test_each_facade_has_functions_of_its_kind(cache: AsyncCache[Any], threads: Cache[Any]) -> None:
    async def asynchronous(a: int) -> int:
        return a

    def plain(a: int) -> int:
        return a

    with pytest.raises(ConfigurationError, match=r"plain: AsyncCache\.cached is for `async def`"):
        cache.cached("{a}")(plain)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"asynchronous: Cache\.cached is for plain functions"):
        threads.cached("{a}")(asynchronous)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ttl": 0}, "^ttl=0: seconds"),
        ({"negative_ttl": -1}, "^negative_ttl=-1"),
        ({"stale": "x"}, "^stale='x'"),
        ({"load_timeout": 0}, "^load_timeout=0"),
        ({"tags": "user"}, "tags='user': a list of templates"),
        ({"tags": ["{town}"]}, "no parameter 'town'"),
        ({"tags": [f"t{n}" for n in range(17)]}, "at most 16, 17 were given"),
        ({"ignore": "a"}, "ignore='a': a list"),
        ({"fresh": True}, "^fresh: no such option; ttl, "),
        ({"colour": 1}, "^colour: no such option"),
    ],
)
def test_options_are_checked_at_decoration(options: dict[str, Any], says: str) -> None:
    async def asynchronous(a: int) -> int:
        return a

    def plain(a: int) -> int:
        return a

    with pytest.raises(ConfigurationError, match=says):
        AsyncCache.from_url("memory://", namespace="a").cached("{a}", **options)(asynchronous)
    with pytest.raises(ConfigurationError, match=says):
        Cache.from_url("memory://", namespace="a").cached("{a}", **options)(plain)
