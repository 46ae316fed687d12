"""Kubernetes manifests of a stack without the Pulumi CLI and without a cluster: ``python -m infra.render STACK``.

The real program runs in this process, as the CLI would run it, and a recording monitor stands in place of the engine.
So the manifests cannot drift from what ``pulumi up`` applies. Everything runs in a context of its own: the SDK keeps
its state in context variables, and a failed run would otherwise make the next one wait for it for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import json
import os
import runpy
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pulumi
import yaml
from pulumi.runtime.config import set_all_config
from pulumi.runtime.mocks import MockEngine, MockSettings
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

from cacheclient.contract import APP_NAME
from infra import stack_files
from infra.recorder import Recorder, Registration, RenderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_HEADER: Final = "# Rendered by cachestack; not edited by hand: change the stack file and render again.\n"
_HELP: Final = """\
Write the Kubernetes manifests of a stack, ready for kubectl, without the Pulumi CLI and without a cluster.

  python -m infra.render dev                                write rendered/dev/*.yaml
  kubectl apply --server-side -f rendered/dev/              apply them; the names sort in the order of application
  python -m infra.credentials dev | kubectl create -f -     once: the passwords, unless the stack file holds them

A file of an earlier render that is no longer part of the stack is removed; other files in the folder stay.
Exit codes: 0 done; 1 with --check: the files differ from the stack; 2 the stack or its settings cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Everything a stack's program registered, sorted, and what it exports."""

    stack: str
    registrations: tuple[Registration, ...]
    outputs: dict[str, Any]

    @property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """The Kubernetes objects by file name, in the order of application."""
        return {r.file_name: r.properties for r in sorted(self.registrations, key=_file_order) if r.is_manifest}


def render(
    stack: str,
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    preview: bool = False,
) -> Rendered:
    """Run the program for a stack and return what it registers.

    Args:
        stack: the stack, as in ``Pulumi.<stack>.yaml``.
        overrides: settings that differ from the stack file, each as ``path.to.key=value``.
        values: plain settings by top-level key that replace those of the stack file, such as ``passwords``.
        preview: run as the engine previews, where no resource has outputs yet.

    Raises:
        RenderError: if the stack is unknown, its settings are unusable, two resources or objects have one name, or
            something that the program asks for is only to be had from a cluster.
    """
    try:
        settings = stack_files.read(stack) | dict(values or {})
        for assignment in overrides:
            stack_files.override(settings, assignment)
    except ValueError as error:
        raise RenderError(str(error)) from error
    recorder = Recorder(preview=preview)
    contextvars.copy_context().run(_run, stack, settings, recorder)
    recorder.refuse_faults()
    return Rendered(
        stack=stack,
        registrations=tuple(sorted(recorder.registrations, key=lambda r: r.urn)),
        outputs=recorder.outputs,
    )


def _file_order(registration: Registration) -> str:
    return registration.file_name if registration.is_manifest else ""


def _run(stack: str, settings: Mapping[str, Any], recorder: Recorder) -> None:
    configure(
        MockSettings(  # type: ignore[no-untyped-call]  # the SDK's is untyped
            monitor=recorder,
            engine=MockEngine(None),
            project=APP_NAME,
            stack=stack,
            dry_run=recorder.preview,
            organization=None,
            root_directory=str(stack_files.ROOT),
            callbacks=None,
            outputs=set(),
        )
    )
    set_all_config({f"{APP_NAME}:{key}": as_text(value) for key, value in settings.items()}, [])
    try:
        with _strict_outputs():
            asyncio.run(run_in_stack(_program))
    except pulumi.RunError as error:
        raise RenderError(str(error)) from error


def _program() -> None:
    runpy.run_path(str(Path(__file__).parent), run_name="__main__")


def as_text(value: object) -> str:
    """Return a setting as the engine hands it to a program: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _strict_outputs() -> Iterator[None]:
    """Make a text built from a value that is not known yet an error, not the text of a Python object."""
    name = "PULUMI_ERROR_OUTPUT_STRING"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def text(manifest: Mapping[str, Any]) -> str:
    """Return an object as YAML: what it is first, the rest sorted; texts of several lines as they read."""
    first = {key: manifest[key] for key in ("apiVersion", "kind", "metadata") if key in manifest}
    return _HEADER + yaml.dump(first | dict(manifest), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Block style for texts of several lines, so that a script in a ConfigMap can be read and reviewed."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the signature is PyYAML's
        return True


def _block(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _block)


def differences(rendered: Rendered, folder: Path) -> list[str]:
    """Return one line per file in ``folder`` that is missing, different or no longer part of the stack."""
    wanted = {name: text(manifest) for name, manifest in rendered.manifests.items()}
    present = {name: (folder / name).read_text(encoding="utf-8") for name in _ours(folder)}
    changed = [f"{name}: differs" for name in wanted.keys() & present.keys() if wanted[name] != present[name]]
    missing = [f"{name}: missing" for name in wanted.keys() - present.keys()]
    stale = [f"{name}: not part of the stack" for name in present.keys() - wanted.keys()]
    return sorted(changed + missing + stale)


def write(rendered: Rendered, folder: Path) -> None:
    """Write the manifests into ``folder``; those of an earlier render that left the stack are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ours(folder) - rendered.manifests.keys():
        (folder / name).unlink()
    for name, manifest in rendered.manifests.items():
        (folder / name).write_text(text(manifest), encoding="utf-8")


def _ours(folder: Path) -> set[str]:
    """Return the names of the files in ``folder`` that a render wrote; nobody else's file is touched."""
    return {path.name for path in folder.glob("*.yaml") if path.read_text(encoding="utf-8").startswith(_HEADER)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; errors are printed, never raised."""
    options = _parser().parse_args(arguments)
    folder = options.out or Path("rendered") / options.stack
    try:
        rendered = render(options.stack, overrides=options.overrides)
        if options.check:
            return _report(differences(rendered, folder), folder, options.stack)
        write(rendered, folder)
    except (RenderError, OSError) as error:
        sys.stderr.write(f"infra.render: {error}\n")
        return 2
    sys.stdout.write(_summary(rendered, folder))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "infra.render", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stack", metavar="STACK", help="the stack, as in Pulumi.STACK.yaml")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write to (default: rendered/STACK)")
    stack_files.add_overrides(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the folder differs")
    return parser


def _report(found: Sequence[str], folder: Path, stack: str) -> int:
    if not found:
        sys.stdout.write(f"{folder} holds stack {stack}\n")
        return 0
    sys.stdout.write("\n".join([f"{folder} differs from stack {stack}:", *found, ""]))
    return 1


def _summary(rendered: Rendered, folder: Path) -> str:
    stack = rendered.stack
    lines = [f"{len(rendered.manifests)} objects of stack {stack} in {folder}: kubectl apply --server-side -f {folder}"]
    if not any(manifest["kind"] == "Secret" for manifest in rendered.manifests.values()):
        name, namespace = rendered.outputs["secretName"], rendered.outputs["namespace"]
        lines.append(f"The pods wait for Secret {name} in namespace {namespace}. Once, if it does not exist:")
        lines.append(f"  python -m infra.credentials {stack} | kubectl create -f -")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    raise SystemExit(main())
