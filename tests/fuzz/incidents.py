"""What goes wrong, and when: an endless sequence of incidents that follows from the seed alone. Pure.

One incident takes one Redis node away at most, besides Sentinels, workers and paths: that is what the set promises to
survive. Targets are roles, because who is master when an incident begins depends on what came before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is done to a target, and undone when the fault ends."""

    KILL = "kill"  # SIGKILL; then started again
    STOP = "stop"  # as a cluster does: stop hook, SIGTERM; then started again
    FREEZE = "freeze"  # SIGSTOP; then SIGCONT
    CUT = "cut"  # nothing passes between two sides; then it does again
    SLOW = "slow"  # everything between two sides arrives late


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``after`` seconds into its incident it begins, ``seconds`` later it is undone.

    ``target`` is a role: master, replica-0, replica-1, sentinel-N, worker-N. Of a cut or slow network it is one side,
    roles joined by +, and ``other`` is the other side.
    """

    kind: Kind
    target: str
    after: float
    seconds: float
    other: str = ""

    def __str__(self) -> str:
        other = f" | {self.other}" if self.other else ""
        return f"{self.kind} {self.target}{other} {self.after:.2f}+{self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Incident:
    """Faults that overlap. ``rest`` is how long all is well before it, in seconds."""

    name: str
    faults: tuple[Fault, ...]
    rest: float

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(map(str, self.faults))}"


SENTINELS: Final = ("sentinel-0", "sentinel-1", "sentinel-2")
REDIS: Final = ("master", "replica-0", "replica-1")
REPLICAS: Final = "replica-0+replica-1"

Faults = tuple[Fault, ...]


def _workers(count: int) -> list[str]:
    return [f"worker-{number}" for number in range(count)]


def _crash(draw: random.Random, workers: int) -> Faults:  # noqa: ARG001  all recipes are called alike
    return (Fault(Kind.KILL, "master", draw.uniform(0, 0.3), draw.uniform(6, 9)),)


def _lagging_crash(draw: random.Random, workers: int) -> Faults:  # noqa: ARG001
    """The master dies while no replica hears of it: what it acknowledged meanwhile is lost."""
    lag = draw.uniform(0.2, 1.8)
    return (
        Fault(Kind.CUT, "master", 0.0, lag + 6, REPLICAS),
        Fault(Kind.KILL, "master", lag, draw.uniform(6, 9)),
    )


def _short_hang(draw: random.Random, workers: int) -> Faults:  # noqa: ARG001
    return (Fault(Kind.FREEZE, "master", draw.uniform(0, 0.3), draw.uniform(0.1, 0.9)),)


def _long_hang(draw: random.Random, workers: int) -> Faults:  # noqa: ARG001
    """The master hangs until another has taken over, then goes on and believes itself master for some seconds."""
    return (Fault(Kind.FREEZE, "master", draw.uniform(0, 0.3), draw.uniform(7, 11)),)


def _machine_hang(draw: random.Random, workers: int) -> Faults:
    """A machine hangs on which the master and a worker live: both wake with open connections to each other."""
    after, seconds = draw.uniform(0, 0.3), draw.uniform(7, 10)
    return (
        Fault(Kind.FREEZE, "master", after, seconds),
        Fault(Kind.FREEZE, draw.choice(_workers(workers)), after, seconds + draw.uniform(-0.1, 0.3)),
    )


def _split(draw: random.Random, workers: int) -> Faults:
    """The network falls in two: the master with a worker and perhaps a Sentinel, and the majority, which goes on."""
    alone = draw.choice(_workers(workers))
    few = ["master", alone] + [draw.choice(SENTINELS)] * draw.randrange(2)
    most = [name for name in (*REDIS, *SENTINELS, *_workers(workers)) if name not in few]
    return (Fault(Kind.CUT, "+".join(few), draw.uniform(0, 0.3), draw.uniform(7, 12), "+".join(most)),)


def _split_replicas(draw: random.Random, workers: int) -> Faults:
    """The network falls in two, and a replica is left with the master: what both have, the next master may lack."""
    alone = draw.choice(_workers(workers))
    near, far = draw.sample(("replica-0", "replica-1"), 2)
    most = [far, *SENTINELS, *(name for name in _workers(workers) if name != alone)]
    cut = f"master+{near}+{alone}"
    return (Fault(Kind.CUT, cut, draw.uniform(0, 0.3), draw.uniform(7, 12), "+".join(most)),)


def _isolated_master(draw: random.Random, workers: int) -> Faults:
    """Nobody but the workers reaches the master; some of them do not reach the Sentinels, who name another."""
    seconds = draw.uniform(7, 12)
    uninformed = "+".join(draw.sample(_workers(workers), draw.randrange(1, workers)))
    return (
        Fault(Kind.CUT, "master", 0.1, seconds, f"{REPLICAS}+{'+'.join(SENTINELS)}"),
        Fault(Kind.CUT, uninformed, 0.0, seconds + draw.uniform(-1, 2), "+".join(SENTINELS)),
    )


def _deposed_sentinel(draw: random.Random, workers: int) -> Faults:
    """One Sentinel misses the change of master, and is the only one that a worker can ask."""
    seconds = draw.uniform(9, 12)
    ill, *well = draw.sample(SENTINELS, 3)
    return (
        Fault(Kind.CUT, ill, 0.0, seconds + 3, "+".join((*REDIS, *well))),
        Fault(Kind.FREEZE, "master", 0.2, seconds - 2),
        Fault(Kind.CUT, draw.choice(_workers(workers)), 0.1, seconds + 2, "+".join(well)),
    )


def _handover(draw: random.Random, workers: int) -> Faults:  # noqa: ARG001
    return (Fault(Kind.STOP, "master", draw.uniform(0, 0.3), draw.uniform(0.5, 2)),)


def _replica_loss(draw: random.Random, workers: int) -> Faults:  # noqa: ARG001
    kind = draw.choice((Kind.KILL, Kind.FREEZE, Kind.STOP, Kind.CUT))
    other = "+".join(("master", *SENTINELS)) if kind is Kind.CUT else ""
    return (Fault(kind, f"replica-{draw.randrange(2)}", draw.uniform(0, 0.3), draw.uniform(0.3, 4), other),)


def _client_faults(draw: random.Random, workers: int) -> Faults:
    """Only clients suffer."""
    return (_client_fault(draw, workers), _client_fault(draw, workers))


RECIPES: Final[dict[str, tuple[float, Callable[[random.Random, int], Faults]]]] = {
    "crash": (2, _crash),
    "lagging-crash": (2, _lagging_crash),
    "short-hang": (1, _short_hang),
    "long-hang": (2, _long_hang),
    "machine-hang": (2, _machine_hang),
    "split": (3, _split),
    "split-replicas": (2, _split_replicas),
    "isolated-master": (3, _isolated_master),
    "deposed-sentinel": (2, _deposed_sentinel),
    "handover": (2, _handover),
    "replica-loss": (1, _replica_loss),
    "client-faults": (2, _client_faults),
}
"""Kinds of incidents by name, each with its weight."""


def incidents(seed: str, workers: int, only: str | None = None) -> Iterator[Incident]:
    """Draw incidents for ever: the same seed, number of workers and ``only`` (a name in RECIPES) give the same ones."""
    draw = random.Random(seed)  # noqa: S311  a schedule, not a secret
    names = [only] if only else list(RECIPES)
    weights = [RECIPES[name][0] for name in names]
    while True:
        (name,) = draw.choices(names, weights)
        faults = list(RECIPES[name][1](draw, workers))
        for chance, added in ((0.25, _sentinel_fault(draw)), (0.4, _client_fault(draw, workers))):
            if draw.random() < chance and not any(added.target in fault.target for fault in faults):
                faults.append(added)
        yield Incident(name, tuple(faults), draw.uniform(1.2, 2.5))


def _sentinel_fault(draw: random.Random) -> Fault:
    kind = draw.choice((Kind.KILL, Kind.FREEZE))
    return Fault(kind, draw.choice(SENTINELS), draw.uniform(0, 1), draw.uniform(0.5, 5))


def _client_fault(draw: random.Random, workers: int) -> Fault:
    kind, target = draw.choice((Kind.FREEZE, Kind.CUT, Kind.SLOW)), draw.choice(_workers(workers))
    parts = (("master",), REDIS, SENTINELS, SENTINELS[1:], (*REDIS, *SENTINELS))
    other = "" if kind is Kind.FREEZE else "+".join(draw.choice(parts))
    return Fault(kind, target, draw.uniform(0, 3), draw.uniform(0.2, 4), other)
