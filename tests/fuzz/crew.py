"""The worker processes of one run."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from tests.fuzz.worker import Result, Spec

PATIENCE: Final = 120.0  # seconds that a worker may take to answer: it starts in one, and a busy machine took twenty
_ROOT: Final = Path(__file__).parent.parent.parent


class CrewError(Exception):
    """A worker ended, or did not answer; the text holds its last words."""


class Crew:
    """Workers that follow words on their standard input. Use as an async context manager: it leaves none behind."""

    def __init__(self, specs: Sequence[Spec], folder: Path) -> None:
        self._specs = specs
        self._folder = folder
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        try:
            for spec in self._specs:
                await self._start(spec)
            await self.ask("read")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for worker in self._processes:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
        await asyncio.gather(*(worker.communicate() for worker in self._processes))

    async def ask(self, word: str) -> list[Any]:
        """Say ``word`` to all workers at once, and return what each answers."""
        return list(await asyncio.gather(*(self._ask(number, word) for number in range(len(self._processes)))))

    async def end(self) -> list[Result]:
        """Let all workers end, and return what they have to say."""
        answers = await self.ask("end")
        codes = await asyncio.gather(*(worker.wait() for worker in self._processes))
        if any(codes):
            raise CrewError(f"workers ended with {codes}: {self._last_words(codes.index(next(filter(None, codes))))}")
        return msgspec.convert(answers, list[Result])

    async def _start(self, spec: Spec) -> None:
        path = self._folder / f"worker-{spec.worker}.json"
        path.write_bytes(msgspec.json.encode(spec))
        with (self._folder / f"worker-{spec.worker}.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.fuzz.worker", str(path), cwd=_ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._processes.append(worker)

    async def _ask(self, number: int, word: str) -> Any:
        worker = self._processes[number]
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                worker.stdin.write(f"{word}\n".encode())
                await worker.stdin.drain()
                return msgspec.json.decode(await worker.stdout.readline())
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            raise CrewError(f"worker {number} did not answer {word!r}: {self._last_words(number)}") from error

    def _last_words(self, number: int) -> str:
        lines = (self._folder / f"worker-{number}.log").read_text(errors="replace").splitlines()
        return "; ".join(lines[-5:]) or "no output"

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to one worker."""
        with contextlib.suppress(ProcessLookupError):
            self._processes[number].send_signal(what)

    def resume(self) -> None:
        """Let every worker go on."""
        for number in range(len(self._processes)):
            self.signal(number, signal.SIGCONT)
