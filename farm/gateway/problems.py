"""Errors as HTTP says them: application/problem+json with a `code`, never more than the client may know.

Source: RFC 9457.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from sanic.exceptions import RequestCancelled, SanicException
from sanic.handlers import ErrorHandler
from sanic.request import Request
from sanic.response import HTTPResponse

from farm import log
from farm.errors import FarmError, InputError, InvalidSubject, NotPermitted, PayloadTooLarge, printable

RETRY_AFTER_S: Final = 1
TYPE: Final = "application/problem+json"

_STATUSES: Final[tuple[tuple[type[FarmError], int], ...]] = (
    (InvalidSubject, 400),
    (PayloadTooLarge, 413),
    (NotPermitted, 403),
)
_CODES: Final[dict[int, str]] = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "payload-too-large",
    417: "expectation-failed",
    431: "headers-too-large",
    503: "unavailable",
}


class HttpProblem(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def body(status: int, code: str, detail: str) -> bytes:
    """The document."""
    title = HTTPStatus(status).phrase
    return json.dumps({"title": title, "status": status, "detail": printable(detail), "code": code}).encode()


def problem_of(error: FarmError) -> HttpProblem:
    """A refusal of farm's, as HTTP says it.

    400 for what a server never takes, 503 for what may work later, 500 for what should not have happened.
    """
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return HttpProblem(status, error.code, str(error))
    if error.code == InputError.code:
        return HttpProblem(400, "refused", str(error))
    if error.retry:
        return HttpProblem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
    log.get().error("a publish failed", error=str(error), code=error.code)
    return HttpProblem(500, "internal", "the gateway could not do it")


class Problems(ErrorHandler):
    """Sanic's errors and ours, all in the one shape."""

    def response(self, request: Request, exception: Exception) -> HTTPResponse:
        """The answer to a request that failed."""
        found = self._problem(exception)
        return HTTPResponse(
            body(found.status, found.code, found.detail),
            status=found.status,
            headers=found.headers,
            content_type=TYPE,
        )

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """As `response`: Sanic calls this one when that one has failed."""
        return self.response(request, exception)

    @staticmethod
    def log(request: Request, exception: Exception) -> None:
        """What is ours to log is logged where the problem is made."""

    def _problem(self, error: BaseException) -> HttpProblem:
        if isinstance(error, HttpProblem):
            return error
        if isinstance(error, FarmError):
            return problem_of(error)
        if isinstance(error, RequestCancelled):  # who asked has hung up: nobody reads the answer
            return HttpProblem(400, "cancelled", "the client has gone")
        status = error.status_code if isinstance(error, SanicException) else 500
        if status in _CODES:
            headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
            return HttpProblem(status, _CODES[status], str(error) or HTTPStatus(status).phrase, headers)
        log.get().error("a request failed", exc_info=error)
        return HttpProblem(500, "internal", "the gateway could not do it")
