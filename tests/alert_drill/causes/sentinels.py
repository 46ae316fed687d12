"""Failures of Sentinels."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tests.alert_drill.scene import Scene, pause, wait_for

_OTHERS: Final = ("sentinel-0", "sentinel-1")
_ONE: Final = "sentinel-2"
_ELSEWHERE: Final = "127.0.0.24"  # an address that no Sentinel of the set has


@contextlib.contextmanager
def one_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of one Sentinel."""
    scene.environment.kill(_ONE)
    yield
    scene.environment.start(_ONE)


@contextlib.contextmanager
def two_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of two Sentinels."""
    for name in ("sentinel-1", _ONE):
        scene.environment.kill(name)
    yield
    for name in ("sentinel-1", _ONE):
        scene.environment.start(name)


@contextlib.contextmanager
def hung(scene: Scene) -> Iterator[None]:
    """A Sentinel stopped for five seconds: its own clock tells it to hold back for half a minute afterwards."""
    scene.environment.pause("sentinel-1")
    pause(5)
    scene.environment.resume("sentinel-1")
    yield


@contextlib.contextmanager
def misled(scene: Scene) -> Iterator[None]:
    """A Sentinel told by hand to watch a replica as the master, without a password: it hears of nobody any more."""
    ask, name = scene.environment.ask, scene.environment.set_name
    address, port = scene.environment.redis_nodes[scene.replicas[0]]
    try:
        ask(_ONE, "SENTINEL", "REMOVE", name)
        for other in _OTHERS:  # else they would tell it who leads
            _forget_peers(scene, other, known=1)
        ask(_ONE, "SENTINEL", "MONITOR", name, address, str(port), "2")
        yield
    finally:
        _start_without_memory(scene)


@contextlib.contextmanager
def replaced(scene: Scene) -> Iterator[None]:
    """A Sentinel that joins from another address, and is gone for good: the others count it for ever."""
    everybody = (*_OTHERS, _ONE)
    try:
        with _joined(scene):
            wait_for(lambda: all(_knows(scene, name, 3) for name in everybody), "the Sentinels to count a fourth")
        yield
    finally:
        for name in everybody:
            _forget_peers(scene, name, known=2)


@contextlib.contextmanager
def _joined(scene: Scene) -> Iterator[None]:
    """Run one Sentinel more, configured as the third one is."""
    known = scene.environment.state.processes[_ONE]
    home = scene.environment.places.data / "sentinel-9"
    home.mkdir()
    text = (scene.environment.places.data / _ONE / "sentinel.conf").read_text()
    text = re.sub(r"^(sentinel myid|sentinel known-sentinel) .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(rf"\b{re.escape(known.address)}\b", _ELSEWHERE, text)
    (home / "sentinel.conf").write_text(text.replace(str(scene.environment.places.data / _ONE), str(home)))
    with scene.environment.places.log("sentinel-9").open("a") as log:
        argv = [known.environment["REDIS_SERVER"], str(home / "sentinel.conf"), "--sentinel"]
        process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=home)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home)


def _forget_peers(scene: Scene, name: str, *, known: int) -> None:
    """Have a Sentinel forget whom it knows, and wait until it knows those again that are there."""
    scene.environment.ask(name, "SENTINEL", "RESET", scene.environment.set_name)
    wait_for(partial(_knows, scene, name, known), f"{name} to know {known} Sentinels and the replicas again")


def _knows(scene: Scene, name: str, known: int) -> bool:
    found = _told(scene, name)
    return (found.get("num-other-sentinels"), found.get("num-slaves")) == (str(known), "2")


def _told(scene: Scene, name: str) -> dict[str, str]:
    """Return what a Sentinel says of the set."""
    lines = scene.environment.ask(name, "SENTINEL", "MASTER", scene.environment.set_name).splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=False))


def _start_without_memory(scene: Scene) -> None:
    scene.environment.kill(_ONE)
    for left in Path(scene.environment.places.data / _ONE).iterdir():
        left.unlink()
    scene.environment.start(_ONE)
