"""Every reason that a script can give was given by one of the tests of the scripts: no branch is without a test.

Comes last (``conftest.py``), and only where all of those tests run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cacheclient.contract import Script
from infra.local.programs import script

# What the scripts say, with a constant text or a double-quoted one; names of hosts stand before a reason of `follow`.
SPOKEN = re.compile(
    r"""(?:\b(?:log|die|fail|lead|follow\ \S+|follow\ "[^"]*")\ |\b(?:reason|FAILED)=)(?:"([^"]+)"|'([^']+)')""",
    re.VERBOSE,
)
EXPANSION = re.compile(r"\$\(\(.*?\)\)|\$\{[^}]*\}|\$\w+|\$\*|\$\(.*")
TESTS = [
    path
    for path in Path(__file__).parent.glob("test_*.py")
    if re.search(r"\b(stage|master): Stage\b", path.read_text())
]


def reasons(name: Script) -> dict[str, re.Pattern[str]]:
    """Return what a script can say, as it stands there, and how it looks when it is said."""
    texts = [found[1] or found[2] for found in SPOKEN.finditer(Path(script(name)).read_text())]
    return {
        text: re.compile(".*".join(map(re.escape, EXPANSION.split(text)))) for text in texts if EXPANSION.sub("", text)
    }


def test_every_reason_that_a_script_can_give_is_given_in_a_test(
    request: pytest.FixtureRequest, said: list[tuple[str, str]]
) -> None:
    run = {item.name.partition("[")[0] for item in request.session.items}
    missing = [
        name
        for path in TESTS
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
        if name not in run
    ]
    if missing:
        pytest.skip("only where all tests of the scripts run")
    unsaid = [
        f"{name}: {text}"
        for name in Script
        for text, looks in reasons(name).items()
        if not any(looks.search(text_said) for who, text_said in said if name in {who, Script.ASK})
    ]
    assert not unsaid, "\n".join(["write a test in which a script says so:", *unsaid])


def test_the_reasons_of_a_script_are_found_whatever_the_way_in_which_they_are_said() -> None:
    found = reasons(Script.REDIS_START)
    for text, said in (
        ("most Sentinels name it", "decision: follow redis-1: most Sentinels name it"),
        ("own name $CACHE_SELF did not resolve within $RESOLVE_S s", "refused: own name x did not resolve within 1 s"),
        ("no Sentinel answers", "waiting: no Sentinel answers"),
    ):
        assert found[text].search(said)
    assert reasons(Script.REDIS_STOP)["no Sentinel accepts a failover"]
    assert reasons(Script.REDIS_PROBE)["no answer to PING within $CALL_S s"]
