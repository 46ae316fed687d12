"""The comparison: what docs/features.json says of our own cache is what the questions find."""

from __future__ import annotations

import pytest

from bench.features.candidate import ours
from bench.features.questions import QUESTIONS, Scene
from handbook import features
from tests.conftest import Server


async def test_our_answers_are_those_of_the_page(own_server: Server) -> None:
    told = features.told()
    async with ours(own_server.url) as one, ours(own_server.url) as two:
        scene = Scene(one, two, own_server.client)
        for question in QUESTIONS:
            assert await question(scene) == told["answers"]["cacheclient"][question.__name__], question.__doc__


def test_every_cache_has_answered_every_question() -> None:
    told = features.told()
    assert list(told["questions"]) == [question.__name__ for question in QUESTIONS]
    for name, answers in told["answers"].items():
        assert answers.keys() == told["questions"].keys(), name
        assert all(answers.values())


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_a_question_on_the_page_is_the_one_that_is_asked(question: object) -> None:
    assert features.told()["questions"][question.__name__] == (question.__doc__ or "").rstrip(".")  # type: ignore[attr-defined]
