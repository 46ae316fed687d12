"""The options of a cache, from the classes that check them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from cacheclient import CacheOptions, ConfigurationError
from cacheclient.contract import Env
from handbook import attributes

_IMPOSSIBLE: Final = "nothing"  # is refused by every option, with what it allows


def reference() -> str:
    """Return a section for each group of options."""
    made = CacheOptions()
    variables = iter(made.to_env())
    lines: list[str] = []
    for group in dataclasses.fields(made):
        options = getattr(made, group.name)
        lines += [f"## {group.name}", "", attributes.summary(type(options)), ""]
        lines += [
            "| option | default | allowed | meaning |",
            "|---|---|---|---|",
            *_rows(group.name, options, variables),
            "",
        ]
    return "\n".join(lines)


def _rows(group: str, options: Any, variables: Iterator[str]) -> Iterator[str]:
    texts = attributes.of(type(options))
    for option in dataclasses.fields(options):
        default = getattr(options, option.name)
        variable = next(variables)
        name = f"`{group}.{option.name}`<br>`{variable}`"
        shown = f"{default:,}" if isinstance(default, int) and not isinstance(default, bool) else str(default)
        yield f"| {name} | {shown} | {_allowed(type(options), option.name)} | {attributes.cell(texts[option.name])} |"


def _allowed(options: type, name: str) -> str:
    """Return what an option allows, in the words with which it refuses everything else."""
    try:
        options(**{name: _IMPOSSIBLE})
    except ConfigurationError as refused:
        return str(refused).partition(f"{_IMPOSSIBLE!r}: ")[2]
    raise ValueError(f"{options.__name__}.{name} takes anything")


def variables() -> str:
    """Return the table of the other variables, which say which cache it is."""
    names = {
        Env.URL: "the URL of the cache; required",
        Env.NAMESPACE: "its namespace; required",
        Env.VERSION: "the version of its schema; 1 if it is not set",
        Env.CODEC: "the name of a codec: `msgpack`, `json` or `raw`",
        Env.USERNAME: "the Redis user, where the URL names none",
        Env.PASSWORD_FILE: "a file with its password, read for every connection",
        Env.SENTINEL_PASSWORD_FILE: "the same of the Sentinels",
        Env.CA_FILE: "with TLS: the certificates of the authority",
        Env.CERT_FILE: "a certificate of the client, where the servers ask for one",
        Env.KEY_FILE: "its key",
    }
    return "\n".join(
        ["| variable | what |", "|---|---|", *(f"| `{name.value}` | {text} |" for name, text in names.items())]
    )
