"""``cachestack deploy``."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from cacheclient.cli.command import Failure
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode
from infra import clients, render, settings, stack_files
from infra.deploy import hit_rate, running, steps
from infra.deploy.actions import Deployment
from infra.deploy.running import Done, Report
from infra.deploy.steps import Name, Step, Way
from infra.jobs.progress import say
from infra.recorder import RenderError

_STYLES: Final = {"done": "green", "left out": "dim", "failed": "bold red", "planned": "cyan"}


def _stacks(incomplete: str) -> list[str]:
    return [name for name in stack_files.names() if name.startswith(incomplete)]


def deploy(
    stack: Annotated[str, typer.Argument(help="The stack, as in Pulumi.STACK.yaml.", autocompletion=_stacks)],
    *,
    way: Annotated[
        Way | None,
        typer.Option("--with", help="How objects get there.", show_default="pulumi where it is on PATH, else kubectl"),
    ] = None,
    first: Annotated[Name, typer.Option("--from", metavar="STEP", help="Begin at this step.")] = Name.PREFLIGHT,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that differs from the stack file; repeatable."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How long one step waits for pods, lookups or a job.")
    ] = 600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, say what would be done, change nothing.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Deploy an environment; then measure its hit rate and warm the cache.

    The steps, each of which --from can begin with: preflight, namespace, secrets, redis, ready, monitoring,
    application, hit-rate, prewarm. It stops at the first that fails and says why, how to mend it, and how to go on.
    What is there already stays as it is, so the same command may be run again at any time.
    """
    chosen = way or (Way.PULUMI if shutil.which("pulumi") else Way.KUBECTL)
    given = overrides or []
    if given and chosen is Way.PULUMI:
        raise Failure("--set: Pulumi reads the stack file alone; use pulumi config set --path", ExitCode.USAGE)
    deployment = _read(stack, given, chosen, timeout)
    plan = steps.plan(deployment.settings, deployment.manifests, chosen, first)
    out = console(stderr=as_json)
    report = _dry(deployment, plan, out) if dry_run else running.run(deployment, plan, lambda d: _tell(out, d), say)
    resume = _resume(stack, chosen, given, report, dry_run=dry_run)
    if as_json:
        print_json(_data(deployment, report, resume, dry_run=dry_run))
    else:
        out.print(Text(_end(deployment, report, resume, dry_run=dry_run)))
    return ExitCode.FAILED if report.failed else ExitCode.DONE


def _read(stack: str, overrides: list[str], way: Way, seconds: float) -> Deployment:
    """Return the stack as it is to be.

    Raises:
        Failure: with every fault of its settings.
    """
    try:
        found = settings.load(stack, overrides)
        rendered = render.render(stack, overrides=overrides)
    except (ValueError, RenderError) as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    return Deployment(stack=stack, settings=found, manifests=rendered.manifests, way=way, seconds=seconds)


def _dry(deployment: Deployment, plan: tuple[Step, ...], out: Console) -> Report:
    """Look, which changes nothing, and say what would be done."""
    report = running.run(deployment, plan[:1], lambda done: _tell(out, done), say)
    for step in plan[1:]:
        state: running.State = "left out" if step.left_out else "planned"
        report.steps.append(Done(step=step.name, state=state, said=step.left_out or step.does))
        _tell(out, report.steps[-1])
    return report


def _tell(out: Console, done: Done) -> None:
    took = f" ({done.seconds:.0f} s)" if done.state == "done" else ""
    out.print(Text.assemble(f"{done.step:<12}", (f"{done.state:<9}", _STYLES[done.state]), f"{done.said}{took}"))


def _resume(stack: str, way: Way, overrides: list[str], report: Report, *, dry_run: bool) -> str:
    """Return the command that goes on; what is mended in the stack file is applied before it is waited for again."""
    if report.failed is None:
        return ""
    first = Name.REDIS if report.failed.step is Name.READY else report.failed.step
    given = [word for setting in overrides for word in ("--set", setting)]
    own = sys.argv[0]  # `make deploy` runs it from the virtual environment, which is not on PATH
    command = own if Path(own).name == "cachestack" and not shutil.which("cachestack") else "cachestack"
    looking = ["--dry-run"] if dry_run else []
    return shlex.join([command, "deploy", stack, "--with", way, "--from", first, *given, *looking])


def _end(deployment: Deployment, report: Report, resume: str, *, dry_run: bool) -> str:
    if report.failed:
        return f"Stopped at {report.failed.step}. When it is mended, go on with\n  {resume}"
    if dry_run:
        return "Nothing was changed."
    seen = report.measured
    rate = f"hit rate {seen.rate:.1%} of {seen.lookups:,} lookups" if seen else "no hit rate was measured"
    warmed = next((done for done in report.steps if done.step is Name.PREWARM and done.state == "done"), None)
    took = sum(done.seconds for done in report.steps)
    return (
        f"{_clients(deployment)}\n{deployment.stack} is deployed, by {deployment.way} in {took:.0f} s; {rate}; "
        f"{f'pre-warmed: {warmed.said}' if warmed else 'not pre-warmed'}"
    )


def _clients(deployment: Deployment) -> str:
    """Return what an application needs to use the cache, and who is let in."""
    given = deployment.settings
    allowed = ", ".join(given.network.client_namespaces) or "no namespace yet: network.clientNamespaces"
    url = clients.url(deployment.stack, given)
    return f"clients     {url}, passwords in Secret {given.secret_name}; from {allowed}"


def _data(deployment: Deployment, report: Report, resume: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "stack": deployment.stack,
        "with": deployment.way,
        "dry_run": dry_run,
        "ok": report.failed is None,
        "steps": [asdict(done) for done in report.steps],
        "measured": hit_rate.as_data(report.measured) if report.measured else None,
        "resume": resume or None,
        "client_environment": clients.environment(deployment.stack, deployment.settings),
    }
