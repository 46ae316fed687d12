"""Warm-ups of a ``Cache`` for threads: the same, on the background loop of the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from cacheclient.sync import Cache
from cacheclient.warming.items import Source
from cacheclient.warming.report import Progress, Report
from cacheclient.warming.settings import PlanSettings
from cacheclient.warming.warmer import Warmer


class SyncWarmer:
    """The warm-ups of one ``Cache``; see ``Warmer``. Its methods block the calling thread.

    Sources and ``load_many`` are async, as for ``Warmer``: they run on the cache's own loop.
    """

    def __init__(
        self, cache: Cache[Any], sources: Iterable[Source], *, plans: Mapping[str, PlanSettings] | None = None
    ) -> None:
        """Prepare the warm-ups of ``cache``, which must be open.

        Raises:
            ConfigurationError: if a source or a plan cannot be.
            ClosedError: if the cache is not open.
        """
        self._runtime = cache._here()  # noqa: SLF001  the two faces of one package
        self._warmer = self._runtime.run(self._made(sources, plans))

    async def _made(self, sources: Iterable[Source], plans: Mapping[str, PlanSettings] | None) -> Warmer:
        return Warmer(self._runtime.cache, sources, plans=plans)  # on the loop, to which its tasks belong

    @property
    def ready(self) -> bool:
        """As ``Warmer.ready``."""
        return self._warmer.ready

    @property
    def state(self) -> str:
        """As ``Warmer.state``."""
        return self._warmer.state

    def run(
        self, plan: str, *, resume: bool = False, dry_run: bool = False, progress: Progress | None = None
    ) -> Report:
        """Carry out a plan and return what was done; see ``Warmer.run``. ``progress`` runs on the loop."""
        return self._runtime.run(self._warmer.run(plan, resume=resume, dry_run=dry_run, progress=progress))

    def at_start(self, plan: str = "critical", *, deadline: float = 20.0) -> Report | None:
        """Warm up before the application serves, for at most ``deadline`` seconds; see ``Warmer.at_start``."""
        return self._runtime.run(self._warmer.at_start(plan, deadline=deadline))

    def close(self) -> None:
        """End what goes on behind the application. Call it before the cache is closed; twice is fine."""
        self._runtime.run(self._warmer.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
