"""What a request may cost before any route sees it: requests at once, octets and seconds of a body.

Touches: ASGI messages only. JSON bodies are read whole (1 MiB, 10 s) and looked through once, so that
depth, NaN, broken UTF-8 and lone surrogates end here as 400; an upload passes as a stream, untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.problems import problem, refusal_headers

BODY_TIMEOUT_S = 10.0  # PITFALLS 4: a slow body is closed in 10 s
REQUESTS_AT_ONCE = 256  # each holds at most one body: 256 MiB would be the worst, 256 x 4 KiB the usual
BODIES_OCTETS_MAX = 32 << 20  # of all JSON bodies held at once


class Refuse(Exception):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class Limits:
    """ASGI middleware. `streams` says which (method, path) takes its body itself."""

    def __init__(self, app: ASGIApp, streams: Callable[[str, str], bool], body_octets_max: int = 1 << 20) -> None:
        self.app = app
        self.body_octets_max = body_octets_max
        self.streams = streams
        self.requests = 0
        self.held_octets = 0

    def __repr__(self) -> str:
        return f"Limits(requests={self.requests}, held_octets={self.held_octets})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held = 0
        self.requests += 1
        try:
            if self.requests > REQUESTS_AT_ONCE:
                raise Refuse(503, "busy", f"more than {REQUESTS_AT_ONCE} requests at once")
            if not self.streams(scope["method"], scope["path"]):
                body = await self._body(Headers(scope=scope), receive)
                held = len(body)
                self.held_octets += held
                scope.setdefault("state", {})["body"] = body
                receive = _replay(body, receive)
            await self.app(scope, receive, send)
        except Refuse as exc:
            headers = refusal_headers(exc.status) | {"Connection": "close"}
            response = problem(exc.status, exc.code, exc.detail, instance=scope["path"], headers=headers)
            await response(scope, receive, send)
        finally:
            self.requests -= 1
            self.held_octets -= held

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        declared = headers.get("content-length", "")
        if declared.isdecimal() and len(declared) < 20 and int(declared) > self.body_octets_max:
            raise Refuse(413, "body_too_large", f"at most {self.body_octets_max} octets; this says {declared}")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Refuse(400, "body_cut", "the connection ended before the body did")
                    body += message.get("body", b"")
                    if len(body) > self.body_octets_max:
                        raise Refuse(413, "body_too_large", f"at most {self.body_octets_max} octets")
                    if self.held_octets + len(body) > BODIES_OCTETS_MAX:
                        raise Refuse(503, "busy", "too many large bodies at once")
                    if not message.get("more_body", False):
                        break
        except TimeoutError as exc:
            raise Refuse(408, "body_slow", f"the body took longer than {BODY_TIMEOUT_S:.0f} s") from exc
        if body:
            _check_json(body, headers)
        return bytes(body)


def _check_json(body: bytearray, headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refuse(415, "unsupported_media_type", "send Content-Type: application/json")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refuse(415, "unsupported_media_type", "send the body without Content-Encoding")
    try:
        from_json(bytes(body), allow_inf_nan=False, cache_strings="none")
    except ValueError as exc:
        raise Refuse(400, "body_unreadable", f"not JSON: {exc}") from exc


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
