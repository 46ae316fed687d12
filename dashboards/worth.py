"""What the caches are worth, as queries of Prometheus: ``cacheclient.savings`` written in PromQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts import signals
from cacheclient.contract import COALESCED, HITS, LOADER_SECONDS, SIZE_BYTES, STALE_SERVED, Exporter, Tier
from cacheclient.savings import NAMES, Savings, Tariff, Use, savings
from dashboards.arithmetic import Expression
from dashboards.scopes import CLIENTS

if TYPE_CHECKING:
    from cacheclient.contract import Metric

_SCOPE: Final = CLIENTS
OFFLINE: Final = 'reason="offline"'  # what L1 answers while Redis is away is counted as no hit


def rate(metric: Metric, *matchers: str, by: str = "") -> str:
    """Return the rate of a counter, summed over everything that ``by`` does not name."""
    return f"sum{f' by ({by})' * bool(by)} ({_SCOPE.rate(_SCOPE.client(metric.name, *matchers))})"


def mean_load(by: str = "") -> str:
    """Return the seconds that a load takes, on average."""
    grouped = f" by ({by})" * bool(by)
    total, count = (_SCOPE.rate(_SCOPE.client(f"{LOADER_SECONDS.name}_{part}")) for part in ("sum", "count"))
    return f"sum{grouped} ({total}) / (sum{grouped} ({count}) > 0)"


def worth(by: str = "") -> Savings[Expression]:
    """Return what the caches are worth, per second, as queries; prices are the board's variables."""
    hits = rate(HITS, signals.tier(Tier.L1), by=by)
    l1_bytes = f"sum{f' by ({by})' * bool(by)} ({_SCOPE.client(SIZE_BYTES.name, signals.tier(Tier.L1))})"
    return savings(
        Use(
            l1_hits=Expression(hits),
            l2_hits=Expression(rate(HITS, signals.tier(Tier.L2), by=by)),
            joined=Expression(rate(COALESCED, by=by)),
            offline=Expression(rate(STALE_SERVED, OFFLINE, by=by)),
            mean_load=Expression(f"({mean_load(by)} or {hits} * 0)"),  # nothing was loaded: nothing is known of loads
            redis_bytes=Expression(f"sum({_SCOPE.redis(Exporter.MEMORY_USED)})"),
            l1_bytes=Expression(f"({l1_bytes} or vector(0))"),  # other processes may be chosen than there are
        ),
        Tariff(**{name: Expression(f"$price_{name}") for name in NAMES}),
    )
