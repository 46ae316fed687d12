"""Waiting until the environment can do what it promises: serve, and survive the loss of its master."""

from __future__ import annotations

import socket
from typing import Final

from infra.local import node, process
from infra.local.errors import LocalError
from infra.local.logs import last_words, tail
from infra.local.state import Places, Process, State

READY: Final = 60.0
POLL: Final = 0.1

# Sentinel asks a master for its replicas every 10 s, and before it knows them no failover is possible. While the set
# starts they ask more often (milliseconds, SENTINEL DEBUG).
INFO_PERIOD: Final = "10000"
INFO_PERIOD_AT_START: Final = "500"


def await_nodes(places: Places, state: State) -> None:
    """Wait until every node's own probe is content and a failover would work.

    Raises:
        LocalError: if a process ends, or the time ``READY`` is over; the text holds the last words.
    """
    sentinels = state.of_kind("sentinel")
    waiting = {p.name: p for p in [*state.of_kind("redis"), *sentinels]}

    def all_ready() -> bool:
        _raise_if_dead(places, state)
        for found in list(waiting.values()):
            if node.probe(found, "readiness"):
                del waiting[found.name]
                if found.kind == "sentinel":
                    node.ask(places, found, "SENTINEL", "DEBUG", "info-period", INFO_PERIOD_AT_START)
        return not waiting

    if not process.wait_until(all_ready, READY, poll=POLL):
        said = "; ".join(f"{name} logs: {''.join(tail(places.log(name), 1))}" for name in waiting)
        raise LocalError(f"not ready within {READY:g} s: {said}")
    if not process.wait_until(lambda: is_whole(places, state), READY, poll=POLL):
        raise LocalError(f"the Sentinels did not find the whole set within {READY:g} s; see 'make logs'")
    for sentinel in sentinels:
        node.ask(places, sentinel, "SENTINEL", "DEBUG", "info-period", INFO_PERIOD)


def is_whole(places: Places, state: State) -> bool:
    """Say whether all Sentinels know every node and agree on a master to which every replica acknowledges."""
    replicas, others = len(state.of_kind("redis")) - 1, len(state.of_kind("sentinel")) - 1
    masters = set()
    for sentinel in state.of_kind("sentinel"):
        words = node.ask(places, sentinel, "SENTINEL", "MASTER", state.set_name).splitlines()
        known = dict(zip(words[::2], words[1::2], strict=False))
        if (known.get("num-slaves"), known.get("num-other-sentinels")) != (str(replicas), str(others)):
            return False
        masters.add((known.get("ip"), known.get("flags")))  # the flags tell of a failover or of doubts
    named = [p for p in state.of_kind("redis") if masters == {(p.address, "master")}]
    return bool(named) and f"min_slaves_good_slaves:{replicas}" in node.ask(places, named[0], "INFO", "replication")


def await_listening(places: Places, state: State) -> None:
    """Wait until every other process accepts connections.

    Raises:
        LocalError: if a process ends, or one is silent when the time ``READY`` is over.
    """
    others = [p for p in state.processes.values() if p.kind not in {"redis", "sentinel"}]

    def all_listen() -> bool:
        _raise_if_dead(places, state)
        return all(map(_listens, others))

    if not process.wait_until(all_listen, READY, poll=POLL):
        silent = ", ".join(p.name for p in others if not _listens(p))
        raise LocalError(f"no answer within {READY:g} s from {silent}; see 'make logs'")


def _listens(found: Process) -> bool:
    try:
        socket.create_connection((found.address, found.port), timeout=1).close()
    except OSError:
        return False
    return True


def _raise_if_dead(places: Places, state: State) -> None:
    for found in state.processes.values():
        if not found.running:
            raise LocalError(f"{found.name} has ended: {last_words(places.log(found.name))}")
