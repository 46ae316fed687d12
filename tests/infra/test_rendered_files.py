"""The rendered stacks as files, so that every change of a manifest is seen in review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra import render

if TYPE_CHECKING:
    from infra.render import Rendered

FOLDER = Path(__file__).parent.parent / "rendered"


def test_the_reviewed_files_are_what_the_stack_renders_to(rendered: Rendered) -> None:
    found = render.differences(rendered, FOLDER / rendered.stack)
    update = f"python -m infra.render {rendered.stack} --out tests/rendered/{rendered.stack}"
    assert not found, f"review the difference after:\n  {update}"


def test_there_are_files_for_every_stack_and_no_other(rendered: Rendered) -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert rendered.stack in folders
    assert folders == {path.suffixes[0][1:] for path in FOLDER.parent.parent.glob("Pulumi.*.yaml")}
