"""The stacks of the repository, each rendered once per test run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from infra import stack_files
from infra.render import Rendered, render

STACKS = sorted(path.suffixes[0][1:] for path in stack_files.ROOT.glob("Pulumi.*.yaml"))


@pytest.fixture(scope="session")
def render_once() -> Callable[[str], Rendered]:
    """Render a stack as its file says; the second time it costs nothing."""
    return functools.cache(render)


@pytest.fixture(params=STACKS)
def rendered(request: pytest.FixtureRequest, render_once: Callable[[str], Rendered]) -> Rendered:
    """Each stack in turn."""
    return render_once(request.param)


@pytest.fixture
def manifests(rendered: Rendered) -> list[dict[str, Any]]:
    """The objects of each stack in turn."""
    return list(rendered.manifests.values())
