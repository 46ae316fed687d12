"""The comparison: what docs/features.json says of our own cache is what the questions find."""

from __future__ import annotations

import pytest

from bench.features.candidate import ours
from bench.features.questions import QUESTIONS, Scene, holds_pickle
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


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"\x80\x04\x8c\x03old\x94.", True),  # pickle.dumps("old", 4), without its frame
        (b"sign:\x80\x02X\x03\x00\x00\x00oldq\x00.", True),  # with something before it
        (b"\x00\x80\x11\x80\x04\xa3old", False),  # the same bytes by chance, in a header
        (b"old", False),
    ],
)
def test_a_pickle_is_known_by_all_of_it(stored: bytes, *, expected: bool) -> None:
    assert holds_pickle(stored) is expected


@pytest.mark.parametrize(
    ("release", "refused"),
    [("Redis 7.0.15", True), ("Redis 7.4.0", False), ("Redis 8.2.3", False), ("Valkey 9.1.2", True)],
)
def test_a_cache_is_left_out_where_it_refuses_the_server(release: str, *, refused: bool) -> None:
    needs = pytest.importorskip("bench.features.__main__", reason="needs the peers: make bench installs them")
    assert needs.refuses("redis, client-side", release) is refused
    assert not needs.refuses("cacheclient", release)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_a_question_on_the_page_is_the_one_that_is_asked(question: object) -> None:
    assert features.told()["questions"][question.__name__] == (question.__doc__ or "").rstrip(".")  # type: ignore[attr-defined]
