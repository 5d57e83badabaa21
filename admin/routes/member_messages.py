"""One member's messages: what was decided and why, every part, attempt, receipt and reply.

Touches: apps/reports/story.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from admin.answers import After, Answer, Reading
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from admin.routes.members import MOVED, member_no_of, moved
from dispatcher.apps.reports.story import messages
from dispatcher.store import Snapshot
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["members"])
MESSAGES_MAX = 100  # a page: each may have to be looked for in the log


class StoryAnswer(Answer):
    data: list[dict[str, Any]]
    next: str | None
    single: list[dict[str, Any]]
    complete: bool


@router.get("/members/{member}/messages", response_model=StoryAnswer, responses=MOVED)
async def list_member_messages(
    request: Request,
    member: str,
    caller: Annotated[Caller, may("members:read", "campaigns:read")],
    reads: Reading,
    limit: Annotated[int, Query(ge=1, le=MESSAGES_MAX)] = 20,
    after: After = None,
) -> Any:
    """The newest campaign first; `single` (answers, messages of the API) comes with the first page. `complete` is false
    where the log is too large to look through: then attempts before the last may be missing."""
    number = member_no_of(member)
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    now_ms, folder = request.app.state.clock.epoch_ms(), request.app.state.settings.data

    def read(view: Snapshot) -> Any:
        found = messages(view, caller.tenant, number, now_ms, limit=limit, before=before, folder=folder)
        return moved(view, caller.tenant, number, "/messages") if found is None else found

    found = await reads.scan(read)
    if isinstance(found, dict) and found["next"] is not None:
        found["next"] = cursor_of(U64.pack(found["next"]))
    return found
