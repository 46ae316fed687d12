"""Failures of what servers do with data: memory and disks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import redis

from tests.alert_drill.causes.model import configured, make_lead
from tests.alert_drill.client import Mode
from tests.alert_drill.scene import Scene, pause, wait_for

_TMPFS: Final = "48m"
_ROOM: Final = 8 << 20
_PIECES: Final = 200_000
_PIECE: Final = 200  # bytes of a value: twenty or so share a page of the allocator, and one of them keeps it
_KEPT: Final = 8  # one in so many
_FSYNC_MICROSECONDS: Final = 3_000_000  # Redis waits two seconds for an fsync under way, and then writes all the same


@contextlib.contextmanager
def memory_unbounded(scene: Scene) -> Iterator[None]:
    """CONFIG SET maxmemory 0 on one server."""
    with configured(scene, scene.replicas[0], "maxmemory", 0):
        yield


@contextlib.contextmanager
def memory_full(scene: Scene) -> Iterator[None]:
    """A master with little more memory allowed than it uses, under writes."""
    master = scene.master
    # The backlog grows with every write and cannot be evicted: a small one leaves the room to entries, which can.
    with configured(scene, master, "repl-backlog-size", 1 << 20):
        used = int(scene.run(master, "INFO", "memory")["used_memory"])
        with configured(scene, master, "maxmemory", used + _ROOM), scene.doing(Mode.MISSES):
            yield


@contextlib.contextmanager
def memory_in_pieces(scene: Scene) -> Iterator[None]:
    """Many small values, of which most are deleted: the rest keep nearly all pages."""
    with contextlib.closing(scene.redis(scene.master)) as server:
        for first in range(0, _PIECES, 1000):
            keys = [f"piece:{number}" for number in range(first, first + 1000)]
            server.mset(dict.fromkeys(keys, "v" * _PIECE))
        for first in range(0, _PIECES, 1000):
            server.unlink(*(f"piece:{number}" for number in range(first, first + 1000) if number % _KEPT))
    yield


@contextlib.contextmanager
def disk_full(scene: Scene) -> Iterator[None]:
    """A master on a small file system without a free byte."""
    name = scene.master
    place = scene.environment.places.data / name
    scene.environment.stop(name)
    shutil.rmtree(place)
    place.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={_TMPFS}", "tmpfs", str(place)], check=True)
    try:
        scene.environment.start(name)
        make_lead(scene, name)
        ballast = place / "ballast"
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        with scene.doing(Mode.MISSES):
            # First, because a failed snapshot makes Redis refuse the writes that the AOF would have to take.
            wait_for(lambda: _persistence(scene, name)["aof_last_write_status"] == "err", "the AOF to fail")
            with contextlib.suppress(redis.RedisError):
                scene.run(name, "BGSAVE")
            pause(2)
            with contextlib.suppress(redis.RedisError):
                scene.run(name, "BGREWRITEAOF")
            yield
        ballast.unlink()
        for command in ("BGSAVE", "BGREWRITEAOF"):
            wait_for(partial(_accepted, scene, name, command), command)
    finally:
        scene.environment.stop(name)
        wait_for(lambda: _unmounted(place), f"{place} to be free: a child of Redis may outlive it for a moment")
        scene.environment.start(name)


@contextlib.contextmanager
def saves_forgotten(scene: Scene) -> Iterator[None]:
    """A server that no longer takes snapshots, under writes."""
    with configured(scene, scene.master, "save", ""), scene.doing(Mode.MISSES):
        yield


@contextlib.contextmanager
def disk_slow(scene: Scene) -> Iterator[None]:
    """A master whose every fsync takes three seconds: strace holds the call back."""
    pid = scene.environment.state.processes[scene.master].pid
    delay = f"inject=fdatasync:delay_enter={_FSYNC_MICROSECONDS}"
    tracer = subprocess.Popen(
        ["/usr/bin/strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", delay, "-p", str(pid)],
        stderr=subprocess.DEVNULL,
    )
    try:
        with scene.doing(Mode.MISSES):
            yield
    finally:
        tracer.send_signal(signal.SIGINT)  # detaches: Redis goes on at its own speed
        tracer.wait()


def _persistence(scene: Scene, name: str) -> dict[str, object]:
    return dict(scene.run(name, "INFO", "persistence"))


def _unmounted(place: Path) -> bool:
    return subprocess.run(["/bin/umount", str(place)], check=False, capture_output=True).returncode == 0


def _accepted(scene: Scene, name: str, command: str) -> bool:
    try:
        scene.run(name, command)
    except redis.RedisError:
        return False
    return True


def lacks_root() -> str:
    """Say why no small file system can be had; empty if it can."""
    return "" if os.geteuid() == 0 else "a small file system can be mounted by root only"


def lacks_strace() -> str:
    """Say why no system call can be held back; empty if it can."""
    return (
        ""
        if Path("/usr/bin/strace").exists() and os.geteuid() == 0
        else "it needs strace, and root to trace another process"
    )
