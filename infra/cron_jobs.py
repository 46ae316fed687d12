"""What the CronJobs have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pulumi_kubernetes.batch.v1 import CronJobSpecArgsDict
    from pulumi_kubernetes.core.v1 import PodSpecArgsDict

# A Job that could not start for half an hour is given up: the next backup is near, and what a warm-up would bring is
# being loaded by then.
STARTING_DEADLINE: Final = 1800
RETRIES: Final = 2
HISTORY: Final = 3  # ended Jobs that stay, to be looked at


def cron_job_spec(
    labels: Mapping[str, str], schedule: str, active_deadline: int, pod: PodSpecArgsDict
) -> CronJobSpecArgsDict:
    """Return a CronJob in UTC that never runs twice at once; a run is ended after ``active_deadline`` seconds."""
    return {
        "schedule": schedule,
        "time_zone": "Etc/UTC",
        "concurrency_policy": "Forbid",
        "starting_deadline_seconds": STARTING_DEADLINE,
        "successful_jobs_history_limit": HISTORY,
        "failed_jobs_history_limit": HISTORY,
        "suspend": False,
        "job_template": {
            "metadata": {"labels": labels},
            "spec": {
                "backoff_limit": RETRIES,
                "active_deadline_seconds": active_deadline,
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    }
