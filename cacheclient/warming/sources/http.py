"""Pages of JSON: items from a list in each page, the next page by a link, a field, or a token."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cacheclient.batch import ManyLoader
from cacheclient.codec.protocol import optional
from cacheclient.warming.filling import SourceError
from cacheclient.warming.items import Bad, Cursor, Item
from cacheclient.warming.sources.records import Fields

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

_ATTEMPTS: Final = 4  # of one page, while the server says that it is only for now
_PAUSES: Final = (0.2, 1.0, 5.0)  # seconds between them, unless the server says how many
_LONGEST: Final = 30.0  # seconds that a server may ask us to wait
_FOR_NOW: Final = frozenset({429, 502, 503, 504})


@dataclass(slots=True, kw_only=True)
class Http:
    """A source of pages.

    Attributes:
        url: of the first page.
        list_at: where the list of items is in a page, such as ``data.items``; empty: the page is the list.
        next_at: where a page names the next: a URL, or a token for ``next_param``. Empty: by the header ``Link``.
        next_param: the parameter that takes the token.
        headers: gives the headers, with the right to ask; called for each page. Only the server of ``url`` gets them.
    """

    name: str
    url: str
    priority: int = 3
    plans: Collection[str] = ("full",)
    list_at: str = ""
    next_at: str = ""
    next_param: str = ""
    headers: Callable[[], Mapping[str, str]] = dict
    fields: Fields = field(default_factory=Fields)
    timeout: float = 30.0
    load_many: ManyLoader[Any] | None = None

    async def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        """Read the pages; ``after`` is (URL of the page, number of the item in it, from 1).

        Raises:
            SourceError: if a page cannot be had, is no JSON, or leads to another server.
        """
        httpx = optional("httpx2", "warm")
        url, seen = (self.url, 0) if after is None else after
        async with httpx.AsyncClient(timeout=self.timeout) as client:
            while url:
                page, following = await self._page(client, url)
                for number, record in enumerate(page, 1):
                    if number > seen:
                        yield self.fields.item(record, at=[url, number], where=f"{url}#{number}")
                if following == url:
                    raise SourceError(f"{url}: it names itself as the next page")
                url, seen = following, 0

    def share(self, at: Cursor) -> float | None:  # noqa: ARG002
        """Return None: only the last page knows that it is."""
        return None

    async def _page(self, client: AsyncClient, url: str) -> tuple[list[Any], str]:
        """Return the items of a page and the URL of the next, empty for none."""
        response = await self._get(client, url)
        try:
            body = response.json()
        except ValueError as error:
            raise SourceError(f"{url}: no JSON: {error}") from None
        page = found(body, self.list_at)
        if not isinstance(page, list):
            raise SourceError(f"{url}: no list at {self.list_at or 'the top'!r}, but {type(page).__name__}")
        return page, self._following(response, body)

    def _following(self, response: Response, body: Any) -> str:
        named = found(body, self.next_at) if self.next_at else response.links.get("next", {}).get("url")
        if not named:
            return ""
        if self.next_param:
            return str(response.url.copy_set_param(self.next_param, str(named)))
        following = response.url.join(str(named))
        if (following.scheme, following.netloc) != (response.url.scheme, response.url.netloc):
            raise SourceError(f"{response.url}: the next page is on another server, {following.netloc.decode()}")
        return str(following)

    async def _get(self, client: AsyncClient, url: str) -> Response:
        httpx = optional("httpx2", "warm")
        for attempt in range(_ATTEMPTS):
            try:
                response = await client.get(url, headers=dict(self.headers()))
            except httpx.HTTPError as error:
                why, wait = str(error) or type(error).__name__, ""
            else:
                if response.is_success:
                    return response
                why, wait = f"{response.status_code} {response.reason_phrase}", response.headers.get("retry-after", "")
                if response.status_code not in _FOR_NOW:
                    break
            if attempt < _ATTEMPTS - 1:
                pause = float(wait) if wait.isdecimal() else _PAUSES[attempt] * random.uniform(0.5, 1.0)  # noqa: S311
                await asyncio.sleep(min(_LONGEST, pause))
        raise SourceError(f"{url}: {why}")


def found(body: Any, path: str) -> Any:
    """Return what stands at ``path`` (names with dots between) in a page; None if nothing does."""
    for name in path.split(".") if path else ():
        body = body.get(name) if isinstance(body, dict) else None
    return body
