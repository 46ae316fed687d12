"""Commands over an open cache: the options that say which one, and its errors as one line each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Annotated, Any, Final, get_type_hints

import typer

from cacheclient.cache import AsyncCache
from cacheclient.cli.command import Failure
from cacheclient.contract import Env, ExitCode
from cacheclient.errors import CacheError, ConfigurationError, LockTimeoutError, UnavailableError

PANEL: Final = "Which cache"
"""The heading of the options that say it."""
_OPTIONS: Final[Mapping[str, tuple[Env, str]]] = {
    "url": (
        Env.URL,
        "redis://HOST, redis+sentinel://USER@HOST,HOST,HOST/SET, redis+cluster://HOST,HOST; rediss for TLS.",
    ),
    "namespace": (Env.NAMESPACE, "The namespace of the keys."),
    "version": (Env.VERSION, "The version of their schema, 1 unless said otherwise."),
    "codec": (Env.CODEC, "How values are encoded: msgpack (unless said otherwise), json, raw."),
    "username": (Env.USERNAME, "The Redis user, if the URL names none."),
    "password_file": (Env.PASSWORD_FILE, "A file with its password."),
    "sentinel_password_file": (Env.SENTINEL_PASSWORD_FILE, "A file with the password of the Sentinels."),
    "ca_file": (Env.CA_FILE, "The authorities to trust instead of the machine's (PEM)."),
    "cert_file": (Env.CERT_FILE, "The certificate to show (PEM)."),
    "key_file": (Env.KEY_FILE, "Its key (PEM)."),
}
# A person waits longer than a request of an application, and stands farther from Redis.
PATIENT: Final[Mapping[str, str]] = {f"{Env.OPTION_PREFIX}L2_TIMEOUT": "2.0"}


def connected(
    *, defaults: Mapping[str, str] = PATIENT, instead: tuple[str, Callable[..., int]] | None = None
) -> Callable[[Callable[..., Coroutine[Any, Any, int]]], Callable[..., int]]:
    """Give a command, whose first parameter is the open cache, the options that say which one instead.

    Args:
        defaults: variables that hold where the environment does not set them.
        instead: an option that says that no cache is to be opened, and what to call with the others then.
    """

    def decorate(command: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., int]:
        @functools.wraps(command)
        def run(**given: Any) -> int:
            environ = {**defaults, **os.environ, **_variables(given)}
            if instead is not None and given[instead[0]] is not None:
                return instead[1](**given)
            return asyncio.run(_run(command, environ, given))

        hints = get_type_hints(command, include_extras=True)
        _, *own = inspect.signature(command).parameters.values()
        own = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
        parameters = [*own, *(_parameter(name) for name in _OPTIONS)]
        # What typer reads, instead of the signature of the function that is wrapped.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del run.__wrapped__
        return run

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    variable, text = _OPTIONS[name]
    option = typer.Option(envvar=variable.value, help=text, rich_help_panel=PANEL, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _variables(given: dict[str, Any]) -> dict[str, str]:
    """Take the options of the cache out of ``given``, as the environment has them."""
    values = {variable.value: given.pop(name) for name, (variable, _) in _OPTIONS.items()}
    return {variable: value for variable, value in values.items() if value is not None}


async def _run(
    command: Callable[..., Coroutine[Any, Any, int]], environ: Mapping[str, str], given: Mapping[str, Any]
) -> int:
    for name in ("url", "namespace"):
        if not environ.get(_OPTIONS[name][0]):
            raise Failure(f"--{name} or {_OPTIONS[name][0].value}: which cache?", ExitCode.USAGE)
    try:
        with _no_log():
            async with AsyncCache.from_env(environ) as cache:
                return await command(cache, **given)
    except ConfigurationError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    except LockTimeoutError as error:
        away = isinstance(error.__cause__, UnavailableError)  # then nobody knows whether anybody has it
        raise Failure(str(error), ExitCode.FAILED if away else ExitCode.BUSY) from error
    except CacheError as error:
        raise Failure(str(error)) from error


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """Keep the library's own warnings back: the command says what matters."""
    log = logging.getLogger("cacheclient")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
