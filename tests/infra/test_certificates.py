"""The certificates of a stack hold where they are looked at strictly, as Python does from 3.13 on."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from cacheclient.contract import TlsFile
from infra.certificates import generate

NAME = "redis-0.redis.cache-dev.svc"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return the folder of a certificate for ``NAME`` and for an address."""
    for name, text in generate([NAME, "127.0.0.1"], days=1).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Let a client and a server meet in memory.

    Raises:
        ssl.SSLCertVerificationError: if one of them does not trust the other.
    """
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there, server_hostname=name)
    asked = server.wrap_bio(there, back, server_side=True)
    open_ends = [asking, asked]
    while open_ends:
        end = open_ends.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            open_ends.append(end)


@pytest.mark.parametrize("name", [NAME, "127.0.0.1"])
def test_client_and_server_trust_each_other_strictly(files: Path, name: str) -> None:
    ends = []
    for purpose in (ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH):
        end = ssl.create_default_context(purpose, cafile=str(files / TlsFile.AUTHORITY.value))
        end.verify_mode, end.verify_flags = ssl.CERT_REQUIRED, end.verify_flags | ssl.VERIFY_X509_STRICT
        end.load_cert_chain(files / TlsFile.CERTIFICATE.value, files / TlsFile.KEY.value)
        ends.append(end)
    shake_hands(*ends, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*ends, "elsewhere")
