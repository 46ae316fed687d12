"""Plan files: what they may say, and that everything that is wrong with one is said at once."""

from __future__ import annotations

import contextlib
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from cacheclient import ConfigurationError
from cacheclient.warming import (
    Files,
    Http,
    Kind,
    PlanSettings,
    SourceSettings,
    Sql,
    Stream,
    Warmer,
    parse_plans,
    read_plans,
)
from cacheclient.warming.sources import kinds as kinds_module
from tests.warming.conftest import Listed, Open, values

WHOLE = """
[plans.full]
rate = 5000
renew = true

[plans.critical]
deadline = 10

[[sources]]
kind = "files"
name = "profiles"
plans = ["full", "hot"]
path = "/data/*.jsonl"

[[sources]]
kind = "sql"
name = "top"
priority = 2
plans = ["hot"]
dsn_file = "{folder}/dsn"
query = "select id as key from users order by visits desc limit 1000"
load_query = "select id as key, profile as value from users where id::text = any(%(keys)s)"
key_template = "user:{{}}"
value = ""
ttl = 3600

[[sources]]
kind = "http"
name = "features"
priority = 3
plans = ["full"]
url = "https://features.internal/v1/export"
list_at = "items"
next_at = "next"
token_file = "{folder}/token"
headers = {{ Accept = "application/json" }}

[[sources]]
kind = "stream"
name = "dns"
priority = 4
plans = ["full"]
stream = "dns:answers"
tags = ["dns"]
"""


async def test_a_whole_file(tmp_path: Path, opened: Open, namespace: str) -> None:
    (tmp_path / "dsn").write_text("host=db user=reader\n")
    (tmp_path / "token").write_text("secret\n")
    path = tmp_path / "warm.toml"
    path.write_text(WHOLE.format(folder=tmp_path))
    said = read_plans(path)
    assert said.plans["full"] == PlanSettings(rate=5000, renew=True, deadline=14400)
    assert said.plans["critical"].deadline == 10
    assert said.plans["hot"].deadline == 1800
    cache = await opened("memory://", namespace)
    files, sql, http, stream = said.sources(cache)
    assert isinstance(files, Files)
    assert files.path == "/data/*.jsonl"
    assert isinstance(sql, Sql)
    assert sql.dsn() == "host=db user=reader"
    assert sql.fields.bare("user:7") == "7"
    assert (sql.fields.seconds, sql.priority, sql.load_many is not None) == (3600, 2, True)
    assert isinstance(http, Http)
    assert http.headers() == {"Accept": "application/json", "Authorization": "Bearer secret"}
    (tmp_path / "token").write_text("rotated\n")
    assert http.headers()["Authorization"] == "Bearer rotated"
    assert isinstance(stream, Stream)
    assert stream.fields.tags == ("dns",)
    assert [source.name for source in Warmer(cache, said.sources(cache), plans=said.plans).sources] == [
        "profiles", "top", "features", "dns",
    ]  # fmt: skip


FILES: dict[str, Any] = {"kind": "files", "name": "a", "plans": ["full"], "path": "x"}
SQL: dict[str, Any] = {
    "kind": "sql",
    "name": "a",
    "plans": ["full"],
    "query": "select",
    "dsn": "host=db password=hunter2",
}

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "sources: missing; at least one [[sources]]"),
    ({"source": [FILES]}, "source: unknown key; allowed: plans, sources"),
    ({"sources": FILES}, "sources: a list of tables is needed: [[sources]]"),
    ({"sources": ["files"]}, "sources[0]: a table is needed"),
    ({"sources": [{}]}, "sources[0].kind: missing; allowed: files, sql, http, stream"),
    ({"sources": [FILES], "plans": []}, "plans: a table of plans is needed"),
    ({"sources": [FILES], "plans": {"nightly": {}}}, "plans.nightly: no such plan; critical, hot, full"),
    ({"sources": [FILES], "plans": {"full": 5}}, "plans.full: 5 is not allowed; a group of keys"),
    ({"sources": [FILES], "plans": {"full": {"rates": 5}}}, "plans.full.rates: unknown key; did you mean rate?"),
    (
        {"sources": [FILES], "plans": {"full": {"rate": 0}}},
        "plans.full.rate: 0 is not allowed; keys a second, from 1 to",
    ),
    ({"sources": [FILES], "plans": {"full": {"batch": 1.5}}}, "plans.full.batch: 1.5 is not allowed; a whole number"),
    (
        {"sources": [FILES], "plans": {"full": {"renew": "yes"}}},
        "plans.full.renew: 'yes' is not allowed; true or false",
    ),
    ({"sources": [FILES], "plans": {"hot": {"deadline": -1}}}, "plans.hot.deadline: -1 is not allowed; seconds"),
    ({"sources": [FILES], "plans": {"hot": {"l1": 10**6}}}, "plans.hot.l1: 1000000 is not allowed; a whole number"),
    ({"sources": [{**FILES, "kind": "file"}]}, "sources[0].kind: 'file'; did you mean files?"),
    ({"sources": [{**FILES, "kind": "kafka"}]}, "sources[0].kind: 'kafka'; allowed: files, sql, http, stream"),
    ({"sources": [{**FILES, "kind": ["files"]}]}, "sources[0].kind: ['files']; "),
    ({"sources": [{"name": "a"}]}, "sources[0].kind: missing; allowed: files, sql, http, stream"),
    ({"sources": [{"kind": "files", "name": "a", "plans": ["full"]}]}, "sources[0].path: missing; a text"),
    ({"sources": [{**FILES, "name": "A b"}]}, "sources[0].name: 'A b' is not allowed; a-z"),
    (
        {"sources": [{**FILES, "plans": ["all"]}]},
        "sources[0].plans: ['all'] is not allowed; a list of critical, hot, full",
    ),
    ({"sources": [{**FILES, "plans": []}]}, "sources[0].plans: [] is not allowed"),
    ({"sources": [{**FILES, "priority": "high"}]}, "sources[0].priority: 'high' is not allowed; a whole number"),
    ({"sources": [{**FILES, "format": "xml"}]}, "sources[0].format: 'xml' is not allowed; jsonl, csv, msgpack"),
    ({"sources": [{**FILES, "ttl": -1}]}, "sources[0].ttl: -1 is not allowed; seconds, above 0"),
    (
        {"sources": [{**FILES, "key_template": "user"}]},
        "sources[0].key_template: 'user' is not allowed; a text with one {}",
    ),
    ({"sources": [{**FILES, "value": ""}]}, "sources[0].value: without one, load must say how keys are loaded"),
    ({"sources": [{**FILES, "load": "shop"}]}, "sources[0].load: 'shop' is not allowed; module:function"),
    ({"sources": [FILES, FILES]}, "sources: two are named 'a'"),
    ({"sources": [{**SQL, "dsn_file": "x"}]}, "sources[0].dsn: one of dsn and dsn_file is needed"),
    ({"sources": [{**SQL, "dsn": ""}]}, "sources[0].dsn: one of dsn and dsn_file is needed"),
    ({"sources": [{**SQL, "dsn": 5}]}, "sources[0].dsn: the value (not shown) is not allowed"),
    ({"sources": [{**SQL, "load_query": "select"}]}, "sources[0].load_query: %(keys)s is missing"),
    ({"sources": [{**SQL, "value": ""}]}, "sources[0].value: without one, load_query or load must say how keys"),
    ({"sources": [{**FILES, "kind": "http"}]}, "sources[0].path: unknown key"),
    (
        {"sources": [{**FILES, "kind": "http", "url": "ftp://x"}]},
        "sources[0].url: 'ftp://x' is not allowed; an http(s) URL",
    ),
    (
        {"sources": [{**FILES, "kind": "stream", "limit": 0}]},
        "sources[0].limit: 0 is not allowed; a whole number from 1",
    ),
]


@pytest.mark.parametrize(("raw", "says"), BAD, ids=[says[:40] for _, says in BAD])
def test_what_cannot_be_is_refused_with_its_path(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_plans(raw)
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_plans(
            {"plans": {"full": {"rate": 0, "batch": 0}}, "sources": [{**FILES, "plans": [], "paht": 1}]}, "warm.toml"
        )
    first, *faults = str(raised.value).splitlines()
    assert first == "warm.toml: 4 fault(s)"
    assert len(faults) == 4


@pytest.mark.parametrize(
    ("text", "says"), [(None, "No such file"), ("[plans", "Expected ']'"), (b"\xff", "can't decode")]
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: Any, says: str) -> None:
    path = tmp_path / "warm.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError, match=says):
        read_plans(path)


_leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
_tree = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*FILES, *SQL, "plans", "sources", "full", "rate"]), inner, max_size=6)
    ),
)


@given(st.dictionaries(st.sampled_from(["plans", "sources", "x"]), _tree, max_size=3))
def test_whatever_a_file_says_it_is_taken_or_refused(raw: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigurationError):  # and nothing else
        parse_plans(raw)


async def test_loaders_are_found_by_name(opened: Open, namespace: str) -> None:
    cache = await opened("memory://", namespace)
    known = {**FILES, "value": "", "load": "tests.warming.test_plan_file:load_many"}
    (source,) = parse_plans({"sources": [known]}).sources(cache)
    assert source.load_many is not None
    assert await source.load_many(["a"]) == {"a": "loaded"}
    for load, says in [("no.such:thing", "No module named"), ("os:nothing", "no attribute"), ("os:sep", "a function")]:
        with pytest.raises(ConfigurationError, match=f"load: {load}: .*{says}"):
            parse_plans({"sources": [{**FILES, "load": load}]}).sources(cache)


async def load_many(keys: Any) -> dict[str, str]:
    return dict.fromkeys(keys, "loaded")


class QueueSettings(SourceSettings, frozen=True, kw_only=True):
    queue: Annotated[str, Meta(min_length=1, description="the name of a queue")]


QUEUE = Kind(QueueSettings, lambda told, _: Listed(values(2), name=told.queue))


async def test_other_packages_add_kinds(opened: Open, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("queue", "tests.warming.test_plan_file:QUEUE", "cachestack.warming")
    monkeypatch.setattr(kinds_module, "entry_points", lambda **_: [point])
    raw = {"kind": "queue", "name": "jobs", "plans": ["full"], "queue": "jobs"}
    (source,) = parse_plans({"sources": [raw]}).sources(await opened("memory://", namespace))
    assert source.name == "jobs"
    with pytest.raises(ConfigurationError, match=r"sources\[0\].queue: missing; the name of a queue"):
        parse_plans({"sources": [{"kind": "queue", "name": "jobs", "plans": ["full"]}]})
    wrong = EntryPoint("queue", "tests.warming.test_plan_file:load_many", "cachestack.warming")
    monkeypatch.setattr(kinds_module, "entry_points", lambda **_: [wrong])
    with pytest.raises(ConfigurationError, match="a Kind, not function"):
        parse_plans({"sources": [raw]})


def test_the_file_in_the_guide_is_one_that_is_taken() -> None:
    page = (Path(__file__).parents[2] / "docs" / "warm-up.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    said = parse_plans(tomllib.loads(text))
    assert said.plans["full"] == PlanSettings(rate=5000, renew=True, deadline=7200)
    assert len(said._told) == len(kinds_module.kinds()) == 4
