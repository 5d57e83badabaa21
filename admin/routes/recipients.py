"""Recipients of a campaign: how far it is, who was matched and what became of each; pages, or all of them as a stream.

Touches: ledger arrays through campaigns/recipients, the dispatcher's live figures.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from admin.answers import After, Answer, Limit, Page, Reading, page
from admin.auth import Caller, may, parsed
from admin.reads import Reads, cursor_of, key_of
from admin.routes.campaigns import need
from dispatcher.apps.archive import recipients_anywhere
from dispatcher.campaigns.progress import progress
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, State
from dispatcher.store import Snapshot

router = APIRouter(prefix="/v1", tags=["campaigns"])

NDJSON = "application/x-ndjson"
STREAM_ROWS = 2_000  # a snapshot and some 400 kB of text; the reader's pace holds the next one back
_RANK = struct.Struct(">I")
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {NDJSON: {"schema": {"type": "string"}}}}}
StateWord = Annotated[str | None, Query(pattern=f"^({'|'.join(state.word for state in State)})$")]
DecisionWord = Annotated[str | None, Query(pattern=f"^({'|'.join(decision.word for decision in Decision)})$")]


class RecipientAnswer(Answer):
    member: str
    decision: str
    state: str


@router.get("/campaigns/{campaign}/progress", response_model=Answer)
async def get_progress(
    request: Request, campaign: str, caller: Annotated[Caller, may("campaigns:read")], reads: Reading
) -> dict[str, Any]:
    """Counters that add up, and what the dispatcher is doing for it now (`live`; null while it is down)."""
    return await progress_now(request, reads, caller.tenant, parsed("cmp", campaign))


async def progress_now(request: Request, reads: Reads, tenant: int, campaign: int) -> dict[str, Any]:
    now_ms = request.app.state.clock.epoch_ms()
    status = await request.app.state.link.seen_status(now_ms)
    live = status.get("campaigns", {}).get(public_id("cmp", campaign), {}) if status else None
    answer = await reads.scan(progress, tenant, campaign, live, now_ms)
    if answer is None:
        raise CommandRefused(404, "not_found", "no such campaign")
    return {**answer, "live": live}


@router.get("/campaigns/{campaign}/recipients", response_model=Page[RecipientAnswer], responses=STREAMED)
async def list_recipients(
    request: Request,
    campaign: str,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    state: StateWord = None,
    decision: DecisionWord = None,
    group: Annotated[str | None, Query(max_length=40, description="an arm's name, holdout or rest")] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Any:
    """Who was matched and what became of each, by rank. Accept: application/x-ndjson streams them all, or all after
    `after`: each line has the `next` to go on from."""
    number = parsed("cmp", campaign)
    reads.now(need, caller.tenant, number)
    key = key_of(after, _RANK.size)
    rank = None if key is None else _RANK.unpack(key)[0]
    read = functools.partial(
        recipients_anywhere,
        folder=request.app.state.settings.data,
        state=None if state is None else State[state.upper()],
        decision=None if decision is None else Decision[decision.upper()],
        group=group,
    )
    if NDJSON in accept:
        return StreamingResponse(await _lines(reads, read, caller.tenant, number, rank), media_type=NDJSON)
    rows = await reads.scan(read, caller.tenant, number, after_rank=rank, limit=limit + 1)
    cursor = cursor_of(_RANK.pack(rows[min(limit, len(rows)) - 1]["rank"])) if rows else None
    return page(rows, limit, cursor)


async def _lines(
    reads: Reads, read: Callable[..., list[dict[str, Any]]], tenant: int, campaign: int, rank: int | None
) -> AsyncIterator[bytes]:
    """A snapshot for each slice: the list goes on while the campaign does, and each line is true when written. The
    first is read here, so that a refusal is the answer and no broken stream."""

    def lines(view: Snapshot, after: int | None) -> tuple[bytes, int | None]:
        rows = read(view, tenant, campaign, after_rank=after, limit=STREAM_ROWS)
        text = "".join(
            json.dumps({**row, "next": cursor_of(_RANK.pack(row["rank"]))}, ensure_ascii=False) + "\n" for row in rows
        )
        return text.encode(), rows[-1]["rank"] if rows else None

    async def slices(octets: bytes, last: int | None) -> AsyncIterator[bytes]:
        while last is not None:
            yield octets
            octets, last = await reads.scan(lines, last)

    return slices(*await reads.scan(lines, rank))
