"""The hit rate of an application's pods, as their ``/cache/stats`` count it, over the last so many lookups.

A pod counts from its start, so what it missed while it was cold would be held against it for long. Therefore a window
is judged: the lookups between two looks, as soon as they are enough.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl
from infra.settings_schema import Application

POLL: Final = 1.0


class TooFewHitsError(JobError):
    """The application was asked enough to judge, and its hit rate was too low: ``seen`` is what was measured."""

    def __init__(self, said: str, seen: Counted) -> None:
        super().__init__(said)
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Counted:
    """Lookups, and how many of them were found in L1 or L2."""

    lookups: int = 0
    hits: int = 0

    @property
    def rate(self) -> float:
        """The share of hits, 0 without lookups."""
        return self.hits / self.lookups if self.lookups else 0.0


def counted(document: str) -> Counted:
    """Return what an answer of ``/cache/stats`` counts.

    Raises:
        ValueError: if it is no such answer.
    """
    try:
        combined = json.loads(document)["combined"]
        lookups, rate = int(combined["lookups"]), float(combined["hit_rate"] or 0.0)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"no answer of /cache/stats: {document[:60]!r}") from error
    return Counted(lookups, round(lookups * rate))


def between(earlier: Mapping[str, Counted], later: Mapping[str, Counted]) -> Counted:
    """Return what the pods counted from one look to another; one that began anew since then counts from its start."""
    pairs = [(earlier.get(pod, Counted()), now) for pod, now in later.items()]
    pairs = [(before if now.lookups >= before.lookups else Counted(), now) for before, now in pairs]
    return Counted(
        sum(now.lookups - before.lookups for before, now in pairs), sum(now.hits - before.hits for before, now in pairs)
    )


def await_rate(kubectl: Kubectl, application: Application, seconds: float, say: Callable[[str], None]) -> Counted:
    """Wait until a window of lookups has the hit rate that the stack file asks for, and return it.

    Raises:
        TooFewHitsError: if what was measured last within ``seconds`` is below that.
        JobError: if nobody asked enough to judge, or if no pod tells.
    """
    end = time.monotonic() + seconds
    first, last = look(kubectl, application), Counted()
    while True:
        time.sleep(POLL)
        now = look(kubectl, application)
        window = between(first, now)
        if window.lookups >= application.min_lookups:
            if window.rate >= application.hit_rate:
                return window
            say(f"{window.rate:.1%} of the last {window.lookups:,} lookups; {application.hit_rate:.0%} are wanted")
            first, last = now, window
        if time.monotonic() > end:
            raise _why(application, last, window, seconds)


def _why(application: Application, last: Counted, window: Counted, seconds: float) -> JobError:
    if last.lookups:
        told = f"the hit rate was {last.rate:.1%} of the last {last.lookups:,} lookups"
        return TooFewHitsError(f"{told}; {application.hit_rate:.0%} are wanted (application.hitRate)", last)
    least = f"{application.min_lookups:,} are needed to judge (application.minLookups)"
    return JobError(f"only {window.lookups:,} lookups were made in {seconds:g} s; {least}")


def look(kubectl: Kubectl, application: Application) -> dict[str, Counted]:
    """Return what each ready pod of the application has counted since its start.

    Raises:
        JobError: if none of them tells.
    """
    deployment = kubectl.get("deployment", application.deployment)
    found, faults = {}, []
    for pod in kubectl.pods_of(deployment, "--field-selector", "status.phase=Running"):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        name = pod["metadata"]["name"]
        try:
            found[name] = counted(kubectl.run("get", "--raw", _path(kubectl, name, application.port)))
        except (JobError, ValueError) as error:
            faults.append(f"{name}: {error}")
    if not found:
        raise JobError(
            f"no pod of {application.deployment} tells its hit rate on port {application.port} (application.port; "
            f"the API of cacheclient has to be mounted): {'; '.join(faults) or 'none is running'}"
        )
    return found


def _path(kubectl: Kubectl, pod: str, port: int) -> str:
    """Return where the API server passes on what is asked of a pod: no way into the cluster's network is needed."""
    return f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:{port}/proxy/cache/stats"


def as_data(seen: Counted) -> dict[str, Any]:
    """Return a measurement for scripts."""
    return {"hit_rate": round(seen.rate, 4), "lookups": seen.lookups}
