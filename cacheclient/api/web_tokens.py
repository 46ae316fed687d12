"""JWTs as credentials of administrators: which are taken, and whose they are.

The keys are read again when their file changes, as a mounted Secret or ConfigMap does; nothing is fetched.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from cacheclient.api.problems import forbidden, unauthorized
from cacheclient.errors import ConfigurationError

# Those whose keys are pairs. With HS256 everybody who can verify can also sign.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
DEFAULT_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
_REQUIRED: Final = ("exp", "aud", "iss", "sub")
_PEM: Final = ""  # the id of the one key of a PEM file
_log = logging.getLogger("cacheclient")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtRules:
    """Which JWTs are taken; every one must expire, and say whose it is.

    Attributes:
        keys: a file with a JWKS, or with one public key (PEM).
        audience: whom the token must be for.
        issuer: who must have made it.
        algorithms: by which it may be signed, some of ``ALGORITHMS``.
        scope: a word that its claim ``scope`` must hold; empty: none.
        leeway: seconds by which clocks may differ.

    Raises:
        ConfigurationError: if one of them cannot be.
    """

    keys: str | Path
    audience: str
    issuer: str
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    scope: str = ""
    leeway: float = 10.0

    def __post_init__(self) -> None:
        if not self.audience or not self.issuer:
            raise ConfigurationError("jwt: an audience and an issuer are needed")
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise ConfigurationError(f"jwt algorithms {self.algorithms}: one or more of {', '.join(ALGORITHMS)}")
        self._read()

    def subject(self, token: str) -> str:
        """Return whom a token is about.

        Raises:
            Problem: 401 if it is not valid, 403 if it lacks the scope.
        """
        try:
            key = _chosen(self._read(), jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token, key, algorithms=self.algorithms, audience=self.audience, issuer=self.issuer, leeway=self.leeway,
                options={"require": list(_REQUIRED)},
            )  # fmt: skip
        except (jwt.PyJWTError, ConfigurationError, LookupError, TypeError, ValueError) as error:
            _log.info("cacheclient: a JWT was refused: %s", error)
            raise unauthorized() from None
        if self.scope and self.scope not in str(claims.get("scope", "")).split():
            raise forbidden()
        return str(claims["sub"])

    def _read(self) -> Mapping[str, Any]:
        try:
            known = _parsed(Path(self.keys).read_text(encoding="utf-8"), self.algorithms)
        except (OSError, ValueError, jwt.PyJWTError) as error:
            raise ConfigurationError(f"jwt keys {self.keys}: {error}") from error
        if not known:
            raise ConfigurationError(f"jwt keys {self.keys}: none is for {', '.join(self.algorithms)}")
        return known


@lru_cache(maxsize=8)
def _parsed(text: str, algorithms: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the public keys in the text of a file, by their ids."""
    if not text.lstrip().startswith("{"):
        return {_PEM: load_pem_public_key(text.encode())}
    found = jwt.PyJWKSet.from_dict(json.loads(text)).keys
    return {key.key_id or _PEM: key for key in found if key.algorithm_name in algorithms}


def _chosen(known: Mapping[str, Any], kid: str | None) -> Any:
    """Return the key that a token names; one that names none is for the only one there is."""
    if set(known) == {_PEM} or (kid is None and len(known) == 1):
        return next(iter(known.values()))
    return known[kid or _PEM]
