"""Errors as RFC 9457 problem details (``application/problem+json``): what is the matter, and nothing of the inside.

``type`` is ``about:blank``: the status says what kind of problem it is. ``code`` tells apart what shares a status, for
programs; ``detail`` is for people, and may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from cacheclient.api.bodies import BODY_LIMIT, BRANCHES
from cacheclient.errors import ClosedError, ConfigurationError, UnavailableError
from cacheclient.ratelimit.headers import PROBLEM_JSON

_RETRY: Final = {"Retry-After": "1"}  # seconds: a failover takes some more, and then it is asked again
_LONGEST: Final = 20  # faults of one body that are told


class Problem(Exception):  # noqa: N818  RFC 9457's word, and it is an answer rather than a failure
    """An answer that is an error.

    Attributes:
        status: the HTTP status.
        code: a stable word for programs.
        detail: a sentence for people.
        faults: of a body, one each: a JSON pointer to it, and what is wrong there.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        faults: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the members of the JSON object."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
        return body | {"errors": list(self.faults)} if self.faults else body

    def response(self, request_id: str) -> Response:
        """Return the answer."""
        return JSONResponse(
            self.body(request_id), self.status, headers={**self.headers, "X-Request-ID": request_id},
            media_type=PROBLEM_JSON,
        )  # fmt: skip


class ProblemDetails(BaseModel):
    """The schema of a problem, for the OpenAPI document."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, str]] = []


def problem_of(error: Exception) -> Problem | None:
    """Return the answer to an error; None if nothing is known of it, which is an error of ours (500)."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        faults = [_fault(fault) for fault in error.errors()[:_LONGEST]]
        return Problem(422, "invalid", "the request is not what this endpoint takes", faults=faults)
    if isinstance(error, (HTTPException, StarletteHTTPException)):
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, code, str(error.detail), headers=error.headers)
    if isinstance(error, ConfigurationError):
        return Problem(422, "invalid", str(error))
    return next((make() for kind, make in _ABSENT.items() if isinstance(error, kind)), None)


# Made anew each time: one object that is raised again and again would grow its traceback for ever.
def unauthorized() -> Problem:
    """Return the one answer for every reason: which tokens there are, or whether any, is nobody's business."""
    what = "administrators only: a bearer token is needed"
    return Problem(401, "unauthorized", what, headers={"WWW-Authenticate": "Bearer"})


def forbidden() -> Problem:
    """Return the answer to a valid JWT that lacks the scope."""
    return Problem(403, "forbidden", "the token does not have the scope that is needed")


def unavailable() -> Problem:
    """Return the answer while Redis is away."""
    return Problem(503, "redis_unavailable", "Redis does not answer at the moment", headers=_RETRY)


def not_open() -> Problem:
    """Return the answer before the cache is open, and after."""
    return Problem(503, "not_open", "the cache is not open", headers=_RETRY)


def not_ready() -> Problem:
    """Return the answer while what the application waits for is on its way: a warm-up, say."""
    return Problem(503, "not_ready", "it is being prepared", headers=_RETRY)


def too_large(limit: int) -> Problem:
    """Return the answer to a body of more than ``limit`` bytes."""
    return Problem(413, "too_large", f"the body has more than {limit} bytes")


def unexpected() -> Problem:
    """Return the answer to an error of ours."""
    return Problem(500, "unexpected", "an error of this service: its log says more under the request id")


_ABSENT: Final = {UnavailableError: unavailable, ClosedError: not_open}


def documented(*examples: int | Problem) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of problems: these, or the usual one of a status."""
    schema = ProblemDetails.model_json_schema()
    problems = [_EXAMPLES[example] if isinstance(example, int) else example for example in examples]
    return {
        problem.status: {
            "description": HTTPStatus(problem.status).phrase,
            "content": {PROBLEM_JSON: {"schema": schema, "example": problem.body("7f8e0c2b9d")}},
        }
        for problem in problems
    }


_EXAMPLES: Final = {
    problem.status: problem
    for problem in (
        Problem(400, "bad_request", "the body is not text"),
        unauthorized(),
        forbidden(),
        Problem(404, "no_such_job", "there is no such job, or it was long ago"),
        Problem(409, "in_progress", "a request with this Idempotency-Key is being worked on"),
        too_large(BODY_LIMIT),
        Problem(415, "not_json", "the body must be application/json"),
        Problem(
            422, "invalid", "the request is not what this endpoint takes",
            faults=[{"pointer": "#/scope", "detail": "Input should be 'all_pods'"}],
        ),
        Problem(429, "too_many_requests", "too many requests: try again in 0.8 s"),
        unavailable(),
    )
}  # fmt: skip


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    """Return a fault as RFC 9457's example has it; what was sent is not repeated."""
    where, *path = fault["loc"] or ("",)
    if where != "body":
        return {"parameter": "/".join(map(str, path)), "in": str(where), "detail": str(fault["msg"])}
    if fault["type"] == "json_invalid":
        return {"pointer": "#", "detail": f"not JSON at character {path[0]}: {fault['ctx']['error']}"}
    pointer = "".join(f"/{part}" for part in path if part not in BRANCHES)
    return {"pointer": f"#{pointer}", "detail": str(fault["msg"])}
