"""The image is built from bases that cannot move, and brings the Redis programs of the version that the set runs."""

from __future__ import annotations

import re
from pathlib import Path

from infra.settings_pods import REDIS_IMAGE

DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
ARGUMENTS = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))


def test_every_base_is_an_argument_that_names_a_release_and_its_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases == ["${REDIS}", "${PYTHON}", "${PYTHON}"]
    for base in set(bases):
        image = ARGUMENTS[base.strip("${}")]
        assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+@sha256:[0-9a-f]{64}", image), image


def test_snapshots_are_checked_by_the_redis_that_wrote_them() -> None:
    assert ARGUMENTS["REDIS"] == REDIS_IMAGE
