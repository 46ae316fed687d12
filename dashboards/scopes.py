"""Which targets the queries of a dashboard read: what the variables at its top leave in view."""

from __future__ import annotations

from typing import Final

from alerts.scope import Scope
from cacheclient.contract import Job

_NAMESPACE = 'namespace=~"$namespace"'
_REDIS = f'job="{Job.REDIS}",{_NAMESPACE}'
_SENTINEL = f'job="{Job.SENTINEL}",{_NAMESPACE}'
_WINDOW = "$__rate_interval"

# The variables pick processes that use the client, whatever their job; the servers behind them are shown whole.
CLIENTS: Final = Scope(
    redis_targets=_REDIS,
    sentinel_targets=_SENTINEL,
    client_targets=f'job=~"$job",{_NAMESPACE},instance=~"$instance",cache=~"$cache"',
    process_targets=f'job=~"$job",{_NAMESPACE},instance=~"$instance"',
    recorded_series=_NAMESPACE,
    window=_WINDOW,
)
# The variables pick Redis servers; their Sentinels and their clients are shown whole.
SERVERS: Final = Scope(
    redis_targets=f'{_REDIS},instance=~"$instance"',
    sentinel_targets=_SENTINEL,
    client_targets=_NAMESPACE,
    process_targets=_NAMESPACE,
    recorded_series=_NAMESPACE,
    window=_WINDOW,
)
# Annotations are events of the whole namespace, and Grafana does not expand $__rate_interval in their queries.
EVENTS: Final = Scope(
    redis_targets=_REDIS,
    sentinel_targets=_SENTINEL,
    client_targets=_NAMESPACE,
    process_targets=_NAMESPACE,
    recorded_series=_NAMESPACE,
    window="5m",
)
