"""Stacks under the real engine, each brought up once per module; every test starts from what is up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.engine.session import Session, session


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip where there is no engine."""
    if shutil.which("pulumi") is None:
        pytest.skip("no pulumi on PATH: the program is not driven by the real engine")


@pytest.fixture(scope="module")
def open_session(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Session]]:  # noqa: ARG001  it may skip
    """Return a function that sets a stack up under the engine, with nothing created yet."""
    with ExitStack() as opened:
        yield lambda stack: opened.enter_context(session(stack, tmp_path_factory.mktemp(stack)))


@pytest.fixture(scope="module")
def brought_up(open_session: Callable[[str], Session]) -> Callable[[str], Session]:
    """Return a function that gives a stack that is up; the second time it costs nothing."""
    up: dict[str, Session] = {}

    def get(stack: str) -> Session:
        if stack not in up:
            up[stack] = open_session(stack)
            up[stack].up()
        return up[stack]

    return get


@pytest.fixture
def dev(brought_up: Callable[[str], Session]) -> Iterator[Session]:
    """The stack dev, up; its file and program are put back afterwards."""
    yield from _restored(brought_up("dev"))


@pytest.fixture
def prod(brought_up: Callable[[str], Session]) -> Iterator[Session]:
    """The stack prod, up; its file and program are put back afterwards."""
    yield from _restored(brought_up("prod"))


def _restored(found: Session) -> Iterator[Session]:
    text, program = found.file.read_text(encoding="utf-8"), found.program
    found.provider.forget()
    yield found
    found.program = program
    if found.file.read_text(encoding="utf-8") != text:
        found.file.write_text(text, encoding="utf-8")
        found.up()
