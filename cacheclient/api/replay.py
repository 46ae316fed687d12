"""Idempotency keys: a request that is sent again, because its answer was lost, is not carried out again.

After the IETF's draft "The Idempotency-Key HTTP Header Field". The answer of a request that did something is kept for a
day, for the administrator who sent it. The same key with another request is refused; so is a second request while the
first is worked on. Answers that did nothing (errors) are not kept: the request may be sent again.
"""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
from fastapi.responses import Response

from cacheclient.api.problems import Problem
from cacheclient.contract import Record
from cacheclient.keys import KeySpace
from cacheclient.remote import Records

KEPT: Final = 86_400.0  # seconds
MAX_KEY: Final = 255
_WORKED_ON: Final = 60.0  # seconds for which a request may take: longer than any does; then its pod is gone
_REPLAYED: Final = ("location", "content-type", "retry-after")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept: which request it was, and its answer when there is one."""

    request: str
    turn: str
    status: int = 0
    headers: dict[str, str] = {}
    body: str = ""

    def response(self) -> Response:
        """Return the answer again."""
        headers = {**self.headers, "Idempotency-Replayed": "true"}
        return Response(base64.b64decode(self.body), self.status, headers=headers)


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Return what tells one request from others."""
    return sha256(b"\0".join((method.encode(), path.encode("utf-8", "surrogatepass"), body))).hexdigest()


def checked(key: str) -> str:
    """Return an idempotency key.

    Raises:
        Problem: 422 if it is not 1 to 255 visible ASCII characters.
    """
    if 0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key:
        return key
    fault = {"parameter": "Idempotency-Key", "in": "header", "detail": f"1 to {MAX_KEY} visible ASCII characters"}
    raise Problem(422, "invalid", "the Idempotency-Key cannot be one", faults=[fault])


def settled(kept: Answer, request: str) -> Answer:
    """Return what was answered to ``request``, of which ``kept`` is known.

    Raises:
        Problem: 422 if the key was used for another request, 409 if it is being worked on.
    """
    if kept.request != request:
        raise Problem(422, "idempotency_key_reused", "this Idempotency-Key was used for another request")
    if not kept.status:
        raise Problem(
            409, "in_progress", "a request with this Idempotency-Key is being worked on", headers={"Retry-After": "1"}
        )
    return kept


@dataclass(frozen=True, slots=True)
class Turn:
    """One request that is worked on under an idempotency key."""

    records: Records
    key: str
    request: str

    async def end(self, response: Response) -> None:
        """Keep an answer that did something; of others, forget that there was a request."""
        if not 200 <= response.status_code < 300:  # noqa: PLR2004  the statuses of success
            await self.drop()
            return
        answer = Answer(
            request=self.request, turn="", status=response.status_code,
            headers={name: response.headers[name] for name in _REPLAYED if name in response.headers},
            body=base64.b64encode(bytes(response.body)).decode(),
        )  # fmt: skip
        await self.records.put(self.key, msgspec.json.encode(answer), KEPT)

    async def drop(self) -> None:
        """Forget that there was a request."""
        await self.records.remove(self.key)


async def take(records: Records, space: KeySpace, who: str, key: str, request: str) -> Turn | Answer:
    """Return the turn to work on ``request`` under ``key``, or what was answered to it before.

    Raises:
        Problem: see ``settled``.
        UnavailableError: if Redis does not answer: nobody knows whether the request was worked on.
    """
    place = space.record(Record.ANSWER, sha256(f"{who}\0{checked(key)}".encode()).hexdigest())
    mine = Answer(request=request, turn=uuid.uuid4().hex)
    held = await records.create(place, msgspec.json.encode(mine), _WORKED_ON)
    if held is None:
        return Turn(records, place, request)
    return settled(msgspec.json.decode(held, type=Answer), request)
