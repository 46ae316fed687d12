"""TLS towards Redis and the Sentinels: certificates are always checked, host names too."""

from __future__ import annotations

import ssl
from typing import Any

from cacheclient.errors import ConfigurationError
from cacheclient.remote.address import Target, TlsFiles


def context(target: Target) -> ssl.SSLContext | None:
    """Return the TLS context for connections to ``target``; None if its scheme is one in clear text.

    Raises:
        ConfigurationError: if TLS files are given without TLS, a key without a certificate, or a file cannot be used.
    """
    files = target.tls_files
    if not target.tls:
        if files is not None:
            raise ConfigurationError(f"ca_file, cert_file, key_file: url scheme {target.scheme!r} is in clear text")
        return None
    if files is None:
        return ssl.create_default_context()
    if files.key is not None and files.certificate is None:
        raise ConfigurationError("key_file: needs the cert_file that it belongs to")
    try:
        made = ssl.create_default_context(cafile=files.ca)
        if files.certificate is not None:
            made.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        given = ", ".join(str(path) for path in (files.ca, files.certificate, files.key) if path is not None)
        raise ConfigurationError(f"TLS files {given}: {error}") from error
    return made


def redis_py_options(files: TlsFiles | None) -> dict[str, Any]:
    """Return the same as arguments of redis-py, which asks the Sentinels."""
    named = {"ssl_ca_certs": files.ca, "ssl_certfile": files.certificate, "ssl_keyfile": files.key} if files else {}
    return {"ssl_check_hostname": True} | {name: str(path) for name, path in named.items() if path is not None}
