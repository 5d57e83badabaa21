"""Whose a message_id of the SMSC is.

Touches: apps/messages_found.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from admin.answers import Answer, Reading
from admin.auth import Caller, may
from dispatcher.apps.messages_found import OCTETS_MAX, who_had

router = APIRouter(prefix="/v1", tags=["messages"])


class FoundAnswer(Answer):
    data: list[dict[str, Any]]


@router.get("/message-ids/{message_id}", response_model=FoundAnswer)
async def find_message_id(
    message_id: Annotated[str, Path(max_length=OCTETS_MAX, description="as the SMSC's operator writes it")],
    request: Request,
    caller: Annotated[Caller, may("messages:read", "campaigns:read")],
    reads: Reading,
) -> Any:
    """The message that an SMSC gave this id to, one an endpoint that knows it; known for `log_kept_days` and
    `ids_kept_days` after that. Empty when nobody of the tenant had it."""
    state = request.app.state
    mixed = [endpoint.name for endpoint in state.settings.endpoints if endpoint.receipt_ids != "same"]
    now_ms, folder = state.clock.epoch_ms(), state.settings.data
    return {"data": await reads.scan(who_had, caller.tenant, message_id, mixed, now_ms, folder=folder)}
