"""The kinds of sources that a plan file may name: what each may be told, and how it is made.

Other packages add theirs by entry points of the group ``cachestack.warming``, each of which names a ``Kind``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cacheclient.batch import ManyLoader
from cacheclient.cache import AsyncCache
from cacheclient.errors import ConfigurationError
from cacheclient.named import function_named
from cacheclient.remote import read_secret
from cacheclient.warming.items import PLANS, Source
from cacheclient.warming.sources.files import FORMATS, Files
from cacheclient.warming.sources.http import Http
from cacheclient.warming.sources.records import Fields
from cacheclient.warming.sources.sql import Sql
from cacheclient.warming.sources.stream import Stream

GROUP: Final = "cachestack.warming"

Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}\Z", description="a-z, 0-9, _ and -, from a letter on, 63 at most")
]
Priority = Annotated[int, Meta(ge=0, le=1000, description="a whole number from 0 to 1000; the lowest is read first")]
SomePlans = Annotated[
    tuple[Annotated[str, Meta(pattern=rf"^({'|'.join(PLANS)})\Z")], ...],
    Meta(min_length=1, description=f"a list of {', '.join(PLANS)}"),
]
Seconds = Annotated[float, Meta(gt=0, le=86_400, description="seconds, above 0, up to 86400")]
SomeSeconds = Annotated[
    Annotated[float, Meta(gt=0)] | None, Meta(description="seconds, above 0; left out: the cache's own l2.ttl")
]
Text = Annotated[str, Meta(min_length=1, description="a text of at least one character")]
OptionalText = Annotated[str, Meta(description="a text, or empty")]
Texts = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(description="a list of texts")]
Template = Annotated[
    str, Meta(pattern=r"^[^{}]*\{\}[^{}]*\Z", description='a text with one {} in it, such as "user:{}"')
]
Loader = Annotated[
    str, Meta(pattern=r"^([\w.]+:\w+)?\Z", description="module:function of an async function of keys, or empty")
]
Format = Annotated[
    str, Meta(pattern=rf"^({'|'.join(FORMATS)})?\Z", description=f"{', '.join(FORMATS)}, or empty: by ending")
]
Url = Annotated[str, Meta(pattern=r"^https?://[^ ]+\Z", description="an http(s) URL")]
Headers = Annotated[dict[str, str], Meta(description="a table of headers and their texts")]
Entries = Annotated[int, Meta(ge=1, le=10_000_000, description="a whole number from 1 to 10000000")]


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every source may be told: see ``Source``, ``Fields``. ``load`` names the loader of keys without values."""

    name: Name
    priority: Priority = 1
    plans: SomePlans
    timeout: Seconds = 30.0
    key: Text = "key"
    key_template: Template = "{}"
    value: OptionalText = "value"
    ttl: SomeSeconds = None
    ttl_field: OptionalText = "ttl"
    tags: Texts = ()
    tags_field: OptionalText = "tags"
    load: Loader = ""

    def fields(self) -> Fields:
        """Return which fields are what."""
        return Fields(
            key=self.key, key_template=self.key_template, value=self.value, ttl=self.ttl_field, seconds=self.ttl,
            tags=self.tags, tags_field=self.tags_field,
        )  # fmt: skip

    def shared(self) -> dict[str, Any]:
        """Return what every source of ours is made with."""
        return {
            "name": self.name, "priority": self.priority, "plans": self.plans, "timeout": self.timeout,
            "fields": self.fields(), "load_many": loader(self.load) if self.load else None,
        }  # fmt: skip


class FileSettings(SourceSettings, frozen=True, kw_only=True):
    """See ``Files``."""

    path: Text
    format: Format = ""


class SqlSettings(SourceSettings, frozen=True, kw_only=True):
    """See ``Sql``. One of ``dsn`` and ``dsn_file``, a file that holds it."""

    dsn: OptionalText = ""
    dsn_file: OptionalText = ""
    query: Text
    load_query: OptionalText = ""


class HttpSettings(SourceSettings, frozen=True, kw_only=True):
    """See ``Http``. ``token_file`` holds a bearer token."""

    url: Url
    list_at: OptionalText = ""
    next_at: OptionalText = ""
    next_param: OptionalText = ""
    headers: Headers = {}
    token_file: OptionalText = ""


class StreamSettings(SourceSettings, frozen=True, kw_only=True):
    """See ``Stream``."""

    stream: Text
    limit: Entries = 100_000
    max_age: Seconds = 86_400.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: the type of its settings, and what makes one of them, for a cache.

    ``faults`` returns what is wrong with settings that are each allowed, as lines that begin with the name of a key.
    """

    settings: type[SourceSettings]
    make: Callable[[Any, AsyncCache[Any]], Source]
    faults: Callable[[Any], list[str]] = lambda _: []


def _files(told: FileSettings, _: AsyncCache[Any]) -> Source:
    return Files(path=told.path, format=told.format, **told.shared())


def _sql(told: SqlSettings, _: AsyncCache[Any]) -> Source:
    dsn = (lambda: read_secret(told.dsn_file)) if told.dsn_file else (lambda: told.dsn)
    return Sql(dsn=dsn, query=told.query, load_query=told.load_query, **told.shared())


def _http(told: HttpSettings, _: AsyncCache[Any]) -> Source:
    def headers() -> dict[str, str]:
        token = {"Authorization": f"Bearer {read_secret(told.token_file)}"} if told.token_file else {}
        return {**told.headers, **token}

    return Http(
        url=told.url, list_at=told.list_at, next_at=told.next_at, next_param=told.next_param, headers=headers,
        **told.shared(),
    )  # fmt: skip


def _stream(told: StreamSettings, cache: AsyncCache[Any]) -> Source:
    return Stream(
        records=lambda: cache.records, key=told.stream, limit=told.limit, max_age=told.max_age, **told.shared()
    )


def _sql_faults(told: SqlSettings) -> list[str]:
    found = []
    if bool(told.dsn) == bool(told.dsn_file):
        found.append("dsn: one of dsn and dsn_file is needed")
    if told.load_query and "%(keys)s" not in told.load_query:
        found.append("load_query: %(keys)s is missing, the list of the keys that are to be loaded")
    if not told.value and not told.load_query and not told.load:
        found.append("value: without one, load_query or load must say how keys are loaded")
    return found


def _load_faults(told: SourceSettings) -> list[str]:
    return [] if told.value or told.load else ["value: without one, load must say how keys are loaded"]


_OURS: Final = {
    "files": Kind(FileSettings, _files, _load_faults),
    "sql": Kind(SqlSettings, _sql, _sql_faults),
    "http": Kind(HttpSettings, _http, _load_faults),
    "stream": Kind(StreamSettings, _stream, _load_faults),
}


def kinds() -> dict[str, Kind]:
    """Return all kinds by name, those of other packages included.

    Raises:
        ConfigurationError: if an entry point names something else.
    """
    found = dict(_OURS)
    for point in entry_points(group=GROUP):
        kind = point.load()
        if not isinstance(kind, Kind):
            raise ConfigurationError(f"entry point {point.value}: a Kind, not {type(kind).__name__}")
        found.setdefault(point.name, kind)
    return found


def loader(name: str) -> ManyLoader[Any]:
    """Return the function that ``module:function`` names; see ``function_named``.

    Raises:
        ConfigurationError: if there is none.
    """
    try:
        return function_named(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"load: {error}") from error
