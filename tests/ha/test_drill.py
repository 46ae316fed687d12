"""The drill's verdicts, and that every promise of docs/ha.md has its failure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.drill import __main__ as command
from tests.drill.measure import BY_NAME, Outcome

DOCUMENT = Path(__file__).parents[2] / "docs" / "ha.md"


@pytest.mark.parametrize(
    ("seconds", "problems", "kept"),
    [((1.0, 5.0), (), True), ((1.0, 5.1), (), False), ((1.0,), ("a write lost",), False), ((), (), False)],
)
def test_a_promise_is_kept_only_if_every_run_kept_it(
    seconds: tuple[float, ...], problems: tuple[str, ...], kept: object
) -> None:
    assert Outcome("handover", 5.0, seconds, problems).kept is kept


def test_every_promise_of_the_document_has_a_failure_that_is_caused() -> None:
    first_table = DOCUMENT.read_text().partition("## Measured")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", first_table, re.MULTILINE)) == BY_NAME.keys()


def test_an_unknown_promise_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "earthquake"])
    assert ended.value.code == 2
    assert "handover" in capsys.readouterr().err


@pytest.mark.slow
def test_one_run_of_one_promise_ends_with_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "crash", "--runs", "1", "--json"]) == 0
    assert '"promise": "crash"' in capsys.readouterr().out
