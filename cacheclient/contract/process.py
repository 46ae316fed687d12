"""The metrics that prometheus_client exports of a process itself."""

from __future__ import annotations

from enum import StrEnum


class Process(StrEnum):
    """Metrics of the process, as prometheus_client's ProcessCollector names them, that panels read."""

    CPU_SECONDS = "process_cpu_seconds_total"
    RESIDENT_BYTES = "process_resident_memory_bytes"
    START_TIME = "process_start_time_seconds"
