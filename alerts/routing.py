"""What Alertmanager should know of these alerts: who is told, and which alert silences which.

An inhibition says that one alert explains another: while the first fires, the second tells nobody anything new. What
users feel (the objectives) is never silenced by a cause.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from alerts.model import Severity

# The cause, and what follows from it in the same namespace.
EXPLAINS: Final[dict[str, tuple[str, ...]]] = {
    "RedisMasterMissing": (
        "RedisReplicaLinkDown",
        "RedisReplicationLagHigh",
        "RedisFailoverStuck",
        "CacheL2Unreachable",
    ),
    "RedisSentinelQuorumLost": ("RedisSentinelDown", "RedisSentinelQuorumAtRisk"),
    "RedisNoReplicas": ("RedisReplicasMissing", "RedisWriteRefused", "RedisWritesFailing"),
    "RedisMetricsAbsent": ("RedisDown", "RedisTargetsMissing"),
    "RedisSentinelMetricsAbsent": ("RedisSentinelDown", "RedisSentinelQuorumAtRisk"),
    "CacheMetricsAbsent": ("CacheTargetDown",),
    "CacheL2Unreachable": ("CacheListenerDisconnected", "CacheErrorsHigh"),
    "CacheHitRateLow": ("CacheHitRateBelowTarget", "CacheL1HitRateBelowTarget", "CacheL2HitRateBelowTarget"),
    "CacheLatencyBudgetBurnsFast": ("CacheLatencyBudgetBurnsSlowly", "CacheLookupP95High"),
    "CacheErrorBudgetBurnsFast": ("CacheErrorBudgetBurnsSlowly", "CacheLoaderFailing"),
}
_RECEIVERS: Final = {Severity.CRITICAL: "page", Severity.WARNING: "chat", Severity.INFO: "log"}


def alertmanager_yaml(webhooks: dict[str, str]) -> str:
    """Return an Alertmanager configuration for these alerts.

    Args:
        webhooks: the URL of each receiver: ``page`` (critical), ``chat`` (warning), ``log`` (info).

    Raises:
        ValueError: if a receiver is missing or unknown.
    """
    if set(webhooks) != set(_RECEIVERS.values()):
        raise ValueError(f"receivers {sorted(webhooks)}: exactly {', '.join(_RECEIVERS.values())} are needed")
    config: dict[str, Any] = {
        "route": {
            "receiver": "log",
            "group_by": ["namespace", "alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": [
                {"receiver": receiver, "matchers": [f'severity="{severity}"']}
                for severity, receiver in _RECEIVERS.items()
            ],
        },
        "inhibit_rules": [_inhibition(cause, effects) for cause, effects in EXPLAINS.items()],
        "receivers": [{"name": name, "webhook_configs": [{"url": url}]} for name, url in webhooks.items()],
    }
    return yaml.safe_dump(config, sort_keys=False, width=1000)


def _inhibition(cause: str, effects: tuple[str, ...]) -> dict[str, Any]:
    return {
        "source_matchers": [f'alertname="{cause}"'],
        "target_matchers": [f'alertname=~"{"|".join(effects)}"'],
        "equal": ["namespace"],
    }
