"""``cachestack invalidate``: one key, many, or all."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cacheclient.cache import AsyncCache
from cacheclient.cli.command import Failure
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode


@connected()
async def invalidate(
    cache: AsyncCache[Any],
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Ids, without namespace and version.")] = None,
    *,
    pattern: Annotated[str | None, typer.Option(metavar="GLOB", help=r"All ids that match: *, ?, \[a-z].")] = None,
    tag: Annotated[str | None, typer.Option(help="All entries that carry it, at the cost of one write.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole namespace, at the cost of one write.")] = False,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", help="With --pattern: in every other namespace and version, too.")
    ] = False,
    durable: Annotated[
        bool, typer.Option("--durable", help="With keys: wait for all replicas, so that no failover can undo it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many keys it would be.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Make every process forget keys, a pattern, a tag, or the whole namespace.

    Afterwards nobody is served the old value for longer than sync.max_staleness (1 s unless set otherwise), and loads
    that have begun are not cached. Values are loaded anew when they are asked for: forgetting much at once sends the
    traffic to the database.
    """
    chosen = [bool(keys), pattern is not None, tag is not None, everything]
    if sum(chosen) != 1:
        raise Failure("what? KEY..., --pattern GLOB, --tag TAG, or --all: one of them", ExitCode.USAGE)
    if durable and not keys:
        raise Failure("--durable: with keys only", ExitCode.USAGE)
    if all_namespaces and (pattern is None or dry_run):
        raise Failure("--all-namespaces: with --pattern only, and not with --dry-run", ExitCode.USAGE)
    if dry_run:
        return await _counted(cache, keys, tag, pattern or "*", as_json=as_json)
    if keys:
        for key in keys:  # all are looked at before the first is forgotten
            cache.space.full(key)
        done: dict[str, Any] = {"keys": keys}
        acknowledged = all([await cache.invalidate(key, durable=durable) for key in keys])
    elif pattern is not None:
        reached = await _matching(cache, pattern, all_namespaces=all_namespaces)
        done, acknowledged = {"pattern": pattern, "matched": reached}, reached is not None
    elif tag is not None:
        done, acknowledged = {"tag": tag}, await cache.invalidate_tag(tag)
    else:
        done, acknowledged = {"namespace": cache.space.namespace}, await cache.clear()
    _tell(done, acknowledged, durable=durable, as_json=as_json)
    return ExitCode.DONE if acknowledged else ExitCode.FAILED


async def _counted(
    cache: AsyncCache[Any], keys: list[str] | None, tag: str | None, pattern: str, *, as_json: bool
) -> ExitCode:
    """Say how many keys are there that would be forgotten."""
    if tag is not None:
        raise Failure(
            "--dry-run: who carries a tag is known to the entries only, so it cannot be counted", ExitCode.USAGE
        )
    if keys:
        states = [await cache.explain(key) for key in keys]
        if problem := next((s.l2.problem for s in states if s.l2.problem), ""):
            raise Failure(problem)
        count = sum(state.l2.status not in {"absent", "tombstone"} for state in states)
    else:
        count = await cache.count(pattern)
    if as_json:
        print_json({"dry_run": True, "matched": count})
    else:
        console().print(f"{count:,} {_keys(count)} would be forgotten; nothing was changed")
    return ExitCode.DONE


async def _matching(cache: AsyncCache[Any], pattern: str, *, all_namespaces: bool) -> int | None:
    with console(stderr=True).status("looking for keys ...") as status:
        return await cache.invalidate_pattern(
            pattern, all_namespaces=all_namespaces, progress=lambda count: status.update(f"{count:,} forgotten ...")
        )


def _tell(done: dict[str, Any], acknowledged: bool, *, durable: bool, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        print_json({**done, "acknowledged": acknowledged})
    elif acknowledged:
        (what, which), *rest = done.items()
        named = ", ".join(which) if isinstance(which, list) else f"{what} {which}"
        console().print(
            f"{named}: forgotten" + "".join(f" ({count:,} {_keys(count)})" for _, count in rest), markup=False
        )
    if not acknowledged:
        who = "not every replica" if durable else "Redis did not"
        raise Failure(f"{who} acknowledge{'d' * durable} it: do it again, since nobody sends it later")


def _keys(count: int) -> str:
    return "key" if count == 1 else "keys"
