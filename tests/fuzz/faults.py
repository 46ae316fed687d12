"""Doing what an incident says to the processes and paths of a run, and undoing it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.local import process
from infra.local.control import Environment
from infra.local.readiness import is_whole
from tests.fuzz.crew import Crew
from tests.fuzz.incidents import Fault, Incident, Kind
from tests.fuzz.network import Network
from tests.fuzz.stage import HEAL, LOOK, named_master

SLOW: Final = 0.03  # seconds in each direction: a round trip is a little more than a command may take


@dataclass(slots=True)
class Done:
    """What became of an incident. Times in monotonic seconds.

    Attributes:
        master_hit: when the first fault of the master began, None if it had none.
        clients_free: when the last fault that kept a worker from the set was undone, 0 if there was none.
        handed_over: whether a planned stop handed the master role over first.
        whole: whether the set was whole again in time.
    """

    incident: Incident
    began: float
    master_hit: float | None = None
    clients_free: float = 0.0
    ended: float = 0.0
    handed_over: bool = False
    whole: bool = False


class Hands:
    """What can be done to one run."""

    def __init__(self, environment: Environment, network: Network, crew: Crew) -> None:
        self._environment = environment
        self._network = network
        self._crew = crew

    async def cause(self, incident: Incident) -> Done:
        """Let the incident happen, and wait until the set is whole again."""
        roles = await asyncio.to_thread(self._roles)
        done = Done(incident, time.monotonic())
        await asyncio.gather(*(self._fault(fault, roles, done) for fault in incident.faults))
        done.whole = await self.whole()
        done.ended = time.monotonic()
        return done

    async def whole(self) -> bool:
        """Wait until every node knows every other; return whether that came to pass within ``HEAL`` seconds."""
        environment = self._environment

        def look() -> bool:
            return process.wait_until(lambda: is_whole(environment.places, environment.state), HEAL, poll=LOOK)

        return await asyncio.to_thread(look)

    def _roles(self) -> dict[str, str]:
        master = named_master(self._environment)
        replicas = sorted(set(self._environment.redis_nodes) - {master})
        return {"master": master, **{f"replica-{number}": name for number, name in enumerate(replicas)}}

    async def _fault(self, fault: Fault, roles: Mapping[str, str], done: Done) -> None:
        await asyncio.sleep(fault.after)
        targets, others = ([roles.get(role, role) for role in side.split("+")] for side in (fault.target, fault.other))
        if roles["master"] in targets and done.master_hit is None:
            done.master_hit = time.monotonic()
        if fault.kind is Kind.CUT:
            self._network.cut(targets, others)
            await asyncio.sleep(fault.seconds)
            self._network.join(targets, others)
        elif fault.kind is Kind.SLOW:
            self._network.slow(targets, others, SLOW)
            await asyncio.sleep(fault.seconds)
            self._network.slow(targets, others, 0.0)
        elif fault.kind is Kind.FREEZE:
            self._signal(targets[0], signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            self._signal(targets[0], signal.SIGCONT)
        else:
            await self._restart(fault, targets[0], done)
        if any(name.startswith("worker-") for name in (*targets, *others)):
            done.clients_free = time.monotonic()

    async def _restart(self, fault: Fault, name: str, done: Done) -> None:
        environment = self._environment
        if fault.kind is Kind.STOP:
            said = await asyncio.to_thread(environment.stop, name)
            done.handed_over = fault.target == "master" and "handed over to" in said  # also not if it took too long
        else:
            await asyncio.to_thread(environment.kill, name)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(environment.start, name)

    def _signal(self, target: str, what: signal.Signals) -> None:
        if target.startswith("worker-"):
            self._crew.signal(int(target.removeprefix("worker-")), what)
        else:
            process.send(self._environment.state.processes[target].identity, what)
