"""A campaign as server-sent events: its moves at once, its progress at most four times a second.

Touches: the store by short snapshots, only when something was committed since the last look; the dispatcher's live
figures. An event's id is the log position and the row's version (campaigns/progress.py), so whoever comes back with
Last-Event-ID is told the moves that were missed and the progress as it is now: what lies between is not played again.

    event: state     {state, at, actor, reason}: each move, oldest first
    event: progress  what GET .../progress says
    event: end       nothing will happen any more; a client that comes back is answered 204 and stays away
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from admin.answers import Reading
from admin.auth import Caller, may, parsed
from admin.reads import Reads
from admin.routes.campaigns import need
from admin.routes.recipients import progress_now
from dispatcher.campaigns.progress import Place, look
from dispatcher.errors import CommandRefused, StoreError
from dispatcher.tenants.keys import find_key

router = APIRouter(prefix="/v1", tags=["campaigns"])

LOOK_S = 0.05  # a move is told within it and a commit
PROGRESS_S = 0.25
QUIET_S = 15.0  # then a comment, so that nobody between takes the connection for dead; and the key is looked at again
STREAMS_AT_ONCE = 64  # each holds one of the requests that there may be at once (limits.py)
RETRY_MS = 1_000
MEDIA_TYPE = "text/event-stream"


@router.get("/campaigns/{campaign}/events", response_class=StreamingResponse, responses={
    200: {"description": "state, progress and end events", "content": {MEDIA_TYPE: {}}},
    204: {"description": "Nothing will happen any more since Last-Event-ID"},
})  # fmt: skip
async def watch_campaign(
    request: Request,
    campaign: str,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    last_event_id: Annotated[str | None, Header(max_length=60, description="go on after this event")] = None,
) -> Response:
    """Moves and progress as they happen, until the campaign is over. 503 when too many watch."""
    number = parsed("cmp", campaign)
    reads.now(need, caller.tenant, number)
    since = Place() if last_event_id is None else Place.parse(last_event_id)
    if since is None:
        raise CommandRefused(400, "cursor_invalid", "Last-Event-ID is not an id of this stream")
    seen = reads.now(look, caller.tenant, number, since)
    if seen is not None and seen.over and seen.place == since:
        return Response(status_code=204)
    if request.app.state.watching >= STREAMS_AT_ONCE:
        raise CommandRefused(503, "busy", f"{STREAMS_AT_ONCE} streams of events are open already")
    events = _events(request, reads, caller, number, since)
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


async def _events(request: Request, reads: Reads, caller: Caller, campaign: int, since: Place) -> AsyncIterator[bytes]:
    state, secret = request.app.state, request.headers.get("authorization", "").partition(" ")[2]
    state.watching += 1
    try:
        yield f"retry: {RETRY_MS}\n\n".encode()
        told_at, said_at = -PROGRESS_S, time.monotonic()
        commit, over, shown, counts = -1, False, None, None
        while not await request.is_disconnected():
            now = time.monotonic()
            newest = reads.commits()
            seen = reads.now(look, caller.tenant, campaign, since) if newest != commit else None
            commit = newest
            if seen is not None:
                for left, move in enumerate(seen.moves, 1 - len(seen.moves)):  # all are told only with the last
                    version = since.version if left else seen.place.version
                    yield _event("state", Place(since.position, version), move)
                if seen.moves:
                    said_at = now
                since, over, counts = seen.place, seen.over, seen.counts
            if (since, counts) != shown and now - told_at >= PROGRESS_S:
                told_at = said_at = now
                shown = since, counts
                yield _event("progress", since, await progress_now(request, reads, caller.tenant, campaign))
            if over and (since, counts) == shown:
                yield _event("end", since, {})
                return
            if now - said_at >= QUIET_S:
                said_at = now
                if reads.now(find_key, secret) is None:  # revoked in the meantime
                    return
                yield b": quiet\n\n"
            await asyncio.sleep(LOOK_S)
    except (StoreError, CommandRefused):
        return  # the store was replaced, or the campaign is gone: whoever comes back is told
    finally:
        state.watching -= 1


def _event(kind: str, place: Place, data: dict[str, Any]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"event: {kind}\nid: {place}\ndata: {text}\n\n".encode()
