"""Watching the nodes from the side: who is master, and what ended though nobody of the show stopped it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol, Self

from infra.local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

WATCH_EVERY: Final = 0.5  # seconds


class Nodes(Protocol):
    """The running set, as the show needs it: ``infra.local.control.Environment`` is one, and documents the methods."""

    @property
    def redis_nodes(self) -> Mapping[str, tuple[str, int]]: ...  # noqa: D102
    def master(self) -> str: ...  # noqa: D102
    def stop(self, name: str) -> str: ...  # noqa: D102
    def kill(self, name: str) -> None: ...  # noqa: D102
    def start(self, name: str) -> None: ...  # noqa: D102
    def ready(self, name: str) -> bool: ...  # noqa: D102
    def dead(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102


class Watch:
    """Asks the nodes in a thread of its own, because an answer may take seconds while a master is being replaced."""

    def __init__(self, nodes: Nodes) -> None:
        """Nothing is asked before the watch is entered."""
        self.master: str | None = None
        self.dead: dict[str, str] = {}
        self._nodes = nodes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._ask()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(WATCH_EVERY):
            self._ask()

    def _ask(self) -> None:
        try:
            self.master = self._nodes.master()
        except (LocalError, OSError):  # the Sentinels do not agree now, or the environment was taken down
            self.master = None
        try:
            self.dead = dict(self._nodes.dead())
        except (LocalError, OSError) as error:
            self.dead = dict.fromkeys(self.dead, "") | {"the environment": str(error)}
