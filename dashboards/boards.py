"""The dashboards by their key in ``contract.DASHBOARD_UIDS``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from alerts.thresholds import Thresholds
from dashboards.hit_rate import hit_rate
from dashboards.latency import latency
from dashboards.redis_health import redis_health

BOARDS: Final[dict[str, Callable[[Thresholds], dict[str, Any]]]] = {
    "hit-rate": hit_rate,
    "latency": latency,
    "redis": redis_health,
}
_DEFAULTS: Final = Thresholds()


def build(thresholds: Thresholds = _DEFAULTS) -> dict[str, str]:
    """Return the JSON text of every dashboard by its file name, ``cache-1.json`` and so on.

    Compact, since a ConfigMap is limited to 1 MiB and ``kubectl apply`` stores it a second time in an annotation of at
    most 256 KiB; sorted, so that the same program always writes the same bytes.
    """
    boards = [board(thresholds) for board in BOARDS.values()]
    return {f"{board['uid']}.json": json.dumps(board, sort_keys=True, separators=(",", ":")) for board in boards}
