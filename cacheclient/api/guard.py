"""What every request goes through before its endpoint, and every answer after it.

In this order: a request id; the client's rate; who it is; the size and the type of the body; the idempotency key. Only
then is the body looked at, so that whoever is not an administrator learns nothing from how a request is refused. Every
error becomes a problem (see ``problems``), wherever the router is mounted; every change is in the audit log.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from cacheclient.api import audit, replay
from cacheclient.api.audit import Action
from cacheclient.api.authentication import Administrators
from cacheclient.api.bodies import BODY_LIMIT
from cacheclient.api.problems import Problem, problem_of, too_large, unexpected
from cacheclient.api.rates import Rates
from cacheclient.core import Core
from cacheclient.errors import UnavailableError
from cacheclient.ratelimit.fastapi import client_address

Handle = Callable[[Request], Coroutine[Any, Any, Response]]
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("cacheclient")


def identify(request: Request) -> str:
    """Return the id of a request: what the client gave as ``X-Request-ID`` if that can be one, else a new one."""
    found: str | None = getattr(request.state, "request_id", None)
    if found is None:
        given = request.headers.get("x-request-id", "")
        found = request.state.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return found


def is_json(content_type: str) -> bool:
    """Return whether a body of this type is JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def body_of(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        Problem: 413 if it has more than ``limit`` bytes, at the first byte that is too many.
    """
    declared = request.headers.get("content-length", "")
    parts, size = [], int(declared) if declared.isascii() and declared.isdigit() else 0
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                break
            parts.append(part)
    if size > limit:
        raise too_large(limit)
    return b"".join(parts)


def again(request: Request, body: bytes) -> Request:
    """Return a request whose body can be read once more."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)


class Guard:
    """The guard of one API."""

    def __init__(
        self,
        cache: Callable[[], Core[Any]],
        administrators: Administrators,
        rates: Rates,
        *,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._cache = cache
        self._administrators = administrators
        self._rates = rates
        self._body_limit = body_limit

    def routes(self, *, admin: bool) -> type[APIRoute]:
        """Return the class of routes that this guards, for everybody or for administrators."""
        answer = self.answer

        class Guarded(APIRoute):
            def get_route_handler(self) -> Handle:
                handle, name = super().get_route_handler(), self.name

                async def guarded(request: Request) -> Response:
                    return await answer(request, handle, name, admin=admin)

                return guarded

        return Guarded

    async def answer(self, request: Request, handle: Handle, name: str, *, admin: bool) -> Response:
        """Return the answer to a request, whatever happens."""
        request_id, who = identify(request), ""
        action, fields = Action(name), {"X-Request-ID": request_id}
        request.state.action = action
        try:
            fields |= await self._rates.count(request)
            if admin:
                who = self._administrators.admit(request.headers.get("authorization"))
            response = await self._carry_out(request, handle, who)
        except Exception as error:  # noqa: BLE001  every error is answered, and what is not known is logged
            problem = problem_of(error)
            if problem is None:
                _log.exception("cacheclient: request %s failed", request_id)
            response = (problem or unexpected()).response(request_id)
        response.headers.update(fields)
        if admin and (request.method == "POST" or not who):
            await self._note(request, action, who, response.status_code)
        return response

    async def _note(self, request: Request, action: Action, who: str, status: int) -> None:
        try:
            cache = self._cache()
        except Exception:  # noqa: BLE001  not open yet: then nothing was done
            return
        await audit.write(
            cache, who, action, status=status, request_id=identify(request), client=client_address(request)
        )

    async def _carry_out(self, request: Request, handle: Handle, who: str) -> Response:
        if request.method != "POST":
            return await handle(request)
        body = await body_of(request, self._body_limit)
        if body and not is_json(request.headers.get("content-type", "")):
            raise Problem(415, "not_json", "the body must be application/json")
        request, key = again(request, body), request.headers.get("idempotency-key")
        if key is None:
            return await handle(request)
        wanted = replay.fingerprint(request.method, request.url.path, body)
        cache = self._cache()
        turn = await replay.take(cache.records, cache.space, who, key, wanted)
        if isinstance(turn, replay.Answer):
            request.state.action.name = f"{request.state.action.name} (replayed)"
            return turn.response()
        return await _in_turn(turn, request, handle)


async def _in_turn(turn: replay.Turn, request: Request, handle: Handle) -> Response:
    try:
        response = await handle(request)
    except Exception:
        await turn.drop()
        raise
    try:
        await turn.end(response)
    except UnavailableError as error:  # it is done, but a second request would be carried out, too
        _log.warning("cacheclient: the answer to an idempotency key was not kept: %s", error)
    return response
