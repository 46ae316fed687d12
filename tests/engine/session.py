"""One project under the real engine: a folder with our Pulumi.yaml, a stack file to edit, and the test provider."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation

from cacheclient.contract import APP_NAME
from infra import program, stack_files
from tests.engine.provider import Backend, Memory, Provider, serving

Program = Callable[[], None]


@dataclass(frozen=True)
class Step:
    """What the engine did, or would do, with one resource."""

    operation: str
    urn: str
    inputs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Type and logical name."""
        return "::".join(self.urn.split("::")[2:])


@dataclass
class Session:
    """A stack under the engine. ``program`` is what it runs; a test may exchange it."""

    stack: automation.Stack
    folder: Path
    provider: Provider
    program: Program = program.deploy

    @property
    def file(self) -> Path:
        """The stack file."""
        return self.folder / f"Pulumi.{self.stack.name}.yaml"

    def set(self, path: str, value: Any) -> None:
        """Edit the stack file as a person does; the path is that of a setting, such as ``redis.maxClients``."""
        document = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        *groups, key = path.split(".")
        place = document["config"]
        for depth, group in enumerate(groups):
            place = place.setdefault(group if depth else f"{APP_NAME}:{group}", {})
        place[key if groups else f"{APP_NAME}:{key}"] = value
        self.file.write_text(yaml.safe_dump(document), encoding="utf-8")

    def preview(self) -> list[Step]:
        """Return what an update would do."""
        return self._steps(lambda on_event: self.stack.preview(on_event=on_event, program=self.program))

    def up(self) -> list[Step]:
        """Update, and return what was done."""
        return self._steps(lambda on_event: self.stack.up(on_event=on_event, program=self.program))

    def destroy(self) -> list[Step]:
        """Destroy everything, and return what was done."""
        return self._steps(lambda on_event: self.stack.destroy(on_event=on_event))

    def _steps(self, run: Callable[[Callable[[Any], None]], Any]) -> list[Step]:
        steps: list[Step] = []

        def on_event(event: Any) -> None:
            if event.resource_pre_event is not None:
                data = event.resource_pre_event.metadata
                state = data.new or data.old
                steps.append(Step(str(data.op.value), data.urn, state.inputs if state else {}))

        with warnings.catch_warnings():
            # The SDK leaves the event loops of its threads to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            run(on_event)
            gc.collect()
        return steps


@contextmanager
def session(stack: str, folder: Path, backend: Backend | None = None) -> Iterator[Session]:
    """Set a stack up as in a checkout, with a state of its own; nothing is created yet."""
    shutil.copy(stack_files.ROOT / "Pulumi.yaml", folder)
    shutil.copy(stack_files.ROOT / f"Pulumi.{stack}.yaml", folder)
    (folder / "infra").symlink_to(stack_files.ROOT / "infra")
    (folder / "state").mkdir()
    provider = Provider(backend or Memory())
    with serving(provider) as port:
        environment = {
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_DEBUG_PROVIDERS": f"kubernetes:{port}",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        options = automation.LocalWorkspaceOptions(work_dir=str(folder), env_vars=environment)
        made = automation.create_stack(stack, project_name=APP_NAME, program=program.deploy, opts=options)
        yield Session(made, folder, provider)
