"""``cachestack get`` and ``explain``: what Redis holds of a key."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cacheclient.cache import AsyncCache
from cacheclient.cli.command import Failure
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode
from cacheclient.explain import Explanation

Key = Annotated[str, typer.Argument(help="The id of the entry, without namespace and version.")]


@connected()
async def get(cache: AsyncCache[Any], key: Key, *, as_json: AsJson = False) -> ExitCode:
    """Print the value of a key as JSON.

    With --json, also where it came from: tier, age, what is left of its life, tags, size and codec. A key that is not
    cached is told on stderr, with exit code 1.
    """
    await _asked(cache, key)
    found = await cache.get_entry(key)
    if found is None:
        raise Failure(f"{key}: not cached (`cachestack explain` says why)")
    if not as_json and isinstance(found.value, bytes):
        sys.stdout.buffer.write(found.value)
    else:
        print_json(asdict(found) if as_json else found.value)
    return ExitCode.DONE


@connected()
async def explain(cache: AsyncCache[Any], key: Key, *, as_json: AsJson = False) -> ExitCode:
    """Say what Redis holds of a key, and what a lookup would find.

    A value with its age, life, tags and write id; a lease (somebody loads it), a tombstone (it was invalidated), or
    nothing. What a process holds in its L1 only that process can say: GET /cache/explain/KEY of its API.
    """
    explained = await _asked(cache, key)
    if as_json:
        print_json(explained.to_dict())
    else:
        answer = {"miss": "a miss"}.get(explained.answer, "Redis answers")
        console().print("\n".join([f"{explained.redis_key}: {answer}", *explained.shared()]), markup=False)
    return ExitCode.DONE


async def _asked(cache: AsyncCache[Any], key: str) -> Explanation:
    """Ask for a key.

    Raises:
        Failure: if Redis did not answer.
    """
    explained = await cache.explain(key)
    if explained.l2.status == "unavailable":
        raise Failure(explained.l2.problem)
    return explained
