"""Single messages: send up to 1,000, look at one, list, cancel what nobody has claimed yet.

Touches: the outbox through message.send and message.cancel. A bad message is refused with its index, the others go: the
answer has one result for each, in order.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, page
from admin.asking import Asking, AskingOnce
from admin.auth import Caller, may
from admin.options import OptionsBody
from admin.reads import cursor_of, key_of
from dispatcher.apps.messages import AT_ONCE, VALIDITY_S_MAX
from dispatcher.apps.messages_shown import get_message, list_messages
from dispatcher.control.commands import CancelMessage, SendMessages
from dispatcher.errors import CommandRefused
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["messages"])


class MessageBody(Body):
    to: Annotated[
        str, Field(max_length=100, description="a number: international, or national where the tenant has a region")
    ]
    text: Annotated[str | None, Field(max_length=20_000, description="as it is sent; or `template` and `vars`")] = None
    template: Annotated[str | None, Field(max_length=20_000, description="a text with {name} or {name|fallback}")] = (
        None
    )
    vars: Annotated[dict[str, Annotated[str, Field(max_length=4_096)]] | None, Field(max_length=64)] = None
    purpose: Annotated[str, Field(max_length=40, description="otp, transactional, service, care or marketing")] = (
        "transactional"
    )
    validity_s: Annotated[
        int | None, Field(description=f"up to {VALIDITY_S_MAX:,}; of an otp 600, else two days, unless given")
    ] = None
    ref: Annotated[str | None, Field(max_length=1_000, description="yours; comes back with the message")] = None
    send_at: Annotated[
        str | None,
        Field(max_length=40, description="an instant with its zone, at most 31 days ahead; now unless given"),
    ] = None
    options: OptionsBody | None = None
    sender: Annotated[str | None, Field(max_length=100, description="source_addr; the tenant's unless given")] = None


class MessagesBody(Body):
    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=AT_ONCE)]


class ResultAnswer(Answer):
    index: int
    ref: str | None
    id: str | None = None
    decision: str | None = Field(
        None,
        description="sent: it will go; waiting: it will go from due_at on (quiet hours, send_at), unless a guard is "
        "against it by then; else why it will not, as opted_out or frequency_cap; quiet: due_at is too late for it",
    )
    due_at: str | None = Field(None, description="when it may leave, or might have")
    parts: int | None = None
    billed: int | None = Field(None, description="parts that the tenant's market bills")
    error: dict[str, Any] | None = Field(None, description="this message was refused: {pointer, code, detail}")


class SentAnswer(Answer):
    accepted: int
    refused: int
    results: list[ResultAnswer]


class MessageAnswer(Answer):
    id: str
    to: str | None
    purpose: str
    state: str
    decision: str
    due_at: str | None = None
    why: str | None
    parts: int
    message_id: str | None


class CancelledAnswer(Answer):
    id: str
    state: str


@router.post("/messages", status_code=202, response_model=SentAnswer, response_model_exclude_none=False)
async def send_messages(
    body: MessagesBody, ask: AskingOnce, caller: Annotated[Caller, may("messages:send")]
) -> dict[str, Any]:
    """Accepted means kept: the answer comes after the commit. 422 only when every message is bad."""
    asked = [message.model_dump(exclude_none=True, by_alias=True) for message in body.messages]
    return await ask(caller, SendMessages(messages=asked))


@router.get("/messages", response_model=Page[MessageAnswer])
async def get_messages(
    request: Request, caller: Annotated[Caller, may("messages:read")], reads: Reading, limit: Limit, after: After = None
) -> Any:
    """The newest first."""
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    if before is not None and before > 0xFFFFFFFF:
        raise CommandRefused(422, "invalid_cursor", "after: not a `next` of this list")
    rows = await reads.scan(list_messages, caller.tenant, limit + 1, request.app.state.clock.epoch_ms(), before=before)
    cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1][0])) if rows else None
    return page([shown for _, shown in rows], limit, cursor)


@router.get("/messages/{message}", response_model=MessageAnswer)
async def get_one_message(
    message: str, request: Request, caller: Annotated[Caller, may("messages:read")], reads: Reading
) -> Any:
    """Its state as the ledger has it, about a second behind what happens."""
    shown = await reads.scan(get_message, caller.tenant, message, request.app.state.clock.epoch_ms())
    if shown is None:
        raise CommandRefused(404, "not_found", f"there is no message {message[:40]!r}")
    return shown


@router.post("/messages/{message}:cancel", response_model=CancelledAnswer)
async def cancel_one_message(
    message: str, ask: Asking, caller: Annotated[Caller, may("messages:send")]
) -> dict[str, Any]:
    """409 state_conflict once it is claimed: it is on its way."""
    return await ask(caller, CancelMessage(message=message))
