"""The dashboards by their key in ``contract.DASHBOARD_UIDS``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from alerts.rules import ALERTS, Links
from alerts.thresholds import Thresholds
from cacheclient.savings import Prices
from dashboards.cost import cost
from dashboards.hit_rate import hit_rate
from dashboards.invalidation import invalidation
from dashboards.latency import latency
from dashboards.redis_health import redis_health
from dashboards.service_time import service_time

BOARDS: Final[dict[str, Callable[[Thresholds], dict[str, Any]]]] = {
    "hit-rate": hit_rate,
    "latency": latency,
    "redis": redis_health,
    "invalidation": invalidation,
    "pods": service_time,
    "cost": cost,
}
_DEFAULTS: Final = Thresholds()
_PRICES: Final = Prices()
_NO_LINKS: Final = Links()
_ALERT = re.compile(rf"\b({'|'.join(alert.name for alert in ALERTS)})\b")


def boards_at(prices: Prices) -> dict[str, Callable[[Thresholds], dict[str, Any]]]:
    """Return ``BOARDS`` with these prices on the board of costs."""
    return {**BOARDS, "cost": partial(cost, prices=prices)}


def build(thresholds: Thresholds = _DEFAULTS, links: Links = _NO_LINKS, prices: Prices = _PRICES) -> dict[str, str]:
    """Return the JSON text of every dashboard by its file name, ``cache-1.json`` and so on.

    Compact, since a ConfigMap is limited to 1 MiB and ``kubectl apply`` stores it a second time in an annotation of at
    most 256 KiB; sorted, so that the same program always writes the same bytes.
    """
    boards = [board(thresholds) for board in boards_at(prices).values()]
    for board in boards:
        _link_runbooks(board["panels"], links)
    return {f"{board['uid']}.json": json.dumps(board, sort_keys=True, separators=(",", ":")) for board in boards}


def _link_runbooks(panels: list[dict[str, Any]], links: Links) -> None:
    """Turn each alert that a description names into a link to its runbook, if that has a URL that Grafana can open."""
    if not links.runbooks.startswith(("http://", "https://")):
        return
    for panel in panels:
        _link_runbooks(panel.get("panels", []), links)
        if "description" in panel:
            panel["description"] = _ALERT.sub(lambda m: f"[{m[1]}]({links.runbook(m[1])})", panel["description"])
