"""When series end, so that a rule over them says nothing any more: what the alerts are held against."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from cacheclient.contract.exporter import Exporter
from cacheclient.contract.metrics import HIT_RATE, HIT_RATE_AT_SIZE, WORKING_SET


class Loss(StrEnum):
    """Why a series is not there."""

    UNLISTED = "Prometheus does not know the target (any more)"
    UNSCRAPED = "the process that exports it does not answer Prometheus"
    UNANSWERED = "the server does not answer its exporter"
    ROLE = "the server is not, or no longer, master or replica"
    PEER = "the replica's connection to its master has ended"
    UNBORN = "it begins with the first event of its kind"
    FILTERED = "a comparison inside the rule lets nothing through"


_TARGET: Final = frozenset({Loss.UNLISTED, Loss.UNSCRAPED})
_SERVER: Final = _TARGET | {Loss.UNANSWERED}
_SERIES: Final[Mapping[str, frozenset[Loss]]] = {
    "up": frozenset({Loss.UNLISTED}),
    Exporter.UP: _TARGET,
    Exporter.MASTER_LINK_UP: _SERVER | {Loss.ROLE},
    Exporter.REPLICA_LAG_SECONDS: _SERVER | {Loss.ROLE, Loss.PEER},
    Exporter.REPLICA_OFFSET: _SERVER | {Loss.ROLE, Loss.PEER},
    Exporter.ERRORS: _SERVER | {Loss.UNBORN},
    Exporter.SPIKE_TIME: _SERVER | {Loss.UNBORN},
    Exporter.SPIKE_SECONDS: _SERVER | {Loss.UNBORN},
    Exporter.KEY_VALUE: _SERVER | {Loss.UNBORN},
    HIT_RATE.name: _TARGET | {Loss.UNBORN},
    HIT_RATE_AT_SIZE.name: _TARGET | {Loss.UNBORN},
    WORKING_SET.name: _TARGET | {Loss.UNBORN},
}
# Labels whose value says what a server is now: a selector that names one loses the series with the role.
_LABELS: Final[Mapping[tuple[str, str], Loss]] = {(Exporter.INSTANCE_INFO, "role"): Loss.ROLE}


def losses(metric: str, matched: frozenset[str] = frozenset()) -> frozenset[Loss]:
    """Return in which ways the series of ``metric`` end, when the labels ``matched`` are selected by value.

    What a client exports lives as long as its process; what redis_exporter reads from a server, while that answers.
    """
    known = _SERIES.get(metric, _SERVER if metric in set(Exporter) else _TARGET)
    return known | {loss for (name, label), loss in _LABELS.items() if name == metric and label in matched}
