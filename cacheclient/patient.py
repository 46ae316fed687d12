"""Whom a look at everything that a cache stands on asks (``doctor``), and how hot keys are found (``tuner``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cacheclient.remote import Connection, Login

if TYPE_CHECKING:
    from cacheclient.findings import Vote

Votes = Callable[[], Awaitable["Sequence[Vote]"]]


class Masters(Protocol):
    """What is asked of a ``Link`` or a ``Cluster``."""

    def everywhere(self) -> list[Connection]:
        """Return the connections that together reach every key."""


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom to ask: the masters, and the Sentinels if there are any."""

    masters: Masters
    login: Login
    votes: Votes | None = None
