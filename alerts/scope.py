"""Where an expression is read: in a rule of one namespace, or in a panel behind dashboard variables.

An observable is written once as a function of a ``Scope``. The scope adds the label matchers to every selector and the
range to every ``rate``, so the same formula becomes a rule and a panel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cacheclient.contract import Job

# A rate needs two samples; a range of four scrapes survives missed ones (so does Grafana's $__rate_interval).
# Five minutes hold far more than that, and smooth what pages people.
RULE_WINDOW: Final = "5m"
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Label matchers for each kind of target, and the range of every rate."""

    redis_targets: str
    sentinel_targets: str
    client_targets: str
    process_targets: str
    recorded_series: str
    window: str

    @classmethod
    def of_namespace(cls, namespace: str) -> Scope:
        """Return the scope of rules that watch one Kubernetes namespace.

        Two stacks may share one Prometheus: without the namespace in every selector each would also judge the other.

        Raises:
            ValueError: if ``namespace`` is not a Kubernetes name (RFC 1123 label).
        """
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"namespace {namespace!r}: at most 63 lower-case letters, digits and inner hyphens")
        within = f'namespace="{namespace}"'
        return cls(
            redis_targets=f'job="{Job.REDIS}",{within}',
            sentinel_targets=f'job="{Job.SENTINEL}",{within}',
            client_targets=f'job="{Job.API}",{within}',
            process_targets=f'job="{Job.API}",{within}',
            recorded_series=within,
            window=RULE_WINDOW,
        )

    def redis(self, metric: str, *matchers: str) -> str:
        """Return the selector of ``metric`` on the Redis servers."""
        return _selector(metric, self.redis_targets, *matchers)

    def sentinel(self, metric: str, *matchers: str) -> str:
        """Return the selector of ``metric`` on the Sentinels."""
        return _selector(metric, self.sentinel_targets, *matchers)

    def client(self, metric: str, *matchers: str) -> str:
        """Return the selector of ``metric`` on the processes that use the cache client."""
        return _selector(metric, self.client_targets, *matchers)

    def process(self, metric: str) -> str:
        """Return the selector of a metric of those processes themselves, which belongs to no cache."""
        return _selector(metric, self.process_targets)

    def recorded(self, record: str, *matchers: str) -> str:
        """Return the selector of a series that a recording rule wrote; the job is no longer a label of it."""
        return _selector(record, self.recorded_series, *matchers)

    def rate(self, selector: str) -> str:
        """Return the per-second rate of a counter over this scope's window."""
        return f"rate({selector}[{self.window}])"


def _selector(metric: str, *matchers: str) -> str:
    return f"{metric}{{{','.join(matchers)}}}"
