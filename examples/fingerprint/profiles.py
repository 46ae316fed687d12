"""Browser profiles drawn from the real world's statistics.

The package `apify-fingerprint-datapoints` ships a Bayesian network learned from real browsers' fingerprints: each node
is a property, with a probability for each value given the values of its parents. Drawing the nodes in order (ancestral
sampling) gives properties that occur together: an iPhone with a touch screen and an Apple graphics card.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import random
    from pathlib import Path

# What a service keeps to recognise a browser: about 1.4 KB of JSON; the L1 is specified for about 1 KB.
# The network knows more (plug-in lists alone are 1.9 KB and equal for most users).
FIELDS: Final = (
    "userAgent", "userAgentData", "platform", "vendor", "hardwareConcurrency", "deviceMemory", "maxTouchPoints",
    "doNotTrack", "screen", "videoCard", "audioCodecs", "videoCodecs", "fonts",
)  # fmt: skip
FIRST_VERSION: Final = 1
_MISSING: Final = "*MISSING_VALUE*"
_JSON: Final = "*STRINGIFIED*"


class Profile(msgspec.Struct, frozen=True):
    """One row of the database, and the value that is cached.

    ``digest`` binds body, user and version together, so that a reader can tell a value that is not this user's, or not
    the one that was written.
    """

    user: int
    version: int
    body: str
    digest: str


def digest(user: int, version: int, body: str) -> str:
    """Return the check value of a profile."""
    return hashlib.blake2b(f"{user}:{version}:{body}".encode(), digest_size=16).hexdigest()


class ProfileSampler:
    """Draws fingerprints from a network file."""

    def __init__(self, network: Path) -> None:
        """Read the network.

        Raises:
            ValueError: if the file is no fingerprint network, or one without the properties of ``FIELDS``.
        """
        try:
            with zipfile.ZipFile(network) as archive:
                nodes = {node["name"]: node for node in json.loads(archive.read("network.json"))["nodes"]}
        except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(f"{network}: not a fingerprint network (a zip with network.json): {error}") from error
        if missing := [name for name in FIELDS if name not in nodes]:
            raise ValueError(f"{network}: the network lacks {', '.join(missing)}")
        self._nodes: list[tuple[str, list[str], dict[str, Any]]] = [
            (name, nodes[name]["parentNames"], nodes[name]["conditionalProbabilities"]) for name in FIELDS
        ]
        self._choices: dict[tuple[str, ...], tuple[list[str], list[float]]] = {}

    def draw(self, rng: random.Random) -> str:
        """Return one fingerprint as compact JSON; properties that the browser does not have are left out."""
        drawn: dict[str, str] = {}
        for name, parents, table in self._nodes:
            values, weights = self._given(name, [drawn[parent] for parent in parents], table)
            drawn[name] = rng.choices(values, cum_weights=weights)[0]
        members = (f'"{name}":{_as_json(value)}' for name, value in drawn.items() if value != _MISSING)
        return "{" + ",".join(members) + "}"

    def _given(self, name: str, parents: list[str], table: dict[str, Any]) -> tuple[list[str], list[float]]:
        """Return values and cumulative weights of a node under its parents' values, computed once for each."""
        key = (name, *parents)
        if key not in self._choices:
            for value in parents:
                table = table["deeper"][value]
            self._choices[key] = list(table), list(accumulate(table.values()))
        return self._choices[key]


def _as_json(value: str) -> str:
    # The network marks values that are JSON already; the rest are plain strings.
    return value.removeprefix(_JSON) if value.startswith(_JSON) else json.dumps(value)
