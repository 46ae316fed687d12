"""``cachestack handover``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cacheclient.cli.command import Failure
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode
from infra import handover as handing_over
from infra import settings, stack_files
from infra.handover import HandoverError, Target
from infra.handover_targets import KubectlHandover, LocalHandover
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.programs import STACK


def _stacks(incomplete: str) -> list[str]:
    return [name for name in (STACK, *stack_files.names()) if name.startswith(incomplete)]


def handover(
    stack: Annotated[
        str,
        typer.Argument(
            help="The stack, as in Pulumi.STACK.yaml, or local: the set of `make up`.", autocompletion=_stacks
        ),
    ],
    *,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that differs from the stack file; repeatable."),
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", "--yes", help="Do it; without, only the plan is told.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Let the master hand over to a replica, without losing a write.

    Writes pause for a second or two, until every connected replica has everything; then Sentinel promotes one, and
    clients follow. For maintenance of a node: its pod can be drained without that, since its stop hook does the same.
    Without --execute it is only told whether it can be done; exit code 1 if not.
    """
    try:
        target = _target(stack, overrides or [])
        planned = handing_over.survey(target)
        if not execute:
            _tell(planned, as_json=as_json)
            return ExitCode.FAILED if planned.problems else ExitCode.DONE
        done = handing_over.run(target, planned)
    except HandoverError as error:
        raise Failure(f"not handed over: {error}") from error
    except LocalError as error:
        raise Failure(str(error)) from error
    if as_json:
        print_json({"executed": True, **asdict(done)})
    else:
        console().print(f"{done.new} leads now, {done.old} follows it; {done.seconds:.1f} s")
    return ExitCode.DONE


def _tell(planned: handing_over.Plan, *, as_json: bool) -> None:
    if as_json:
        print_json({"executed": False, **asdict(planned)})
        return
    for line in planned.lines():
        console().print(line, markup=False)
    console().print("nothing was changed" + "; --execute does it" * (not planned.problems))


def _target(stack: str, overrides: list[str]) -> Target:
    if stack == STACK:
        if overrides:
            raise Failure("--set: the set of `make up` has no stack file whose settings could differ", ExitCode.USAGE)
        return LocalHandover(Environment.load())
    try:
        return KubectlHandover(settings.load(stack, overrides))
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
