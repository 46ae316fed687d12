"""What pages take from the code is what the code says, and says something of everything."""

from __future__ import annotations

import dataclasses
import re

import msgspec
import pytest

from cacheclient import CacheOptions, environment, strict
from cacheclient.cli import application
from cacheclient.contract import Env, ExitCode, RedisUser
from handbook import attributes
from handbook.pages import ROOT, SECTIONS, pages, renewed, sections
from infra.settings_schema import Settings

DOCS = ROOT / "docs"


def test_pages_are_what_the_code_says() -> None:
    used = set()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        used |= set(sections(text))
        assert renewed(text) == text, f"{page.relative_to(ROOT)} differs from the code: run `make reference`"
    assert used == SECTIONS.keys()


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
