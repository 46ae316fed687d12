"""Putting the parts of a cache together: from a URL, from the environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacheclient.clock import Clock, Gate, ServerClock, boottime
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.keys import KeySpace
from cacheclient.listener import Listener
from cacheclient.options import CacheOptions
from cacheclient.remote import (
    FixedTopology,
    Link,
    Login,
    NoStore,
    RedisStore,
    SentinelTopology,
    Store,
    Target,
    parse,
    read_secret,
)  # fmt: skip
from cacheclient.stats import Stats


@dataclass(frozen=True, slots=True)
class Shared:
    """The shared side of a cache: L2 and what keeps L1 coherent with it. Without Redis: no link, no listener."""

    store: Store
    gate: Gate
    server_clock: ServerClock
    link: Link | None = None
    listener: Listener | None = None


def connect(
    target: Target,
    space: KeySpace,
    options: CacheOptions,
    stats: Stats,
    invalidated: Callable[[list[str] | None], None],
    clock: Clock = boottime,
) -> Shared:
    """Return the shared side for ``target``; nothing is opened yet."""
    if target.scheme == "memory":
        return Shared(NoStore(), Gate(), ServerClock(clock))
    login = Login(
        username=target.username, password=target.password, database=target.database,
        name=f"cachestack:{space.namespace}", ssl=ssl.create_default_context() if target.tls else None,
        connect_timeout=options.l2.connect_timeout, timeout=options.l2.timeout, max_batch=options.l2.max_batch,
    )  # fmt: skip
    topology = (
        SentinelTopology(target, options.l2.connect_timeout, options.sync.max_staleness)
        if target.sentinel
        else FixedTopology(target.nodes[0])
    )
    link = Link(topology, login, stats, clock)
    listener = Listener(
        login, space.prefix, options.sync.max_staleness, invalidated,
        stats=stats, clock=clock, server_clock=link.server_clock, tenure=link.tenure,
    )  # fmt: skip
    link.on_open(listener.follow)
    return Shared(RedisStore(link, stats, options.l2.timeout), listener.gate, link.server_clock, link, listener)


def target_of(
    url: str,
    username: str | None,
    password: str | None,
    password_file: str | Path | None,
    sentinel_password_file: str | Path | None,
) -> Target:
    """Return the target of ``url``, with secrets read from their files.

    Raises:
        ConfigurationError: if the URL or a file cannot be used, or a password is given twice.
    """
    if password is not None and password_file is not None:
        raise ConfigurationError("password and password_file: give one of them")
    return parse(
        url,
        username=username,
        password=read_secret(password_file) if password_file is not None else password,
        sentinel_password=read_secret(sentinel_password_file) if sentinel_password_file is not None else None,
    )


def environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the keyword arguments of ``from_url`` that the environment names (``contract.Env``).

    Raises:
        ConfigurationError: if CACHE_URL or CACHE_NAMESPACE is missing, or a value cannot be used.
    """
    environ = os.environ if environ is None else environ
    for required in (Env.URL, Env.NAMESPACE):
        if not environ.get(required):
            raise ConfigurationError(f"{required.value}: the environment does not set it")
    version = environ.get(Env.VERSION, "1")
    if not version.isascii() or not version.isdigit():
        raise ConfigurationError(f"{Env.VERSION.value}={version!r}: a whole number from 1")
    return {
        "url": environ[Env.URL],
        "namespace": environ[Env.NAMESPACE],
        "version": int(version),
        "username": environ.get(Env.USERNAME),
        "password_file": environ.get(Env.PASSWORD_FILE),
        "sentinel_password_file": environ.get(Env.SENTINEL_PASSWORD_FILE),
        "options": CacheOptions.from_env(environ),
    }
