"""What pages take from the code is what the code says, and says something of everything."""

from __future__ import annotations

import asyncio
import dataclasses
import re

import msgspec
import pytest
import yaml

from cacheclient import CacheOptions, environment, strict
from cacheclient.cli import application
from cacheclient.contract import Env, ExitCode, RedisUser
from handbook import attributes
from handbook.__main__ import stale
from handbook.drawings import failover, states, topology
from handbook.drawings.watched import STATES
from handbook.pages import ROOT, SECTIONS, pages, renewed, sections
from infra.settings_schema import Settings

DOCS = ROOT / "docs"


def test_pages_and_drawings_are_what_the_code_says() -> None:
    differ = [str(file.relative_to(ROOT)) for file, _ in stale()]
    assert not differ, f"{', '.join(differ)}: run `make reference`"
    assert {name for page in pages() for name in sections(page.read_text(encoding="utf-8"))} == SECTIONS.keys()


def test_the_states_are_those_that_an_entry_was_seen_in() -> None:
    seen = asyncio.run(states.changes())
    assert {state for change in seen for state in change} == set(STATES.values())
    assert seen["lease", "tombstone"] == {"invalidate"}
    assert seen["tombstone", "value"] == {"set"}


def test_a_failover_is_drawn_as_it_was_measured() -> None:
    rows = failover.measured((DOCS / "ha.md").read_text(encoding="utf-8"))
    assert {row.failure for row in rows} == set(failover.WITHOUT_WRITES)
    assert {row.down_after for row in rows} == {3, 30}
    assert all(row.median <= row.worst <= row.limit for row in rows)


def test_who_connects_to_whom_is_in_the_policies() -> None:
    found = topology.edges(
        [yaml.safe_load(file.read_text(encoding="utf-8")) for file in topology.MANIFESTS.glob("*.yaml")]
    )
    assert ("applications", "redis", (6379,)) in found
    assert ("monitoring", "redis", (9121,)) in found
    assert not [edge for edge in found if edge[:2] == ("monitoring", "cache-backup")]


def test_a_section_ends_where_the_page_goes_on_by_hand() -> None:
    text = "a\n<!-- from the code: the users of Redis -->\nold\n<!-- written by hand again -->\nb\n"
    new = renewed(text)
    assert "old" not in new
    assert new.endswith("|\n\n<!-- written by hand again -->\nb\n")
    assert renewed(new) == new
    with pytest.raises(KeyError, match="the weather"):
        renewed("<!-- from the code: the weather -->\n")


def test_every_option_and_setting_is_told() -> None:
    for group in dataclasses.fields(CacheOptions()):
        options = type(getattr(CacheOptions(), group.name))
        assert attributes.of(options).keys() == {field.name for field in dataclasses.fields(options)}, options
    for field in msgspec.structs.fields(Settings):
        if (group := strict.group_type(field.type)) and field.name != "passwords":
            assert attributes.of(group).keys() == {inner.name for inner in msgspec.structs.fields(group)}, group


def test_the_page_of_options_names_every_variable() -> None:
    text = (DOCS / "options.md").read_text(encoding="utf-8")
    which = {Env.URL, Env.NAMESPACE, Env.VERSION, *environment._TEXTS.values()}
    for variable in [*(variable.value for variable in which), *CacheOptions().to_env()]:
        assert f"`{variable}`" in text, variable


def test_every_user_has_its_rules_on_the_page() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    rows = ["app", *re.findall(r"^\| `(\w+)` \| .*`\+ping`", text, re.MULTILINE)]
    assert set(rows) == {user.value for user in RedisUser}


def test_the_page_of_the_command_tells_every_command_and_exit_code() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    for name in application.declared():
        assert f"\n### cachestack {name}\n" in text
    table = re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)
    assert [int(code) for code in table] == [code.value for code in ExitCode]
