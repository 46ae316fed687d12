"""``cachestack lock``: a command that at most one machine of the fleet runs at a time."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
import time
from typing import Annotated, Any, Final

import typer

from cacheclient.cache import AsyncCache
from cacheclient.cli.command import Failure
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode
from cacheclient.lock import Lock

TOKEN: Final = "CACHE_LOCK_TOKEN"  # noqa: S105  the name of a variable
_GRACE: Final = 10.0  # seconds from SIGTERM to SIGKILL
_LOOK: Final = 0.2  # seconds between two looks whether the lock is still held
_NOT_FOUND, _SIGNALLED = 127, 128  # as shells have it


@connected()
async def lock(
    cache: AsyncCache[Any],
    name: Annotated[str, typer.Argument(help="The name of the lock, shared by all versions of the namespace.")],
    command: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND...", help="What to run under it.")] = None,
    *,
    show: Annotated[bool, typer.Option("--show", help="Only say who holds it; exit code 1 if nobody does.")] = False,
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for it, 0 to 86400.")] = 10.0,
    lifetime: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", help="For how long it outlives this machine, 0.05 to 86400."),
    ] = 30.0,
    as_json: AsJson = False,
) -> int:
    """Run a command while nobody else in the fleet holds the lock.

    The lock is extended until the command ends. It finds a number that rises with each holder (the fencing token) in
    CACHE_LOCK_TOKEN. If the lock is lost meanwhile, the command is ended. The exit code is the command's; 4 if
    somebody else has the lock, 1 if Redis does not answer. What the command prints is left alone: with --json the last
    line on stderr says how it went.
    """
    if show == bool(command):
        raise Failure("`-- COMMAND...` to run under the lock, or --show", ExitCode.USAGE)
    if show:
        return await _show(cache, name, as_json=as_json)
    held = cache.lock(name, timeout=lifetime, wait=wait, auto_extend=True)
    async with held:
        token, began = held.token, time.monotonic()
        code = await _run(held, command or [])
        seconds = time.monotonic() - began
    if as_json:
        about = {"lock": name, "token": token, "exit_code": code, "seconds": round(seconds, 3)}
        sys.stderr.write(json.dumps(about) + "\n")
    return code


async def _show(cache: AsyncCache[Any], name: str, *, as_json: bool) -> ExitCode:
    holder = await cache.lock_holder(name)
    if as_json:
        left = None if holder is None or math.isinf(holder.expires_in) else holder.expires_in
        print_json({"lock": name, "holder": holder and holder.name, "expires_in": left})
    elif holder is None:
        console().print(f"{name}: free", markup=False)
    else:
        ends = "never expires" if math.isinf(holder.expires_in) else f"expires in {holder.expires_in:.1f} s"
        console().print(f"{name}: held by {holder.name}, {ends}", markup=False)
    return ExitCode.FAILED if holder is None else ExitCode.DONE


async def _run(held: Lock, command: list[str]) -> int:
    """Run a command until it ends or the lock is lost; return its exit code as shells do."""
    asked = asyncio.Event()  # by SIGTERM, which must end the command first
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    try:
        child = await asyncio.create_subprocess_exec(*command, env={**os.environ, TOKEN: str(held.token)})
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return _NOT_FOUND
    ends = [asyncio.ensure_future(child.wait()), asyncio.ensure_future(asked.wait())]
    try:
        done: set[asyncio.Future[Any]] = set()
        while not held.lost and not done:
            done, _ = await asyncio.wait(ends, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(child)
    code = child.returncode or 0
    return code if code >= 0 else _SIGNALLED - code


async def _end(child: asyncio.subprocess.Process) -> None:
    """End a command that still runs: the lock is lost, or this is interrupted."""
    if child.returncode is None:
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), _GRACE)
        except TimeoutError:
            child.kill()
            await child.wait()
