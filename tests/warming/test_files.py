"""Files as sources: every format, going on in the middle, and lines that cannot be read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import MISSING
from cacheclient.missing import ABSENT
from cacheclient.warming import Bad, Fields, Files, Item, Outcome, SourceError, Warmer
from cacheclient.warming.sources.msgpack_stream import objects
from tests.conftest import Server
from tests.warming.conftest import FAST, Open

ROWS = [{"key": f"k{n}", "value": {"n": n}, "ttl": 60 + n} for n in range(600)]


async def read(source: Files, after: Any = None) -> list[Item | Bad]:
    return [item async for item in source.items(after)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        text = io.StringIO()
        out = csv.writer(text)
        out.writerow(["key", "value", "ttl"])
        out.writerows((row["key"], json.dumps(row["value"]), "") for row in rows)
        path.write_text(text.getvalue())
    elif path.suffix == ".msgpack":
        path.write_bytes(b"".join(map(msgspec.msgpack.encode, rows)))
    else:
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv", "msgpack"])
async def test_every_record_is_given_once_and_from_any_place_the_rest(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"a.{ending}", ROWS[:400])
    write(tmp_path / f"b.{ending}", ROWS[400:])
    source = Files(
        name="files", path=str(tmp_path / f"*.{ending}"), fields=Fields(ttl="none" if ending == "csv" else "ttl")
    )
    whole = await read(source)
    assert [item.key for item in whole if isinstance(item, Item)] == [row["key"] for row in ROWS]
    assert source.share(None) == 0.0
    assert source.share(whole[-1].at) == 1.0
    shares = [source.share(item.at) or 0 for item in whole]
    assert shares == sorted(shares)
    for place in (0, 255, 399, 400, 599):
        assert await read(source, whole[place].at) == whole[place + 1 :]


async def test_lines_that_cannot_be_read_are_told_by_number_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"key": "a", "value": 1}\n{"key": "b", "val\n\n[1]\n{"key": 4.5, "value": 1}\n{"key": "c"}\n'
        '{"key": "d", "value": 1, "ttl": "soon"}\n{"key": "e", "value": null, "tags": ["t"]}\n'
        '{"key": "f", "value": 1, "tags": "t"}'
    )
    given = await read(Files(name="files", path=str(path)))
    assert [(item.where.rpartition(":")[2], item.key) for item in given if isinstance(item, Item)] == [
        ("1", "a"),
        ("8", "e"),
    ]
    bad = {item.where.rpartition(":")[2]: item.why for item in given if isinstance(item, Bad)}
    assert list(bad) == ["2", "4", "5", "6", "7", "9"]
    assert bad["2"].startswith("no JSON: ")
    assert bad["4"] == "a mapping with 'key' is needed, not list"
    assert bad["5"] == "key=4.5: a text or a whole number is needed"
    assert bad["6"] == "'value' is missing"
    assert bad["7"] == "ttl='soon': seconds above 0 are needed"
    assert bad["9"] == "tags='t': a list of texts is needed"


async def test_a_csv_line_of_another_length_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'\xef\xbb\xbfkey,value\na,1\nb\n"c,1\nd,"x,y"\n\xff,1\n')
    given = await read(Files(name="files", path=str(path)))
    assert [item.key for item in given if isinstance(item, Item)] == ["a", "d"]
    bad = [(item.where.rpartition(":")[2], item.why.split(":")[0]) for item in given if isinstance(item, Bad)]
    assert bad == [("3", "1 fields, not 2"), ("4", "no CSV"), ("6", "no CSV")]


async def test_past_a_broken_object_of_messagepack_nothing_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "p.msgpack", ROWS[:3])
    path.write_bytes(path.read_bytes() + b"\xc1" + path.read_bytes())
    given = await read(Files(name="files", path=str(path)))
    assert len(given) == 4
    assert isinstance(given[3], Bad)
    assert given[3].why == "no MessagePack, and the rest is lost: 0xc1 begins no object"
    path.write_bytes(msgspec.msgpack.encode(ROWS[0])[:-3])
    (cut,) = await read(Files(name="files", path=str(path)))
    assert isinstance(cut, Bad)
    assert cut.why.endswith("the file ends inside an object")


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
            | st.text(max_size=300) | st.binary(max_size=300),
            lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
            max_leaves=40,
        ),
        max_size=5,
    )
)  # fmt: skip
def test_objects_end_where_they_were_written_to_end(written: list[Any]) -> None:
    packed = [msgspec.msgpack.encode(one) for one in written]
    assert list(objects(io.BytesIO(b"".join(packed)))) == packed


@pytest.mark.parametrize(("size", "head"), [(40, 0xD9), (300, 0xDA), (70_000, 0xDB)])
def test_texts_of_any_length_are_one_object(size: int, head: int) -> None:
    packed = msgspec.msgpack.encode("x" * size)
    assert packed[0] == head
    assert list(objects(io.BytesIO(packed * 2))) == [packed, packed]


async def test_keys_may_be_made_by_a_template_and_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 7, "labels": ["vip"]}\n')
    fields = Fields(key="id", key_template="user:{}", value="", seconds=90.0, tags=("all",), tags_field="labels")
    (item,) = await read(Files(name="files", path=str(path), fields=fields))
    assert isinstance(item, Item)
    assert (item.key, item.value, item.ttl, item.tags) == ("user:7", ABSENT, 90.0, ("all", "vip"))
    assert item.value is not MISSING


@pytest.mark.parametrize(
    ("name", "says"), [("none.jsonl", "there is no such file"), ("p.txt", "say its format: jsonl, csv, msgpack")]
)
async def test_what_is_no_file_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "p.txt").write_text("{}")
    with pytest.raises(SourceError, match=says):
        await read(Files(name="files", path=str(tmp_path / name)))


async def test_a_file_warms_the_cache_and_its_broken_line_is_in_the_report(
    tmp_path: Path, shared_server: Server, namespace: str, opened: Open
) -> None:
    path = write(tmp_path / "profiles.jsonl", ROWS)
    with path.open("a") as file:
        file.write('{"key": \n{"key": "last", "value": 1}\n')
    cache = await opened(shared_server.url, namespace)
    report = await Warmer(cache, [Files(name="profiles", path=str(path))], plans=FAST).run("full")
    assert (report.outcome, report.written, report.sources[0].failed) == (Outcome.DONE, 601, 1)
    ((where, why),) = report.sources[0].errors
    assert where == f"{path}:601"
    assert why.startswith("no JSON")
    assert await cache.get("k599") == {"n": 599}
    assert await cache.get("last") == 1


async def test_texts_of_a_csv_file_become_what_the_cache_holds(
    tmp_path: Path, shared_server: Server, namespace: str, opened: Open
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("key,value\na,7\nb,seven\n")
    cache = await opened(shared_server.url, namespace, type=int)
    report = await Warmer(cache, [Files(name="scores", path=str(path))], plans=FAST).run("full")
    assert (report.written, report.sources[0].failed) == (1, 1)
    assert await cache.get("a") == 7
