"""Every answer that is not the one asked for, as application/problem+json (RFC 9457).

Touches: exceptions and responses. A CommandRefused of any room becomes a problem unchanged; what
FastAPI and Starlette refuse by themselves (validation, unknown routes) is put into the same shape.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.status import HTTP_500_INTERNAL_SERVER_ERROR

from dispatcher.errors import CommandRefused, StoreError, StoreFull

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "2"  # a watched dispatcher is back within its restart back-off (issue 2: < 5 s)
_BY_STATUS = {  # what the framework refuses by itself: status -> (code, title)
    400: ("bad_request", "Bad request"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    413: ("body_too_large", "Body too large"),
    415: ("unsupported_media_type", "Unsupported media type"),
    422: ("invalid", "Invalid input"),
}
_log = logging.getLogger("volley.admin")


class ProblemError(BaseModel):
    """One thing that is wrong, and where."""

    model_config = ConfigDict(extra="allow")
    pointer: str = ""
    code: str = ""
    detail: str = ""


class Problem(BaseModel):
    """RFC 9457 with `code` for programs and `errors` for forms; some codes add members of their own."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[ProblemError] = Field(default_factory=list)


class DispatcherDown(Exception):
    """The dispatcher does not answer; nothing was changed unless `maybe_done`."""

    def __init__(self, detail: str, *, maybe_done: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.maybe_done = maybe_done


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str,
    errors: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response; `extra` never hides a standard member."""
    title = _BY_STATUS[status][1] if code == _BY_STATUS.get(status, ("",))[0] else code.replace("_", " ").capitalize()
    body = {
        **(extra or {}),
        "type": f"urn:volley:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "errors": list(errors),
    }
    return Response(json.dumps(body, default=str), status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every refusal of `app` a problem."""
    app.add_exception_handler(CommandRefused, _refused)
    app.add_exception_handler(DispatcherDown, _down)
    app.add_exception_handler(StoreError, _no_store)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HTTP_500_INTERNAL_SERVER_ERROR, _broken)


# what OpenAPI says of every operation; a range, so that FastAPI adds no 422 of its own shape
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused; `code` says why", "content": _CONTENT},
    "5XX": {"description": "Not now; 503 and 504 may be tried again after Retry-After", "content": _CONTENT},
}


def refusal_headers(status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="volley"'}
    return {"Retry-After": RETRY_AFTER_S} if status in (429, 503, 507) else {}


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, CommandRefused)
    headers = refusal_headers(exc.status)
    return problem(
        exc.status,
        exc.code,
        exc.detail,
        instance=request.url.path,
        errors=exc.errors,
        extra=exc.extra,
        headers=headers,
    )


async def _down(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, DispatcherDown)
    extra = {"maybe_done": True} if exc.maybe_done else {}
    headers = {"Retry-After": RETRY_AFTER_S}
    return problem(503, "dispatcher_down", exc.detail, instance=request.url.path, extra=extra, headers=headers)


async def _no_store(request: Request, exc: Exception) -> Response:
    headers = {"Retry-After": RETRY_AFTER_S}
    if isinstance(exc, StoreFull):
        return problem(507, "insufficient_storage", str(exc), instance=request.url.path, headers=headers)
    _log.warning("store unreadable: %s", exc)
    detail = "the store cannot be read now"
    return problem(503, "store_unreadable", detail, instance=request.url.path, headers=headers)


async def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    errors = [
        {"pointer": _pointer(error["loc"]), "code": error["type"], "detail": str(error["msg"])[:300]}
        for error in exc.errors()[:50]
    ]
    detail = "; ".join(f"{error['pointer'] or 'body'}: {error['detail']}" for error in errors[:3])
    return problem(422, "invalid", detail, instance=request.url.path, errors=errors)


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code, title = _BY_STATUS.get(exc.status_code, ("refused", "Refused"))
    detail = f"{request.method} {request.url.path}: {title.lower()}"
    return problem(exc.status_code, code, detail, instance=request.url.path, headers=exc.headers)


async def _broken(request: Request, exc: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return problem(500, "internal", "a fault of ours; it is in the log", instance=request.url.path)


def _pointer(loc: Sequence[int | str]) -> str:
    """JSON pointer of a body's member; `query:limit`, `header:If-Match`, `path:member` for the rest."""
    if not loc:
        return ""
    if loc[0] == "body":
        return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')[:64]}" for step in loc[1:])
    return f"{loc[0]}:{'.'.join(str(step) for step in loc[1:])}"
