"""Certificates for a set where there is no cert-manager: an authority of its own, and one certificate for all pods.

The key of the authority is thrown away: a new certificate comes with a new authority. To replace both without an outage
see docs/security.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import sys
from typing import TYPE_CHECKING, Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cacheclient.contract import Component, TlsFile
from infra import settings, stack_files
from infra.topology import host, redis_hosts, sentinel_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAYS: Final = 365
_VOUCHES: Final = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
_HELP: Final = """\
Make a TLS certificate for a stack's Redis and Sentinel pods, and an authority that vouches for it; print the Secret.

  python -m infra.certificates dev | kubectl apply --server-side -f -
  then in Pulumi.dev.yaml:  cachestack:tls: {enabled: true}

With cert-manager let it make the Secret instead; --names prints what the certificate has to name. Running servers keep
the certificate they started with: give tls.version another value after a change, and the pods restart one by one."""


def names(stack: settings.Settings) -> tuple[str, ...]:
    """Return what the certificate has to name: every announced name, first contact, and the pods' own loopback."""
    first = host(Component.SENTINEL.value, stack.namespace)
    return (*redis_hosts(stack), *sentinel_hosts(stack), first, "localhost", "127.0.0.1")


def generate(subjects: Iterable[str], *, days: int = DAYS) -> dict[str, str]:
    """Return the files of a TLS Secret (``contract.TlsFile``): names and addresses of ``subjects``, ECDSA P-256."""
    now = dt.datetime.now(dt.UTC)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cachestack authority")])

    def certificate(name: x509.Name, holder: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(issuer_name=authority_name, subject_name=name, public_key=holder.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        # An hour back: clocks of nodes differ.
        builder = builder.not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=days))
        own = x509.SubjectKeyIdentifier.from_public_key(holder.public_key())
        return builder.add_extension(own, critical=False)

    authority = certificate(authority_name, authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    authority = authority.add_extension(_VOUCHES, critical=True)
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # nodes connect to each other
    server = certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cachestack")]), key)
    server = server.add_extension(x509.SubjectAlternativeName([_general(name) for name in subjects]), critical=False)
    server = server.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    # Python 3.13 and newer refuse a certificate that does not say whose key signed it.
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    server = server.add_extension(signed_by, critical=False)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        TlsFile.CERTIFICATE.value: server.sign(authority_key, SHA256()).public_bytes(Encoding.PEM).decode(),
        TlsFile.KEY.value: private.decode(),
        TlsFile.AUTHORITY.value: authority.sign(authority_key, SHA256()).public_bytes(Encoding.PEM).decode(),
    }


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def secret_manifest(name: str, namespace: str, files: dict[str, str]) -> dict[str, Any]:
    """Return the Secret as a Kubernetes object."""
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "stringData": files,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, or 2 where the stack's settings cannot be used."""
    parser = argparse.ArgumentParser(
        "infra.certificates", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stack", metavar="STACK", help="the stack, as in Pulumi.STACK.yaml")
    parser.add_argument("--days", type=_days, default=DAYS, help=f"how long it is valid (default: {DAYS})")
    stack_files.add_overrides(parser)
    parser.add_argument("--names", action="store_true", help="only print the names, one a line")
    options = parser.parse_args(arguments)
    try:
        stack = settings.load(options.stack, options.overrides)
    except ValueError as error:
        sys.stderr.write(f"infra.certificates: {error}\n")
        return 2
    if options.names:
        sys.stdout.write("\n".join(names(stack)) + "\n")
    else:
        files = generate(names(stack), days=options.days)
        sys.stdout.write(yaml.safe_dump(secret_manifest(stack.tls.secret_name, stack.namespace, files)))
    return 0


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
