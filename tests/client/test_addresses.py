"""Cache URLs: what they say, what they may not say, and that no secret is repeated."""

# ruff: noqa: S106  none of these is a password of anything
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import AsyncCache
from cacheclient.errors import ConfigurationError
from cacheclient.remote import Address, Login, Target, parse, read_secret

SECRET = "hunter2swordfish"  # noqa: S105


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://h", Target(scheme="redis", nodes=(Address("h", 6379),))),
        ("redis://h:7/3", Target(scheme="redis", nodes=(Address("h", 7),), database=3)),
        ("redis://u:p@h", Target(scheme="redis", nodes=(Address("h", 6379),), username="u", password="p")),
        ("redis://:p%40%2F@h", Target(scheme="redis", nodes=(Address("h", 6379),), password="p@/")),
        ("redis://:a@b@h", Target(scheme="redis", nodes=(Address("h", 6379),), password="a@b")),
        ("rediss://[::1]:7", Target(scheme="rediss", nodes=(Address("::1", 7),))),
        ("redis+sentinel://a,b:7,c/set-1",
         Target(scheme="redis+sentinel", nodes=(Address("a", 26379), Address("b", 7), Address("c", 26379)),
                set_name="set-1")),
        ("rediss+cluster://u:p@a,b:7",
         Target(scheme="rediss+cluster", nodes=(Address("a", 6379), Address("b", 7)), username="u", password="p")),
        ("memory://", Target(scheme="memory")),
    ],
)  # fmt: skip
def test_a_url_says_where_and_as_whom(url: str, target: Target) -> None:
    assert parse(url) == target


def test_tls_and_sentinel_are_in_the_scheme() -> None:
    assert [(parse(f"{s}://h/x").tls, parse(f"{s}://h/x").sentinel) for s in ("redis+sentinel", "rediss+sentinel")] == [
        (False, True),
        (True, True),
    ]
    assert parse("rediss://h").tls


def test_arguments_win_over_the_url() -> None:
    target = parse("redis://u:p@h", username="me", password="mine", sentinel_password="theirs")
    assert (target.username, target.password, target.sentinel_password) == ("me", "mine", "theirs")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "url scheme ''"),
        ("http://h", "url scheme 'http': one of redis, rediss"),
        ("redis://", "at least one host"),
        ("redis://a,,b", "at least one host"),
        ("redis://a,b", "one host"),
        ("redis://h:0", "port from 1 to 65535"),
        ("redis://h:70000", "port from 1 to 65535"),
        ("redis://h:port", "port from 1 to 65535"),
        ("redis://:7", "name"),
        ("redis://[::1", "brackets"),
        ("redis://h/x", "url database 'x': a whole number"),
        ("redis://h/1/2", "url database"),
        ("redis://h/-1", "url database"),
        ("redis://h/٣", "url database"),
        ("redis://h?db=3", "CacheOptions"),
        ("redis://h?db", "CacheOptions"),
        ("redis://h#x", "CacheOptions"),
        ("redis+cluster://a,b/0", "one database"),
        ("redis+sentinel://a,b", "name of the Sentinel set"),
        ("redis+sentinel://a/b/c", "name of the Sentinel set"),
        ("redis+sentinel://a//set", "name of the Sentinel set"),
        ("redis://h//1", "url database '/1'"),
        ("memory://h", "no host"),
        ("memory:///x", "no host"),
    ],
)
def test_any_other_url_is_refused_with_what_is_allowed(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(url)


@given(st.text(max_size=30))
def test_no_text_raises_another_error(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://{text}/set"):
        try:
            parse(url)
        except ConfigurationError:
            continue


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/x@h", f"redis://:{SECRET}#x@h", f"redis://:{SECRET}?x@h", f"redis://:{SECRET}",
        f"redis://user:{SECRET}", f"redis://user:{SECRET}@", f"redis://user:{SECRET}@h:bad", f"redis://user:{SECRET}@a,b",
        f"redis://user:{SECRET}@h/bad", f"redis://u:{SECRET}\u2100@h", f"redis+sentinel://u:{SECRET}@a,,b/x",
        f"redis://u:{SECRET},x:{SECRET}", f"http://u:{SECRET}@h", f"redis://:{SECRET}@[::1",
    ],
)  # fmt: skip
def test_an_error_never_repeats_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)


def test_no_repr_shows_a_secret() -> None:
    target = parse(f"redis+sentinel://u:{SECRET}@h/x", sentinel_password=SECRET)
    login = Login(username="u", password=SECRET)
    cache = AsyncCache.from_url(f"redis://u:{SECRET}@h", namespace="a")
    for thing in (target, login, cache):
        assert SECRET not in repr(thing)


def test_a_password_file_gives_its_text_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(f" {SECRET} \r\n")
    assert read_secret(tmp_path / "p") == f" {SECRET} "


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", None])
def test_a_password_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"password file {path}"):
        AsyncCache.from_url("redis://h", namespace="a", password_file=path)


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give one of them"):
        AsyncCache.from_url("redis://h", namespace="a", password="x", password_file=tmp_path)


@pytest.mark.parametrize(("address", "text"), [(Address("h", 1), "h:1"), (Address("::1", 2), "[::1]:2")])
def test_an_address_is_written_as_people_do(address: Address, text: str) -> None:
    assert str(address) == text
