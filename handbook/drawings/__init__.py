"""The drawings of the documentation, from the code's own data: ``make reference`` writes them to docs/diagrams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from handbook.drawings import failover, reads, states, topology

DRAWINGS: Final[Mapping[str, Callable[[], str]]] = {
    "failover.svg": failover.draw,
    "reads.svg": reads.draw,
    "states.svg": states.draw,
    "topology.svg": topology.draw,
}
