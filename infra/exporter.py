"""How redis_exporter reaches a server, as whom, and over TLS: the same in a pod and in the local environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cacheclient.contract import Port, RedisUser, TlsFile

if TYPE_CHECKING:
    from collections.abc import Iterable


def address(host: str, port: int, *, tls: bool, user: str = "") -> str:
    """Return a server's address as the exporter writes it."""
    return f"redis{'s' if tls else ''}://{user}{'@' if user else ''}{host}:{port}"


def exporter_address(port: Port, *, tls: bool) -> str:
    """Return the address by which a sidecar reaches its server; the certificate has to name 127.0.0.1."""
    return address("127.0.0.1", port.value, tls=tls)


def exporter_tls(folder: str) -> tuple[str, ...]:
    """Return the flags that make the exporter check the server's certificate and show its own where it is asked for."""
    return (
        *("-tls-ca-cert-file", f"{folder}/{TlsFile.AUTHORITY}"),
        *("-tls-client-cert-file", f"{folder}/{TlsFile.CERTIFICATE}"),
        *("-tls-client-key-file", f"{folder}/{TlsFile.KEY}"),
    )


def password_file(passwords: Iterable[tuple[str, int, str, str]]) -> str:
    """Return the exporter's password file, JSON from addresses to passwords: of (host, port, user, password).

    Version 1.45 looks for the plain address, later ones for the address with the user; with TLS it begins otherwise.
    """
    return json.dumps(
        {
            address(host, port, tls=tls, user=login): password
            for host, port, user, password in passwords
            for tls in (False, True)
            for login in ("", user)
        }
    )


def sidecar_passwords(exporter: str, sentinel: str) -> str:
    """Return the password file of the sidecars: that of the user exporter for Redis, and that of the Sentinels."""
    return password_file(
        [
            ("127.0.0.1", Port.REDIS.value, RedisUser.EXPORTER.value, exporter),
            ("127.0.0.1", Port.SENTINEL.value, "", sentinel),
        ]
    )
