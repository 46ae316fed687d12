"""What the environment says of the API (``contract.Env``), as a Deployment sets it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cacheclient.api.authentication import Administrators
from cacheclient.api.rates import DEFAULT
from cacheclient.api.tokens import Tokens
from cacheclient.api.web_tokens import DEFAULT_ALGORITHMS, JwtRules
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.gcra import Limit


def administrators(environ: Mapping[str, str] | None = None) -> Administrators:
    """Return who may change things: nobody where the environment names no tokens and no keys.

    Raises:
        ConfigurationError: if what it names cannot be used.
    """
    environ = os.environ if environ is None else environ
    tokens, keys = environ.get(Env.ADMIN_TOKEN_FILE), environ.get(Env.JWT_KEYS_FILE)
    if not keys:
        return Administrators(Tokens(tokens) if tokens else None)
    missing = [name.value for name in (Env.JWT_AUDIENCE, Env.JWT_ISSUER) if not environ.get(name)]
    if missing:
        raise ConfigurationError(f"{missing[0]}: the environment does not set it, but {Env.JWT_KEYS_FILE.value}")
    given = environ.get(Env.JWT_ALGORITHMS, "").replace(" ", "")
    rules = JwtRules(
        keys=keys,
        audience=environ[Env.JWT_AUDIENCE],
        issuer=environ[Env.JWT_ISSUER],
        scope=environ.get(Env.JWT_SCOPE, ""),
        algorithms=tuple(given.split(",")) if given else DEFAULT_ALGORITHMS,
    )
    return Administrators(Tokens(tokens) if tokens else None, rules)


def limit(environ: Mapping[str, str] | None = None) -> Limit | None:
    """Return how often each client may ask: ``COUNT/SECONDS``, or ``COUNT/SECONDS/BURST``; 0: as often as it likes.

    Raises:
        ConfigurationError: if that is not what the environment says.
    """
    given = (os.environ if environ is None else environ).get(Env.API_LIMIT)
    if given is None:
        return DEFAULT
    if given == "0":
        return None
    try:
        count, seconds, *burst = given.split("/")
        return Limit(int(count), float(seconds), *map(int, burst))
    except (ValueError, TypeError) as error:
        what = f"{Env.API_LIMIT.value}={given!r}: COUNT/SECONDS or COUNT/SECONDS/BURST, such as 600/60/100, or 0"
        raise ConfigurationError(f"{what}: {error}") from error
