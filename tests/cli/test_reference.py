"""The page about the commands is what they say of themselves."""

from __future__ import annotations

import re

from cacheclient.cli import application
from cacheclient.contract import ExitCode
from tests.cli.reference import PAGE, page


def test_the_page_is_what_the_commands_say() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(written), "run `make reference`"
    for name in application.declared():
        assert f"\n### cachestack {name}\n" in written


def test_the_page_tells_every_exit_code() -> None:
    table = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [int(code) for code in table] == [code.value for code in ExitCode]
