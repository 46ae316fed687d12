"""What a cause is, and the hands that several share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from tests.alert_drill.client import Mode
from tests.alert_drill.scene import Scene, wait_for

Make = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Cause:
    """One failure. It lasts as long as the context of ``make`` is open; ``why_not`` says what it lacks here.

    ``after`` are alerts that only speak once it is over, because the failure hides what they look at.
    """

    name: str
    alerts: tuple[str, ...]
    make: Make
    after: tuple[str, ...] = ()
    why_not: Callable[[], str] = lambda: ""


def traffic(mode: Mode) -> Make:
    """Return a cause that has the application do something else."""

    @contextlib.contextmanager
    def make(scene: Scene) -> Iterator[None]:
        with scene.doing(mode):
            yield

    return make


@contextlib.contextmanager
def configured(scene: Scene, name: str, option: str, value: str | int) -> Iterator[None]:
    """Give one option of a Redis node another value."""
    before = scene.option(name, option)
    scene.run(name, "CONFIG", "SET", option, value)
    try:
        yield
    finally:
        scene.run(name, "CONFIG", "SET", option, before)


def led_by_another(scene: Scene, old: str) -> bool:
    """Say whether most Sentinels name another master than ``old``."""
    try:
        return scene.master != old
    except Exception:  # noqa: BLE001  no majority yet
        return False


def make_lead(scene: Scene, name: str) -> None:
    """Hand over until ``name`` is master: Sentinel chooses, but the others have priority 0 meanwhile."""
    scene.await_whole()
    others = [other for other in scene.environment.redis_nodes if other != name]
    for other in others:
        scene.run(other, "CONFIG", "SET", "replica-priority", 0)
    try:
        wait_for(partial(_leads, scene, name), f"{name} to lead")
    finally:
        for other in others:
            scene.run(other, "CONFIG", "SET", "replica-priority", 100)


def _leads(scene: Scene, name: str) -> bool:
    """Say whether ``name`` is master; ask for a failover if not."""
    if not led_by_another(scene, "") or scene.master == name:
        return led_by_another(scene, "")
    scene.environment.ask("sentinel-0", "SENTINEL", "FAILOVER", scene.environment.set_name)
    return False
