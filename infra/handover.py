"""A planned failover: the master hands over to a replica that has everything, and no acknowledged write is lost.

The work is done by the stop hook of the master's own pod (``redis-stop.sh``), which does the same before every rollout;
here it is decided whether it can succeed, and said what it did. Pure, except for ``run``, which is told how to reach a
set (``Target``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

_ASK: Final = """\
. "$0/ask.sh" && echo "self $CACHE_SELF" && echo "named $(poll_sentinels)"
for sentinel in $CACHE_SENTINEL_HOSTS; do
  echo "quorum $sentinel $(ask_sentinel "$sentinel" SENTINEL CKQUORUM "$CACHE_SET")"
done
info_of "$LOCAL_ADDRESS"
"""
_NAMED: Final = "majority "


class HandoverError(Exception):
    """The master has not handed over; writes are allowed again."""


class Target(Protocol):
    """A set whose master can hand over."""

    def nodes(self) -> Sequence[str]:
        """Return the names of its Redis nodes."""

    def shell(self, node: str, script: str) -> str:
        """Run ``script`` as the node's own run (``$0``: their directory); return what it prints, empty if it fails."""

    def stop_hook(self, node: str) -> str:
        """Run the node's stop hook and return what it logged; raise HandoverError if it failed."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one node says: its host, whom the Sentinels name, what each thinks of the quorum, its INFO."""

    host: str = ""
    named: str = ""
    quorum: Mapping[str, str] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, said: str) -> Look:
        """Read what ``_ASK`` printed."""
        lines = [line.strip() for line in said.splitlines()]
        words = [line.split(" ", 2) for line in lines if line.startswith("quorum ")]
        return cls(
            host=next((line[5:] for line in lines if line.startswith("self ")), ""),
            named=next((line[6:] for line in lines if line.startswith("named ")), ""),
            quorum={word[1]: word[2] if len(word) > 2 else "" for word in words},  # noqa: PLR2004  an answer
            info=dict(line.split(":", 1) for line in lines if ":" in line and " " not in line.partition(":")[0]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Who would hand over to whom: replicas by node, with the bytes they are behind; and what is against it."""

    master: str
    replicas: Mapping[str, int]
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return it as people read it."""
        behind = [
            f"{name} ({f'{count:,} bytes behind' if count else 'has everything'})"
            for name, count in self.replicas.items()
        ]
        return [
            f"master    {self.master or 'none'}",
            f"replicas  {', '.join(behind) or 'none is connected'}",
            *(f"against   {problem}" for problem in self.problems),
        ]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it: who led, who leads, and how many seconds it took."""

    old: str
    new: str
    seconds: float


def plan(looks: Mapping[str, Look]) -> Plan:
    """Decide from what every node says."""
    hosts = {look.host: node for node, look in looks.items() if look.host}
    named = {look.named for look in looks.values() if look.named.startswith(_NAMED)}
    master = hosts.get(next(iter(named)).removeprefix(_NAMED), "") if len(named) == 1 else ""
    problems = [f"{node} does not answer" for node, look in looks.items() if not look.info]
    if not master:
        told = "; ".join(sorted({look.named for look in looks.values() if look.named})) or "no node answers"
        return Plan("", {}, (f"the Sentinels do not agree on a master: {told}", *problems))
    if looks[master].info.get("role") != "master":
        problems.append(f"{master}, whom the Sentinels name, is {looks[master].info.get('role', 'silent')}")
    problems += _quorum(looks[master].quorum)
    replicas = _behind(looks, master)
    if not replicas:
        problems.append(f"no replica of {master} is connected: nobody to hand over to")
    for node in looks:
        if node not in (master, *replicas) and looks[node].info:
            problems.append(f"{node} is not connected to {master}: it would lose what it has not got")
    return Plan(master, replicas, tuple(problems))


def _quorum(answers: Mapping[str, str]) -> list[str]:
    """Return what is against it if most Sentinels do not see a quorum."""
    refused = [f"{sentinel}: {answer or 'no answer'}" for sentinel, answer in answers.items() if answer[:2] != "OK"]
    return [f"no quorum; {'; '.join(refused)}"] if 2 * len(refused) >= len(answers) else []


def _behind(looks: Mapping[str, Look], master: str) -> dict[str, int]:
    """Return the connected replicas, with the bytes that they have not got."""
    offset, host = int(looks[master].info.get("master_repl_offset", 0)), looks[master].host
    return {
        node: max(0, offset - int(look.info.get("slave_repl_offset", 0)))
        for node, look in looks.items()
        if look.info.get("master_link_status") == "up" and look.info.get("master_host") == host
    }


def survey(target: Target) -> Plan:
    """Ask every node, and decide."""
    return plan({node: Look.parse(target.shell(node, _ASK)) for node in target.nodes()})


def run(target: Target, planned: Plan) -> Done:
    """Have the master hand over.

    Raises:
        HandoverError: if something is against it, or it did not come about: then the old master goes on.
    """
    if planned.problems:
        raise HandoverError("; ".join(planned.problems))
    began = time.monotonic()
    target.stop_hook(planned.master)
    after = survey(target)
    if after.master == planned.master or not after.master:
        raise HandoverError(f"{planned.master} has handed over, and then: {'; '.join(after.problems) or after.master}")
    return Done(planned.master, after.master, time.monotonic() - began)
