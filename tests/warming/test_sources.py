"""SQL, HTTP and Redis streams as sources, over real servers."""

# ruff: noqa: S608  the names of the tables are our own
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import psycopg
import pytest

from cacheclient.warming import Bad, Fields, Http, Item, Outcome, PlanSettings, SourceError, Sql, Stream, Warmer
from tests.conftest import Server
from tests.warming.conftest import FAST, Open, Pages, Postgres

_tables = count(1)


async def read(source: Any, after: Any = None) -> list[Item | Bad]:
    return [item async for item in source.items(after)]


def keys_of(given: list[Item | Bad]) -> list[str]:
    return [item.key for item in given if isinstance(item, Item)]


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture
def users(postgres: Postgres) -> Iterator[str]:
    """Return a table of 1,200 users, the higher the number the more visits."""
    table = f"users{next(_tables)}"
    postgres.run(
        f"create table {table} (id bigint primary key, visits int not null, profile jsonb not null, tags text[])",
        f"insert into {table} select n, n, jsonb_build_object('name', 'u' || n), array['all'] "
        "from generate_series(1, 1200) n",
    )
    yield table
    postgres.run(f"drop table {table}")


async def test_rows_become_entries(
    postgres: Postgres, users: str, shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    source = Sql(
        name="top", dsn=lambda: postgres.dsn, fields=Fields(key_template="user:{}", seconds=600),
        query=f"select id as key, profile as value, tags from {users} order by visits desc limit 1000",
    )  # fmt: skip
    report = await Warmer(cache, [source], plans={"hot": PlanSettings(rate=1e6, batch=100)}).run("hot")
    assert (report.outcome, report.written) == (Outcome.DONE, 1000)
    assert await cache.get("user:1200") == {"name": "u1200"}
    assert await cache.get("user:200") is None
    entry = await cache.get_entry("user:1199")
    assert entry is not None
    assert entry.tags == ("all",)


async def test_keys_are_loaded_by_a_query_of_their_own(
    postgres: Postgres, users: str, shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    source = Sql(
        name="all", dsn=lambda: postgres.dsn, fields=Fields(key_template="user:{}", value=""),
        query=f"select id as key from {users} where id <= 50 union all select 9999",
        load_query=f"select id as key, profile as value from {users} where id = any(%(keys)s::bigint[])",
    )  # fmt: skip
    report = await Warmer(cache, [source], plans=FAST).run("full")
    assert (report.outcome, report.written, report.sources[0].skipped) == (Outcome.DONE, 50, 1)
    assert await cache.get("user:50") == {"name": "u50"}
    with psycopg.connect(postgres.dsn) as connection:
        ours = "select count(*) from pg_stat_activity where application_name = 'cachestack-warming'"
        deadline = time.monotonic() + 10
        while connection.execute(ours).fetchone() != (0,):
            assert time.monotonic() < deadline, "a connection was left behind"
            connection.commit()


async def test_a_query_that_knows_the_last_key_goes_on_there(postgres: Postgres, users: str) -> None:
    source = Sql(
        name="all", dsn=lambda: postgres.dsn,
        query=f"select id as key, 1 as value from {users} where %(after)s::bigint is null or id > %(after)s::bigint "
        "order by id",
    )  # fmt: skip
    given = await read(source)
    assert len(given) == 1200
    assert keys_of(await read(source, given[1189].at)) == [str(n) for n in range(1191, 1201)]
    assert given[0].at == 1


async def test_many_rows_are_not_held_in_memory(postgres: Postgres) -> None:
    source = Sql(name="many", dsn=lambda: postgres.dsn, query="select generate_series(1, 100000000) as key, 1 as value")
    given = []
    async with asyncio.timeout(20):
        items = source.items(None)
        async for item in items:
            given.append(item)
            if len(given) == 1000:
                break
        await items.aclose()  # type: ignore[attr-defined]
    assert len(given) == 1000


@pytest.mark.parametrize(
    ("dsn", "query", "says"),
    [
        ("host=/nowhere user=postgres password=hunter2 dbname=postgres", "select 1", "PostgreSQL: .*No such file"),
        ("host=127.0.0.1 port=1 password=hunter2", "select 1", "PostgreSQL: .*refused"),
        ("", "select nothing", "PostgreSQL: column .nothing. does not exist"),
        ("no such dsn hunter2", "select 1", "PostgreSQL: "),
    ],
)
async def test_a_database_that_cannot_be_asked_ends_the_source_and_tells_no_password(
    postgres: Postgres, dsn: str, query: str, says: str
) -> None:
    with pytest.raises(SourceError, match=says) as raised:
        await read(Sql(name="top", dsn=lambda: dsn or postgres.dsn, query=query))
    assert "hunter2" not in str(raised.value).replace("no such dsn hunter2", "")


async def test_a_query_that_hangs_is_given_up(
    postgres: Postgres, shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    source = Sql(name="slow", dsn=lambda: postgres.dsn, query="select pg_sleep(60), 1 as key, 1 as value", timeout=0.3)
    report = await Warmer(cache, [source], plans=FAST).run("full")
    assert report.sources[0].error == "gave nothing for 0.3 s"
    assert report.seconds < 10


async def test_a_loader_whose_database_is_gone_ends_its_source(
    postgres: Postgres, users: str, shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    source = Sql(
        name="all", dsn=lambda: postgres.dsn, fields=Fields(value=""), query=f"select id as key from {users}",
        load_query="select id as key, profile as value from dropped where id = any(%(keys)s::bigint[])",
    )  # fmt: skip
    report = await Warmer(cache, [source], plans=FAST).run("full")
    assert report.outcome is Outcome.FAILED
    assert "dropped" in report.sources[0].error


# -- HTTP -------------------------------------------------------------------------------------------------------------


def page(*numbers: int) -> list[dict[str, Any]]:
    return [{"key": f"f{n}", "value": n} for n in numbers]


async def test_pages_are_followed_by_link_by_field_and_by_token(pages: Pages) -> None:
    pages.answer("/link", page(1, 2), Link='</link?p=2>; rel="next"')
    pages.answer("/link?p=2", page(3))
    assert keys_of(await read(Http(name="web", url=f"{pages.url}/link"))) == ["f1", "f2", "f3"]
    pages.answer("/field", {"data": {"items": page(1)}, "paging": {"next": "/field?p=2"}})
    pages.answer("/field?p=2", {"data": {"items": page(2)}, "paging": {"next": None}})
    source = Http(name="web", url=f"{pages.url}/field", list_at="data.items", next_at="paging.next")
    assert keys_of(await read(source)) == ["f1", "f2"]
    pages.answer("/token?size=1", {"items": page(1), "cursor": "a b"})
    pages.answer("/token?size=1&after=a+b", {"items": page(2)})
    source = Http(name="web", url=f"{pages.url}/token?size=1", list_at="items", next_at="cursor", next_param="after")
    assert keys_of(await read(source)) == ["f1", "f2"]


async def test_it_goes_on_in_the_middle_of_a_page(pages: Pages) -> None:
    pages.answer("/a", page(1, 2), Link='</b>; rel="next"')
    pages.answer("/b", page(3, 4, 5))
    source = Http(name="web", url=f"{pages.url}/a")
    given = await read(source)
    pages.asked.clear()
    assert keys_of(await read(source, given[2].at)) == ["f4", "f5"]
    assert [path for path, _ in pages.asked] == ["/b"]


async def test_a_server_that_is_busy_is_asked_again(pages: Pages) -> None:
    pages.answer("/a", {}, 503, Retry_After="0")
    pages.answer("/a", {}, 429, Retry_After="0")
    pages.answer("/a", page(1))
    source = Http(name="web", url=f"{pages.url}/a", headers=lambda: {"Authorization": "Bearer t"})
    assert keys_of(await read(source)) == ["f1"]
    assert [headers["authorization"] for _, headers in pages.asked] == ["Bearer t"] * 3


@pytest.mark.parametrize(
    ("body", "status", "link", "says"),
    [
        (b"<html>", 200, "", "no JSON"),
        ({"items": []}, 200, "", "no list at 'the top', but dict"),
        ({}, 403, "", "403 Forbidden"),
        ({}, 503, "", "503 Service Unavailable"),
        ([], 200, "http://127.0.0.1:1/evil", "the next page is on another server, 127.0.0.1:1"),
        ([], 200, "/a", "it names itself as the next page"),
    ],
)
async def test_pages_that_cannot_be_used_end_the_source(
    pages: Pages, body: Any, status: int, link: str, says: str
) -> None:
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    pages.answer("/a", body, status, Retry_After="0", **headers)
    with pytest.raises(SourceError, match=says):
        await read(Http(name="web", url=f"{pages.url}/a"))


async def test_pages_warm_the_cache(pages: Pages, shared_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(shared_server.url, namespace)
    pages.answer("/a", [*page(*range(30)), {"value": 1}, "odd"])
    report = await Warmer(cache, [Http(name="web", url=f"{pages.url}/a")], plans=FAST).run("full")
    assert (report.outcome, report.written, report.sources[0].failed) == (Outcome.DONE, 30, 2)
    assert report.sources[0].errors[0][0] == f"{pages.url}/a#31"


# -- Redis streams ----------------------------------------------------------------------------------------------------


async def test_the_newest_entry_of_a_key_counts(shared_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(shared_server.url, namespace)
    stream, client = f"{namespace}:served", shared_server.client
    for number in range(500):
        client.xadd(stream, {"key": f"u{number % 100}", "value": json.dumps({"n": number}), "tags": '["seen"]'})
    client.xadd(stream, {"key": "broken", "value": "{"})
    source = Stream(name="served", records=lambda: cache.records, key=stream)
    given = await read(source)
    assert len(given) == 501
    assert isinstance(given[0], Bad)
    assert keys_of(await read(source, given[499].at)) == ["u0"]
    report = await Warmer(cache, [source], plans={"hot": PlanSettings(rate=1e6, batch=33)}).run("hot")
    assert (report.written, report.sources[0].skipped, report.sources[0].failed) == (100, 400, 1)
    assert await cache.get("u7") == {"n": 407}
    entry = await cache.get_entry("u8")
    assert entry is not None
    assert entry.tags == ("seen",)


async def test_a_stream_is_read_no_further_than_it_is_told(shared_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(shared_server.url, namespace)
    stream, client = f"{namespace}:served", shared_server.client
    old = int((time.time() - 7200) * 1000)
    for number in range(10):
        client.xadd(stream, {"key": f"old{number}", "value": "1"}, id=f"{old}-{number + 1}")
    for number in range(10):
        client.xadd(stream, {"key": f"new{number}", "value": "1"})
    recent = Stream(name="served", records=lambda: cache.records, key=stream, max_age=3600)
    assert keys_of(await read(recent)) == [f"new{n}" for n in range(9, -1, -1)]
    few = Stream(name="served", records=lambda: cache.records, key=stream, limit=3)
    assert keys_of(await read(few)) == ["new9", "new8", "new7"]
    assert few.share([1, 3]) == 1.0
    nothing = Stream(name="served", records=lambda: cache.records, key=f"{namespace}:none")
    assert await read(nothing) == []


async def test_a_stream_in_memory_is_read_the_same(opened: Open, namespace: str) -> None:
    cache = await opened("memory://", namespace)
    for number in range(3):
        await cache.records.append("log", {"key": f"u{number}", "value": str(number)}, 100)
    source = Stream(name="served", records=lambda: cache.records, key="log")
    given = await read(source)
    assert keys_of(given) == ["u2", "u1", "u0"]
    assert keys_of(await read(source, given[0].at)) == ["u1", "u0"]
