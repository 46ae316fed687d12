"""L2 over a Redis Cluster: each read goes to the master of its key, all of one tick in one write to each master."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cacheclient.errors import UnavailableError
from cacheclient.remote.pipe import Pipe
from cacheclient.remote.protocol import Take
from cacheclient.remote.store import RedisStore


class _Part:
    """The reads of one master: told once, when the last has been answered. A pipe answers in order."""

    __slots__ = ("_keys", "_replies", "_told")

    def __init__(self, told: Callable[[Sequence[str], list[Any]], None]) -> None:
        self._told = told
        self._replies: list[Any] = []
        self._keys: list[str] = []

    def send(self, pipe: Pipe, keys: list[str]) -> None:
        self._keys = keys
        for key in keys:
            pipe.send(("GET", key), self._answered)
        pipe.flush()

    def _answered(self, reply: Any) -> None:
        self._replies.append(reply)
        if len(self._replies) == len(self._keys):
            self._told(self._keys, self._replies)


class ClusterStore(RedisStore):
    """L2 on the masters that ``link``, a Cluster, leads to."""

    def fetch(self, keys: Sequence[str], take: Take) -> None:
        """GET of each key, pipelined. MGET needs its keys in one slot, and those of a tick hardly ever share one."""
        parts: dict[Pipe, list[str]] = {}
        for key in keys:
            try:
                pipe = self._link.current(key).reads
            except UnavailableError as error:
                self._followed(take, key, error)
            else:
                parts.setdefault(pipe, []).append(key)
        for pipe, theirs in parts.items():
            _Part(partial(self._took, take)).send(pipe, theirs)

    def _took(self, take: Take, keys: Sequence[str], replies: list[Any]) -> None:
        """Hand on what was answered; follow each key that another node has."""
        failed = {key: reply for key, reply in zip(keys, replies, strict=True) if isinstance(reply, UnavailableError)}
        if not failed:
            take(keys, replies)
            return
        good = {key: reply for key, reply in zip(keys, replies, strict=True) if key not in failed}
        if good:
            take(list(good), list(good.values()))
        for key, error in failed.items():
            elsewhere = self._link.elsewhere(error)
            if elsewhere is None:
                self._followed(take, key, error)
            else:
                elsewhere.reads.send(("GET", key), partial(self._followed, take, key))

    def _followed(self, take: Take, key: str, reply: Any) -> None:
        if isinstance(reply, UnavailableError):
            self.count(reply)
            take((key,), reply)
        else:
            take((key,), (reply,))
