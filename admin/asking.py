"""A route's wish as a command's envelope: who, when, and which try of which wish (Idempotency-Key).

Touches: the request and the link. The dispatcher keeps the keys and the first answers (72 h); here a key
is only checked for its form and bound to the request it came with, by a fingerprint of method, path,
query and body, so that the same key with another request is refused (422) and never acted upon.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from admin.auth import Caller
from admin.link import Link
from dispatcher.clock import Clock
from dispatcher.control.commands import Envelope
from dispatcher.errors import CommandRefused

KEY_CHARACTERS_MAX = 200  # as long as the key of a points entry, which it may stand for
ANSWER_TIMEOUT_S = 30.0
LONG_TIMEOUT_S = 180.0  # previews: exact parts of every recipient


@dataclass(frozen=True, slots=True)
class Ask:
    """One request's way to the dispatcher."""

    request: Request
    response: Response
    request_key: str

    async def __call__(
        self,
        caller: Caller,
        command: Any,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        reason: str = "",
        version: int | None = None,
    ) -> dict[str, Any]:
        """The dispatcher's reply, after its commit; version: of the object, as the caller saw it.

        Raises CommandRefused (its refusal), DispatcherDown.
        """
        link: Link = self.request.app.state.link
        envelope = replace(self.envelope(caller, reason), version=version)
        reply, replayed = await link.ask(command, envelope, timeout_s=timeout_s)
        if replayed:
            self.response.headers["Idempotent-Replayed"] = "true"
        return reply

    def envelope(self, caller: Caller, reason: str = "") -> Envelope:
        clock: Clock = self.request.app.state.clock
        return Envelope(
            tenant=caller.tenant,
            actor=caller.actor,
            at_ms=clock.epoch_ms(),
            reason=reason,
            request_key=self.request_key,
            fingerprint=self._fingerprint() if self.request_key else "",
        )

    def _fingerprint(self) -> str:
        scope = self.request.scope
        digest = hashlib.sha256(f"{scope['method']} {scope['path']}?".encode())
        digest.update(scope["query_string"] + b"\n" + scope.get("state", {}).get("body", b""))
        return digest.hexdigest()


_KEY = Header(alias="Idempotency-Key", description="Names the wish: the same key again changes nothing, for 72 h")


def _ask(request: Request, response: Response, request_key: Annotated[str | None, _KEY] = None) -> Ask:
    return Ask(request, response, _checked(request_key) if request_key is not None else "")


def _ask_once(request: Request, response: Response, request_key: Annotated[str | None, _KEY] = None) -> Ask:
    if request_key is None:
        raise CommandRefused(400, "idempotency_key_missing", "this sends or moves points: send an Idempotency-Key")
    return Ask(request, response, _checked(request_key))


def _checked(key: str) -> str:
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX or not key.isascii() or not key.isprintable():
        rule = f"1 to {KEY_CHARACTERS_MAX} printable ASCII characters"
        raise CommandRefused(400, "idempotency_key_invalid", f"Idempotency-Key: {rule}")
    return key


Asking = Annotated[Ask, Depends(_ask)]
AskingOnce = Annotated[Ask, Depends(_ask_once)]
