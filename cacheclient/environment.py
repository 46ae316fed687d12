"""A cache in environment variables (``contract.Env``), there and back: what deployed pods are configured by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Unpack

from cacheclient.connect import Settings, target_of
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.keys import KeySpace
from cacheclient.options import CacheOptions

# Settings that a variable of their own holds. Passwords are not among them: the environment names files.
_TEXTS = {
    "codec": Env.CODEC,
    "username": Env.USERNAME,
    "password_file": Env.PASSWORD_FILE,
    "sentinel_password_file": Env.SENTINEL_PASSWORD_FILE,
    "ca_file": Env.CA_FILE,
    "cert_file": Env.CERT_FILE,
    "key_file": Env.KEY_FILE,
}


def environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the keyword arguments of ``from_url`` that the environment names.

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
        **{name: environ[variable] for name, variable in _TEXTS.items() if variable in environ},
        "options": CacheOptions.from_env(environ),
    }


def to_env(url: str, *, namespace: str, version: int = 1, **settings: Unpack[Settings]) -> dict[str, str]:
    """Return the variables from which ``from_env`` makes the cache that ``from_url`` makes of the same arguments.

    Raises:
        ConfigurationError: if they cannot work, or cannot be in an environment: a password, a codec that is an object.
    """
    target, made = target_of(url, settings)
    space = KeySpace(namespace, version)
    if settings.get("password") is not None or (target.password and settings.get("password_file") is None):
        raise ConfigurationError("password: environments are widely readable; give password_file instead")
    if settings.get("versions") is not None:
        raise ConfigurationError("versions: functions cannot be in an environment")
    if not isinstance(made["codec"], str):
        raise ConfigurationError(f"codec={made['codec']!r}: only the name of a codec can be in an environment")
    given = {variable: settings.get(name) for name, variable in _TEXTS.items()}
    return {
        Env.URL.value: url,
        Env.NAMESPACE.value: space.namespace,
        Env.VERSION.value: str(space.version),
        **{variable.value: str(value) for variable, value in given.items() if value is not None},
        **(settings.get("options") or CacheOptions()).to_env(),
    }
