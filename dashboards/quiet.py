"""Panels that show nothing on a healthy day, and why: what is not here has data whenever the cache is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

QUIET: Final[Mapping[str, str]] = {
    "Failovers": "an annotation: there was none",
    "Critical alerts": "an annotation: none fired",
    "Deploys": "an annotation: no new version appeared",
    "Invalidation bursts": "an annotation: there was none",
    "Latency spikes": "Redis keeps the last spike of each event, and there was none yet",
    "L2 hit rate at other sizes": "Redis has no memory limit, or L1 has missed too little yet",
    "Old values found over time": "the auditor compares only what it was told to sample",
}
