"""Who is in a segment, by id, in member order: a page, or all of them as a stream.

Touches: members' columns through segments/answers. A stream is of one instant: the matched are kept as bitmaps (12.5 MB
for a hundred million members) and written out from there, with no snapshot held open meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from admin.answers import After, Answer, Limit, Page, Reading
from admin.auth import Caller, may, parsed
from admin.reads import cursor_of, key_of
from admin.routes.segment_shapes import AskBody, AsOf, as_of_ms, rule_text
from admin.routes.segments import need_segment
from dispatcher.records.changes import View
from dispatcher.records.keys import public_member_id
from dispatcher.segments.answers import Chosen, choose

router = APIRouter(prefix="/v1", tags=["segments"])

NDJSON = "application/x-ndjson"
LINES = 4_096  # written at a time
_CURSOR = struct.Struct(">IQ")  # the last member_no shown, and the instant of the first page
_NDJSON: dict[int | str, dict[str, Any]] = {200: {"content": {NDJSON: {"schema": {"type": "string"}}}}}

MayList = Annotated[Caller, may("segments:read", "members:read")]
Accept = Annotated[str, Header(include_in_schema=False)]


class MatchedAnswer(Answer):
    id: str


@router.get("/segments/{segment}/members", response_model=Page[MatchedAnswer], responses=_NDJSON)
async def list_segment_members(
    request: Request,
    segment: str,
    caller: MayList,
    reads: Reading,
    limit: Limit,
    after: After = None,
    as_of: AsOf = None,
    accept: Accept = "",
) -> Any:
    """All pages are of the first one's instant. Accept: application/x-ndjson streams them all, a line each."""
    at_ms = as_of_ms(request, as_of)
    last, at_ms = _place(after, at_ms)

    def read(view: View) -> Chosen:
        row = need_segment(view, caller.tenant, parsed("seg", segment))
        return choose(view, caller.tenant, row["expr"], at_ms)

    return _answer(await reads.scan(read), last, at_ms, limit, accept)


@router.post("/segments:members", response_model=Page[MatchedAnswer], responses=_NDJSON)
async def list_matched_members(
    request: Request,
    body: AskBody,
    caller: MayList,
    reads: Reading,
    limit: Limit,
    after: After = None,
    accept: Accept = "",
) -> Any:
    """The same of a rule that is not saved."""
    text = rule_text(request, body)
    last, at_ms = _place(after, as_of_ms(request, body.as_of))
    return _answer(await reads.scan(choose, caller.tenant, text, at_ms), last, at_ms, limit, accept)


def _place(after: str | None, at_ms: int) -> tuple[int, int]:
    """(member_no to go on after, the instant)."""
    key = key_of(after, _CURSOR.size)
    return (-1, at_ms) if key is None else _CURSOR.unpack(key)


def _answer(chosen: Chosen, last: int, at_ms: int, limit: int, accept: str) -> Any:
    if NDJSON in accept:
        return StreamingResponse(_lines(chosen, last), media_type=NDJSON, headers={"X-Matched": str(chosen.matched)})
    numbers = list(islice(chosen.numbers(last), limit + 1))
    shown = [{"id": public_member_id(number)} for number in numbers[:limit]]
    more = len(numbers) > limit
    cursor = cursor_of(_CURSOR.pack(numbers[limit - 1], at_ms)) if more else None
    return {"data": shown, "next": cursor}


def _lines(chosen: Chosen, last: int) -> Iterator[bytes]:
    """Run in a worker thread, a slice at a time (Starlette does so with a plain generator)."""
    for numbers in _slices(chosen.numbers(last)):
        yield "".join([f'{{"id": "{public_member_id(number)}"}}\n' for number in numbers]).encode()


def _slices(numbers: Iterator[int]) -> Iterator[list[int]]:
    while found := list(islice(numbers, LINES)):
        yield found
