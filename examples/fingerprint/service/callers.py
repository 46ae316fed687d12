"""HTTP/1.1 over connections that stay open: the load where there is no ``wrk``, and whoever looks at the answers.

Usage: ``python -m examples.fingerprint.service.callers HOST PORT CONNECTIONS SECONDS FILE``, as ``load`` starts it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Final, Self

_TIMEOUT: Final = 30.0


class Caller:
    """One connection. Not for several tasks at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises:
            OSError: if the connection fails, or there is no answer in 30 s; the next call opens another.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
                lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                length = next((int(x.split(b":")[1]) for x in lines if x.lower().startswith(b"content-length:")), 0)
                return int(lines[0].split()[1]), await reader.readexactly(length)
        except (OSError, EOFError) as error:
            self.close()
            raise OSError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()


async def load(host: str, port: int, connections: int, seconds: float, paths: list[str]) -> dict[str, float]:
    """Ask for ``paths`` in turn over every connection, and return what ``load.Load`` holds."""
    took: list[float] = []
    counts = {"refused": 0, "broken": 0}
    following = cycle(paths)
    began = time.perf_counter()

    async def call() -> None:
        async with Caller(host, port) as caller:
            while (asked := time.perf_counter()) < began + seconds:
                try:
                    status, _ = await caller.ask("GET", next(following))
                except OSError:
                    counts["broken"] += 1
                    await asyncio.sleep(0.01)
                else:
                    counts["refused"] += status >= 400  # noqa: PLR2004  of a client's or a server's error
                    took.append(time.perf_counter() - asked)

    await asyncio.gather(*(call() for _ in range(connections)))
    elapsed = time.perf_counter() - began
    took.sort()
    quantiles = {f"p{q}": took[len(took) * q // 100] if took else 0.0 for q in (50, 95, 99)}
    return {"requests": len(took), "seconds": elapsed, **quantiles, **counts}


def _main(host: str, port: str, connections: str, seconds: str, file: str) -> None:
    paths = Path(file).read_text().split()
    print(json.dumps(asyncio.run(load(host, int(port), int(connections), float(seconds), paths))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
