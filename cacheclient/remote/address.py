"""Cache URLs: which Redis, how it is found, as whom. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from cacheclient.contract import Port
from cacheclient.errors import ConfigurationError

SCHEMES: Final = (
    "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster", "memory",
)  # fmt: skip
# A name, an IPv4 address, or an IPv6 address in brackets; and a port.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w.-]+)(:\d*)?")


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port`` as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the authorities to trust, and the certificate with its key that this client shows when asked."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed cache URL, and the files beside it. Secrets stay out of the repr.

    A password that came from a file is read anew for every connection (``fresh``).
    """

    scheme: str
    nodes: tuple[Address, ...] = ()
    set_name: str = ""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    password_file: Path | None = None
    sentinel_password_file: Path | None = None
    tls_files: TlsFiles | None = None

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def sentinel(self) -> bool:
        """Whether the nodes are Sentinels."""
        return self.scheme.endswith("+sentinel")

    @property
    def cluster(self) -> bool:
        """Whether the nodes are some of a Redis Cluster."""
        return self.scheme.endswith("+cluster")


def parse(
    url: str, *, username: str | None = None, password: str | None = None, sentinel_password: str | None = None
) -> Target:
    """Return the target that ``url`` names; the arguments win over what the URL says.

    Forms: ``redis://[user[:password]@]host[:port][/database]``, ``redis+sentinel://[user[:password]@]s-0[:port],s-1,.../set``,
    ``redis+cluster://[user[:password]@]host[:port],host,...`` (some nodes of a Redis Cluster; the others are found),
    the same with ``rediss`` for TLS, and ``memory://`` (no Redis).

    Raises:
        ConfigurationError: for anything else; the text never repeats a password.
    """
    parts = _split(url)
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(f"url scheme {parts.scheme!r}: one of {', '.join(SCHEMES)}")
    if parts.fragment or parts.query or "@" in parts.path:
        raise ConfigurationError(
            "url: options belong in CacheOptions, not behind ? or #; in a password write %3F, %23, %2F"
        )
    if parts.scheme == "memory":
        if parts.netloc or parts.path.strip("/"):
            raise ConfigurationError("url memory:// takes no host and no path")
        return Target(scheme=parts.scheme)
    user, secret, hosts = _credentials(parts)
    sentinel = parts.scheme.endswith("+sentinel")
    path = parts.path.removeprefix("/")
    return Target(
        scheme=parts.scheme,
        nodes=tuple(_address(host, Port.SENTINEL if sentinel else Port.REDIS) for host in hosts),
        set_name=_set_name(path) if sentinel else "",
        database=0 if sentinel else _database(path, parts.scheme),
        username=user if username is None else username,
        password=secret if password is None else password,
        sentinel_password=sentinel_password or "",
    )


def read_secret(path: str | Path) -> str:
    """Return the password in a file, without the line end.

    Raises:
        ConfigurationError: if the file cannot be read or is empty.
    """
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"password file {path}: {error}") from error
    if not secret:
        raise ConfigurationError(f"password file {path}: is empty")
    return secret


def fresh(known: str, path: Path | None) -> str:
    """Return the password now: the file's, so that a rotation needs no restart, or ``known`` without a usable file."""
    if path is None:
        return known
    try:
        return read_secret(path)
    except ConfigurationError:  # it was usable once; Kubernetes may be replacing it
        return known


def _split(url: str) -> SplitResult:
    if any(character <= " " or character == "\x7f" for character in url):  # urlsplit would leave some of them out
        raise ConfigurationError("url: a space or a control character; in a password write %20 and the like")
    try:
        return urlsplit(url)
    except ValueError:  # its text may repeat the URL
        raise ConfigurationError("url: not a URL; an IPv6 address needs brackets, as in redis://[::1]:6379") from None


def _credentials(parts: SplitResult) -> tuple[str, str, list[str]]:
    given, _, hosts = parts.netloc.rpartition("@")
    user, _, secret = given.partition(":")
    if "," in given and "@" in given:  # or the hosts before the last @ would be taken for a part of the password
        raise ConfigurationError("url: one user and password, before the first host; in a password write %40 and %2C")
    names = [host for host in hosts.split(",") if host]
    if not names or len(names) != hosts.count(",") + 1:
        raise ConfigurationError(f"url {parts.scheme}://...: at least one host, separated by single commas")
    if len(names) > 1 and "+" not in parts.scheme:
        raise ConfigurationError(
            f"url {parts.scheme}://...: one host; several are for redis+sentinel:// and redis+cluster://"
        )
    return unquote(user), unquote(secret), names


def _address(text: str, default_port: int) -> Address:
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port
    except ValueError:
        host, port = None, None
    # What was given is not repeated: it is a password if the user forgot the @.
    if not host or port == 0 or not _HOST.fullmatch(text):
        raise ConfigurationError("url: each host is a name, or name:port with a port from 1 to 65535")
    return Address(host, port or default_port)


def _set_name(path: str) -> str:
    if not path or "/" in path:
        raise ConfigurationError(
            "url redis+sentinel://...: the path is the name of the Sentinel set, as in /cache-prod"
        )
    return unquote(path)


def _database(path: str, scheme: str) -> int:
    if not path:
        return 0
    if scheme.endswith("+cluster"):
        raise ConfigurationError(f"url {scheme}://...: no path; a Redis Cluster has one database, which has no number")
    if not path.isascii() or not path.isdigit():
        raise ConfigurationError(f"url database {path!r}: a whole number from 0")
    return int(path)
