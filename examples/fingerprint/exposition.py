"""Metrics of the example's processes: each serves its own, and tells Prometheus where by a file that it watches."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from cacheclient.metrics import register

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cacheclient import AsyncCache

_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def exposed(cache: AsyncCache[Any], name: str, folder: Path | None) -> Iterator[None]:
    """Serve the metrics of ``cache`` as those of pod ``name``, for as long as this is open.

    ``folder`` is where Prometheus looks for targets (``file_sd_configs``); None: nobody scrapes.
    """
    if folder is None:
        yield
        return
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    register(cache, registry=registry)
    server, thread = start_http_server(0, _LOOPBACK, registry)
    try:
        with listed(f"{_LOOPBACK}:{server.server_port}", name, folder):
            yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def listed(address: str, name: str, folder: Path | None) -> Iterator[None]:
    """Tell Prometheus that pod ``name`` serves metrics at ``address``, for as long as this is open."""
    if folder is None:
        yield
        return
    entry, new = folder / f"{name}.json", folder / f"{name}.new"
    new.write_text(json.dumps([{"targets": [address], "labels": {"pod": name, "instance": name}}]))
    new.replace(entry)  # whole or not at all: Prometheus may read at any moment
    try:
        yield
    finally:
        entry.unlink(missing_ok=True)
