"""``cachestack deploy --with pulumi`` with the real CLI: the namespace alone first, then everything, then nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2_grpc

from infra import program, stack_files
from infra.deploy import looking
from infra.deploy.steps import Name
from infra.deploy.ways import ByPulumi
from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl
from infra.render import render
from tests.engine.provider import Memory, identity
from tests.engine.session import Session, session

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

# The CLI asks its plug-in for Python to run the program. Where that is not to be had, it is told who else does.
WRAPPER = (
    '#!/bin/sh\n[ "$1" = up ] && set -- "$@" --client=127.0.0.1:{port} --exec-kind=auto.inline\nexec {pulumi} "$@"\n'
)


@contextmanager
def running_programs() -> Iterator[int]:
    """Serve the engine's protocol for languages with our program; gives the port."""
    server = grpc.server(ThreadPoolExecutor(4))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(program.deploy), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.fixture
def dev(engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:  # noqa: ARG001  it may skip
    """The stack dev, which the CLI on PATH knows and of which nothing is up."""
    pulumi, programs, folder = shutil.which("pulumi"), tmp_path / "bin", tmp_path / "stack"
    programs.mkdir()
    folder.mkdir()
    with session("dev", folder) as found, running_programs() as port:
        for name, text in {"pulumi": WRAPPER.format(port=port, pulumi=pulumi), "kubectl": "#!/bin/sh\n"}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        for name, value in found.stack.workspace.env_vars.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(stack_files, "ROOT", folder)
        yield found


def test_the_namespace_comes_alone_then_everything_then_nothing(dev: Session) -> None:
    rendered, said = render("dev"), list[str]()
    way = ByPulumi("dev", Kubectl("cache-dev", "nowhere"), rendered.manifests, said.append)
    backend = dev.provider.backend
    assert isinstance(backend, Memory)
    assert looking.knows_stack("dev")
    assert not looking.knows_stack("staging")
    way.namespace()  # kubectl finds nothing
    assert list(backend.objects) == ["Namespace /cache-dev"]
    way.redis()
    assert backend.objects == {identity(manifest): manifest for manifest in rendered.manifests.values()}
    dev.provider.forget()
    way.redis()
    assert dev.provider.calls == []
    with pytest.raises(JobError, match=r"not there after pulumi up: .*StatefulSet redis"):
        way.others(Name.REDIS)


def test_what_the_engine_refuses_is_the_reason(dev: Session) -> None:
    dev.set("redis.memroy", "1Gi")
    way = ByPulumi("dev", Kubectl("cache-dev", "nowhere"), {}, print)
    with pytest.raises(JobError, match=r"pulumi up ended with code [0-9]+:\n(.*\n)*.*redis.memroy: unknown key"):
        way.redis()
