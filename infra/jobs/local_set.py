"""The set of ``make up`` as the target of a restore: real processes on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cacheclient.contract import RESTORE_MARK, BackupKey, RedisUser
from infra.jobs import backing_up, catalogue, data_dir, fetching
from infra.jobs.errors import CorruptBackupError, JobError
from infra.jobs.fetching import Verdict
from infra.jobs.manifest import Manifest
from infra.jobs.options import JobOptions
from infra.jobs.redis_set import RedisSet
from infra.jobs.restoring import Survey
from infra.jobs.storage import ObjectStore
from infra.local import process, readiness
from infra.local.control import Environment
from infra.local.errors import LocalError

READY_SECONDS: Final = 240.0


class LocalSet:
    """Restores the set of a local environment. ``workspace`` keeps the backup between its check and its use."""

    def __init__(self, environment: Environment, store: ObjectStore, options: JobOptions, workspace: Path) -> None:
        state = environment.state
        self._env, self._store, self._options, self._workspace = environment, store, options, workspace
        self.name = f"{state.set_name} in {environment.places.root}"
        self._nodes = [found.name for found in state.of_kind("redis")]
        self._sentinels = [found.name for found in state.of_kind("sentinel")]
        self._set = redis_set(environment)
        self._fetched: tuple[str, Path] | None = None

    def survey(self) -> Survey:
        """Ask every node how many keys it has; nodes that do not answer are left out."""
        nodes = dict(zip(self._nodes, self._set.nodes(), strict=True))
        begun = self._env.places.restore.exists()
        return Survey({name: found.keys for name, found in nodes.items() if found.answered}, resumable=begun)

    def backups(self) -> Sequence[Manifest]:
        """List the backups there are."""
        return catalogue.read(self._store, self._options.folder).backups

    def verify(self, backup: Manifest) -> Verdict:
        """Fetch a backup and check it; a whole one is kept for :meth:`write`."""
        try:
            path = fetching.fetch(self._store, self._options, backup, self._set.tools, self._workspace)
        except CorruptBackupError as error:
            return Verdict(backup, str(error))
        kept = self._workspace / "chosen.rdb"
        self._fetched = (backup.object_key, path.replace(kept))
        return Verdict(backup, "")

    def back_up(self) -> str:
        """Take a safety backup and return its object key."""
        done = backing_up.back_up(self._set, self._store, self._options, kind="safety", allow_master=True)
        return done.backup.object_key

    def stop(self, restore_id: str) -> None:
        """Stop the Sentinels, then the nodes; without handover, since no node is to take over."""
        del restore_id
        self._env.places.restore.mkdir(mode=0o700, exist_ok=True)
        self._env.end(*self._sentinels)
        self._env.end(*self._nodes)

    def write(self, backup: Manifest, restore_id: str) -> None:
        """Put the backup on the first node's disk."""
        if self._fetched is None or self._fetched[0] != backup.object_key:
            self.verify(backup)
        if self._fetched is None:
            raise JobError(f"{backup.object_key} could not be fetched again")
        data_dir.write(self._env.places.data / self._nodes[0], self._fetched[1], restore_id)

    def start(self, restore_id: str) -> None:
        """Mark the restore, then start the first node, the others, and the Sentinels."""
        places, first = self._env.places, self._nodes[0]
        mark = places.restore / RESTORE_MARK
        new = mark.with_name("mark.new")
        new.write_text(f"{restore_id} {self._env.redis_nodes[first][0]}\n", encoding="ascii")
        new.replace(mark)
        for group in ([first], self._nodes[1:], self._sentinels):
            for name in group:
                self._env.start(name)
            self._await(group)
        if not process.wait_until(lambda: readiness.is_whole(places, self._env.state), READY_SECONDS, poll=0.1):
            raise JobError("the Sentinels do not see the whole set; `make logs` tells why")

    def _await(self, names: Sequence[str]) -> None:
        def ready() -> bool:
            if ended := [dead for dead in self._env.dead() if dead.name in names]:
                raise JobError(f"{ended[0].name} has ended: {ended[0].reason}")
            return all(map(self._env.ready, names))

        if not process.wait_until(ready, READY_SECONDS, poll=0.1):
            raise JobError(
                f"not ready within {READY_SECONDS:g} s: {', '.join(n for n in names if not self._env.ready(n))}"
            )

    def finish(self, backup: Manifest) -> int:
        """Take the mark away, tell the alerts of the newest backup, and return the keys that the master had before."""
        del backup
        shutil.rmtree(self._env.places.restore, ignore_errors=True)
        keys = self._set.node(self._set.master()).keys
        newest = self.backups()[-1]
        self._set.publish(BackupKey.LAST_SUCCESS, str(int(newest.finished.timestamp())))
        return keys


def redis_set(environment: Environment) -> RedisSet:
    """Return a local environment's set as the jobs see it: its nodes' own environment variables say where it is."""
    first = environment.state.of_kind("redis")[0]
    if not (environment.secret_dir / RedisUser.BACKUP).exists() or "REDIS_CHECK_RDB" not in first.environment:
        raise LocalError("this environment was started by an older version: `make down`, then `make up`")
    return RedisSet.of(first.environment)
