"""``cachestack get`` and ``explain``: what Redis holds of a key."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
import typer

from cacheclient.cache import AsyncCache
from cacheclient.cli.asking import ask, read_token
from cacheclient.cli.command import Failure
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import Env, ExitCode
from cacheclient.explain import Explanation

PATIENCE: Final = 5.0  # seconds for an answer of the API
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


def _in_a_process(*, key: str, api: str, token_file: str | None, as_json: bool) -> int:
    """Ask one process what it holds of a key, its L1 included."""
    path = f"/cache/explain/{quote(key, safe='')}"
    told = ask(api, path, timeout=PATIENCE, token=read_token(token_file))
    if as_json:
        print_json(told)
        return ExitCode.DONE
    try:
        explained = msgspec.convert(told, Explanation)
    except msgspec.ValidationError as error:
        raise Failure(f"{api}: not what this release explains: {error}") from error
    console().print(str(explained), markup=False)
    return ExitCode.DONE


@connected(instead=("api", _in_a_process))
async def explain(
    cache: AsyncCache[Any],
    key: Key,
    *,
    api: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask the cache API of one process, which knows its own L1, too.")
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(envvar=Env.ADMIN_TOKEN_FILE.value, help="With --api: where an administrator's token is."),
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Say what Redis holds of a key, and what a lookup would find.

    A value with its age, life, tags and write id; a lease (somebody loads it), a tombstone (it was invalidated), or
    nothing. With --api, also what that process holds, and whether it may use it.
    """
    del api, token_file
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
