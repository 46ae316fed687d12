"""What to think of what the doctor has seen: a finding for each thing, with the fix where one is needed. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

from cacheclient.remote import Address
from cacheclient.rights import Need

Level = Literal["ok", "warning", "error"]
Vote = tuple[Address, Address | None]  # a Sentinel, and the master that it names

_OLDEST: Final = (6, 0)
_TRIED: Final = (6, 2)  # older ones are not tested
_FULL: Final = 0.9
_CLOCKS: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``found`` says how it is, ``fix`` what to do if that is not right."""

    check: str
    level: Level
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they matter."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can have it."""
        return {"ok": self.ok, "findings": [dataclasses.asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        """Return a line for each finding, and one for its fix."""
        width = max(len(finding.check) for finding in self.findings)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.level:8}{finding.check:{width}}  {finding.found}")
            if finding.fix:
                lines.append(f"{'':8}{'':{width}}  fix: {finding.fix}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """What one master says of itself.

    Attributes:
        address: where it is.
        info: its INFO.
        offset: seconds its clock is ahead of this machine's.
        round_trips: seconds that answers took.
        refused: what the user may not do there.
        marker: seconds the marker of the namespace lives, inf if for ever, None if there is none.
    """

    address: str
    info: dict[str, str]
    offset: float = 0.0
    round_trips: tuple[float, ...] = (0.0,)
    refused: tuple[Need, ...] = ()
    marker: float | None = None

    def number(self, name: str) -> int:
        """Return a whole number of the INFO, 0 if it is not there."""
        return int(self.info.get(name) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look at everything has shown.

    Attributes:
        redis: whether the cache has one at all (``memory://``).
        problem: why no master could be looked at.
        votes: each Sentinel and the master it names; None where there are none.
        masters: those that were looked at; one, without a cluster.
        listening: whether the tracking connection stands.
        gate_open: whether it has proved itself lately.
        storm: whether L1 is off because pushes come too fast.
        owed: invalidations that have not got through.
        timeout: ``l2.timeout``.
    """

    redis: bool = True
    problem: str = ""
    votes: tuple[Vote, ...] | None = None
    masters: tuple[Master, ...] = ()
    listening: bool = True
    gate_open: bool = True
    storm: bool = False
    owed: int = 0
    timeout: float = 0.05


def judge(seen: Seen) -> Report:
    """Return what to think of it."""
    if not seen.redis:
        return Report((Finding("topology", "ok", "memory://: this process alone, without Redis"),))
    judges = (_version, _replicas, _rights, _memory, _marker, _latency, _clock)
    found = [*_topology(seen), *(f for judge in judges for master in seen.masters for f in judge(master, seen))]
    return Report((*found, *_coherence(seen)))


def _topology(seen: Seen) -> Iterator[Finding]:
    if seen.votes is not None:
        yield from _sentinels(seen.votes)
    if seen.problem:
        yield Finding(
            "master", "error", seen.problem,
            "start Redis, or mend the way to it; meanwhile every read loads, and invalidations are kept and sent later",
        )  # fmt: skip
    elif seen.masters:
        yield Finding("master", "ok", ", ".join(master.address for master in seen.masters))


def _sentinels(votes: tuple[Vote, ...]) -> Iterator[Finding]:
    named = [master for _, master in votes if master is not None]
    top = max(set(named), key=named.count, default=None)
    most = 0 if top is None else named.count(top)
    silent = ", ".join(str(sentinel) for sentinel, master in votes if master is None)
    other = ", ".join(f"{sentinel} names {master}" for sentinel, master in votes if master not in (None, top))
    found = f"{most} of {len(votes)} name {top}" if top else f"none of {len(votes)} answers"
    found += f"; no answer: {silent}" * bool(silent) + f"; {other}" * bool(other)
    if 2 * most <= len(votes):
        fix = "start the Sentinels that do not answer: without most of them the cache uses neither Redis nor L1"
        yield Finding("sentinels", "error", found, fix)
    elif silent or other:
        yield Finding("sentinels", "warning", found, "start or mend those: one more lost, and there is no majority")
    elif len(votes) < 3:  # noqa: PLR2004  the least with which one may be lost
        yield Finding("sentinels", "warning", found, "run three, on three nodes: so few cannot lose any")
    else:
        yield Finding("sentinels", "ok", found)


def _version(master: Master, _: Seen) -> Iterator[Finding]:
    name = "Valkey" if "valkey_version" in master.info else "Redis"
    text = master.info.get("valkey_version") or master.info.get("redis_version", "")
    parts = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if parts < _OLDEST:
        yield Finding(
            "version", "error", f"{name} {text or '?'}", "upgrade to 6.2 or newer: RESP3 and tracking are needed"
        )
    elif parts < _TRIED:
        yield Finding("version", "warning", f"{name} {text}", "upgrade: nothing before 6.2 is tested")
    else:
        yield Finding("version", "ok", f"{name} {text}")


def _replicas(master: Master, seen: Seen) -> Iterator[Finding]:
    replicas = master.number("connected_slaves")
    if master.info.get("min_slaves_good_slaves") == "0":
        fix = "attach a replica, or lower min-replicas-to-write: the master refuses writes"
        yield Finding("replicas", "error", "too few in step: NOREPLICAS", fix)
    elif replicas == 0 and seen.votes is not None:
        fix = "attach one: until then nothing can take over, and durable invalidations are not acknowledged"
        yield Finding("replicas", "warning", f"{master.address} has none", fix)
    else:
        yield Finding("replicas", "ok", f"{replicas} of {master.address}")


def _rights(master: Master, _: Seen) -> Iterator[Finding]:
    for need in master.refused:
        level: Level = "error" if need.vital else "warning"
        yield Finding("rights", level, f"{need.name} is refused: {need.purpose}", f"ACL SETUSER: allow {need.name}")
    if not master.refused:
        yield Finding("rights", "ok", "every command, key and channel that the client uses")


def _memory(master: Master, _: Seen) -> Iterator[Finding]:
    limit, used = master.number("maxmemory"), master.number("used_memory")
    policy = master.info.get("maxmemory_policy", "?")
    found = f"maxmemory {limit / 2**20:.0f} MiB, {policy}"
    if not limit:
        fix = "set maxmemory to about three quarters of what the process may have, and volatile-lfu"
        yield Finding("memory", "warning", f"no maxmemory, {policy}: Redis grows until it is killed", fix)
    elif policy == "noeviction":
        yield Finding("memory", "warning", f"{found}: a full Redis refuses writes", "maxmemory-policy volatile-lfu")
    elif policy.startswith("allkeys"):
        fix = "maxmemory-policy volatile-lfu: without its marker, all of a namespace is gone"
        yield Finding("memory", "warning", f"{found}: may evict the marker of a namespace", fix)
    elif policy not in ("volatile-lfu", "volatile-lru"):
        fix = "maxmemory-policy volatile-lfu: this one evicts what is used as readily as what is not"
        yield Finding("memory", "warning", found, fix)
    elif used > _FULL * limit:
        yield Finding("memory", "warning", f"{found}, {used / limit:.0%} full", "raise maxmemory, or shorten lifetimes")
    else:
        yield Finding("memory", "ok", f"{found}, {used / limit:.0%} full")


def _marker(master: Master, _: Seen) -> Iterator[Finding]:
    if master.marker is not None and math.isfinite(master.marker):
        fix = "PERSIST it; pods of this release do so by themselves with their next write"
        yield Finding("marker", "warning", f"the namespace's own expires in {master.marker:.0f} s", fix)
    elif master.marker is not None:
        yield Finding("marker", "ok", "the namespace's own never expires")


def _latency(master: Master, seen: Seen) -> Iterator[Finding]:
    middle, worst = median(master.round_trips), max(master.round_trips)
    found = f"median {middle * 1000:.2f} ms, worst {worst * 1000:.2f} ms of {len(master.round_trips)}"
    if middle > seen.timeout / 2:
        fix = f"find what is slow (network, CPU limit, SLOWLOG), or raise l2.timeout ({seen.timeout:g} s)"
        yield Finding("latency", "warning", found, fix)
    else:
        yield Finding("latency", "ok", found)


def _clock(master: Master, _: Seen) -> Iterator[Finding]:
    found = (
        f"{master.address} is {abs(master.offset):.3f} s {'ahead of' if master.offset > 0 else 'behind'} this machine"
    )
    if abs(master.offset) > _CLOCKS:
        fix = "synchronise the clocks (NTP): reads go by the server's, but a new master's may differ"
        yield Finding("clock", "warning", found, fix)
    else:
        yield Finding("clock", "ok", found)


def _coherence(seen: Seen) -> Iterator[Finding]:
    if seen.storm:
        fix = "find who writes so much below this prefix, or raise sync.max_pushes"
        yield Finding("listener", "warning", "L1 is off: pushes come faster than sync.max_pushes", fix)
    elif not (seen.listening and seen.gate_open):
        fix = "see the other findings; the user needs CLIENT TRACKING, and the answers of TIME must be in time"
        yield Finding("listener", "warning", "L1 is bypassed: nothing proves that it misses no change", fix)
    else:
        yield Finding("listener", "ok", "the tracking connection proves L1 fresh")
    if seen.owed:
        found = f"{seen.owed} invalidations have not got through"
        yield Finding("journal", "warning", found, "none for these: they are sent until they do")
    else:
        yield Finding("journal", "ok", "no invalidation is owed")
