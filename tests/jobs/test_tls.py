"""Backup, drill and restore of a set that speaks TLS only, as production does: with real processes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from infra.certificates import generate
from infra.jobs import backing_up, drill, fetching, restoring
from infra.jobs.errors import JobError
from infra.jobs.local_set import LocalSet, redis_set
from infra.local import binaries, launch
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.state import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Job

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A set without a port in clear text, in place of the other tests'."""
    places = Places(tmp_path_factory.mktemp("encrypted"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "api_is_installed", lambda: False)
        try:
            found = dataclasses.replace(binaries.find(), exporter=None, prometheus=None)
            binaries.require_tls(found)
        except LocalError as error:
            pytest.skip(str(error))
        try:
            launch.up(places, found, 3.0, print, tls=True)
            yield Environment(places)
        finally:
            launch.down(places, keep_data=False)


def test_a_backup_is_taken_drilled_and_restored_over_tls(
    local: Environment, job: Job, tell: Callable[..., None], ask: Callable[..., str], tmp_path: Path
) -> None:
    tell(("SET", "timed", "1", "EX", "5000"), ("SET", "plain", "2"))
    expires = ask("PEXPIRETIME", "timed")
    options, store = job()
    done = backing_up.back_up(redis_set(local), store, options, kind="manual")
    assert (done.backup.source_role, done.warnings) == ("replica", ())  # the master took the time of the success
    snapshot = fetching.fetch(store, options, done.backup, redis_set(local).tools, tmp_path)
    drill.load(snapshot, done.backup, redis_set(local).tools, tmp_path)
    tell(("DEL", "timed"), ("SET", "later", "3"))
    folder = tmp_path / "work"
    folder.mkdir()
    target = LocalSet(local, store, options, folder)
    restored = restoring.execute(target, restoring.plan(target, done.backup.object_key), force=True, safety=True)
    assert restored.safety_backup
    assert (ask("PEXPIRETIME", "timed"), ask("EXISTS", "later")) == (expires, "0")


def test_neither_clear_text_nor_a_server_of_another_authority_is_used(
    local: Environment, job: Job, tmp_path: Path
) -> None:
    options, store = job()
    for name, text in generate(["localhost"]).items():
        (tmp_path / name).write_text(text)
    for tls in (None, tmp_path):
        distrusted = dataclasses.replace(redis_set(local), tls=tls)
        with pytest.raises(JobError, match="agree on no master"):
            backing_up.back_up(distrusted, store, options, kind="manual")
    assert not list(store.listing(options.folder.path))
