"""Members: tags, a merge, one change to many, what happened with one, everything held about one.

Touches: apps/timeline and apps/subject; commands member.upsert, .merge, .unmerge and .bulk.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, Word
from admin.asking import LONG_TIMEOUT_S, Asking
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from admin.routes.members import MOVED, MemberAnswer, Values, member_no_of, moved
from dispatcher.apps.bulk import DRY_BLOCKS, meant, would_change
from dispatcher.apps.subject import subject
from dispatcher.apps.timeline import timeline
from dispatcher.clock import Clock
from dispatcher.control.commands import EditMembers, MergeMembers, UnmergeMembers, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.members.member import member_json
from dispatcher.store.snapshot import Snapshot

router = APIRouter(prefix="/v1", tags=["members"])
_PLACE = struct.Struct(">QI")

Tags = Annotated[list[Word], Field(max_length=256)]
Name = Annotated[str, Field(max_length=40)]


class TagsBody(Body):
    add: Annotated[Tags, Field(default_factory=list)]
    remove: Annotated[Tags, Field(default_factory=list)]
    field: Annotated[Name, Field(description="which tags field; may be left out where there is one")] = ""


class MergeBody(Body):
    winner: Name
    loser: Name
    take: Annotated[
        list[Name], Field(max_length=500, default_factory=list, description="where the loser is right; phone too")
    ]
    reason: Annotated[str, Field(max_length=500, description="kept in the audit")] = ""
    dry_run: bool = False


class MergeAnswer(Answer):
    id: str
    merged: str


class UnmergeBody(Body):
    reason: Annotated[str, Field(max_length=500, description="kept in the audit")] = ""
    dry_run: bool = False


class UnmergeAnswer(Answer):
    id: str
    changed_since: list[str]


class BulkBody(Body):
    expr: Annotated[str, Field(min_length=1, max_length=100_000, description="who, in the segment language")]
    set: Annotated[Values, Field(description="field name to value; null clears", default_factory=dict)]
    tags_add: Annotated[Tags, Field(default_factory=list)]
    tags_remove: Annotated[Tags, Field(default_factory=list)]
    tags_field: Name = ""
    reason: Annotated[str, Field(max_length=500, description="kept in the audit")] = ""
    dry_run: bool = False


class BulkAnswer(Answer):
    matched: int


class EventAnswer(Answer):
    kind: str
    at: str


class SubjectAnswer(Answer):
    id: str
    exported_at: str


@router.post("/members/{member}/tags", response_model=MemberAnswer)
async def edit_tags(
    member: str, body: TagsBody, ask: Asking, caller: Annotated[Caller, may("members:write")], reads: Reading
) -> dict[str, Any]:
    """Put tags on and take tags off; the others stay."""
    if not body.add and not body.remove:
        raise CommandRefused(422, "invalid_value", "nothing to change: give add or remove")
    command = UpsertMember(
        member_no=member_no_of(member), create=False, tags_add=body.add, tags_remove=body.remove, tags_field=body.field
    )
    reply = await ask(caller, command)
    return await reads.scan(member_json, caller.tenant, reply["member_no"]) or {"id": reply["id"]}


@router.post("/members:merge", response_model=MergeAnswer)
async def merge_members(
    body: MergeBody, ask: Asking, caller: Annotated[Caller, may("members:write")]
) -> dict[str, Any]:
    """Make `loser` part of `winner`: values, tags, points and consent; its number and id lead to the winner."""
    command = MergeMembers(
        winner=member_no_of(body.winner), loser=member_no_of(body.loser), take=body.take, dry_run=body.dry_run
    )
    return await ask(caller, command, reason=body.reason)


@router.post("/members/{member}:unmerge", response_model=UnmergeAnswer)
async def unmerge_members(
    member: str, body: UnmergeBody, ask: Asking, caller: Annotated[Caller, may("members:write")]
) -> dict[str, Any]:
    """Take a merge back: the member that was merged away is one again. Exact but for what was changed since in the one
    that took it over: that stays, and `changed_since` names it."""
    command = UnmergeMembers(member_no=member_no_of(member), dry_run=body.dry_run)
    return await ask(caller, command, reason=body.reason)


@router.post("/members:bulk", response_model=BulkAnswer)
async def edit_members(
    body: BulkBody, ask: Asking, caller: Annotated[Caller, may("members:write")], reads: Reading
) -> dict[str, Any]:
    """One change to everybody who matches now (202). Progress, cancel and undo are an import's: /v1/imports/{id}."""
    command = EditMembers(
        expr=body.expr,
        values=body.set,
        tags_add=body.tags_add,
        tags_remove=body.tags_remove,
        tags_field=body.tags_field,
    )
    if body.dry_run:
        clock: Clock = ask.request.app.state.clock
        edit, _, blocks = await reads.scan(meant, caller.tenant, command, clock.epoch_ms())
        changed = 0
        for at in range(0, len(blocks), DRY_BLOCKS):
            changed += await reads.scan(would_change, caller.tenant, edit, blocks[at : at + DRY_BLOCKS])
        return {"dry_run": True, "matched": sum(count for _, _, count in blocks), "would_change": changed}
    reply = await ask(caller, command, reason=body.reason, timeout_s=LONG_TIMEOUT_S)
    ask.response.status_code = 202
    return {name: value for name, value in reply.items() if name != "job"}


@router.get("/members/{member}/timeline", response_model=Page[EventAnswer], responses=MOVED)
async def get_timeline(
    request: Request,
    member: str,
    caller: Annotated[Caller, may("members:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
) -> Any:
    """Messages, receipts, what they wrote, points, consent and edits, newest first."""
    member_no = member_no_of(member)
    key = key_of(after, _PLACE.size)
    before = None if key is None else _PLACE.unpack(key)
    folder = request.app.state.settings.data

    def read(view: Snapshot) -> Any:
        found = timeline(view, caller.tenant, member_no, limit=limit, before=before, folder=folder)
        if found is None:
            return moved(view, caller.tenant, member_no, "/timeline")
        shown, place = found
        return {"data": shown, "next": None if place is None else cursor_of(_PLACE.pack(*place))}

    return await reads.scan(read)


@router.get("/members/{member}/export", response_model=SubjectAnswer, responses=MOVED)
async def export_subject(
    member: str, ask: Asking, caller: Annotated[Caller, may("members:read")], reads: Reading
) -> Any:
    """Everything that is held about the member, for the person themselves."""
    member_no = member_no_of(member)
    state = ask.request.app.state
    clock: Clock = state.clock

    def read(view: Snapshot) -> Any:
        found = subject(view, caller.tenant, member_no, clock.epoch_ms(), folder=state.settings.data)
        return moved(view, caller.tenant, member_no, "/export") if found is None else found

    return await reads.scan(read)
