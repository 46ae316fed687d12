"""Failures of the processes that use the cache."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from tests.alert_drill.client import Kind
from tests.alert_drill.scene import Scene


@contextlib.contextmanager
def clients_hung(scene: Scene) -> Iterator[None]:
    """SIGSTOP of every process that uses the cache."""
    scene.signal_clients(signal.SIGSTOP)
    yield
    scene.signal_clients(signal.SIGCONT)


@contextlib.contextmanager
def two_versions(scene: Scene) -> Iterator[None]:
    """A second process with another schema version."""
    scene.start_client("shop-2", kind=Kind.NEWER)
    yield
    scene.stop_client("shop-2")


@contextlib.contextmanager
def restless(scene: Scene) -> Iterator[None]:
    """A process whose tuning hardly waits between two changes, under two loads that take turns."""
    scene.start_client("shop-3", kind=Kind.RESTLESS)
    yield
    scene.stop_client("shop-3")


@contextlib.contextmanager
def storm(scene: Scene) -> Iterator[None]:
    """A process that writes more than its cache takes for normal."""
    scene.start_client("shop-4", kind=Kind.SENSITIVE)
    yield
    scene.stop_client("shop-4")
