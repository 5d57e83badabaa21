"""Exports: members who match, as a file that is written while it is read.

Touches: members/export.py over segments; command export.note, whose line is in the audit before the first octet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from admin.answers import Body, Reading
from admin.asking import Asking
from admin.auth import Caller, may
from admin.reads import Reads
from dispatcher.clock import Clock
from dispatcher.control.commands import NoteExport
from dispatcher.members.export import FORMATS, Export, audit_reason
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import select
from dispatcher.store.snapshot import Snapshot

router = APIRouter(prefix="/v1", tags=["members"])
FULL_SCOPE = "pii:read"  # without it what tells who somebody is comes masked
CONTENT: dict[str, Any] = {media.partition(";")[0]: {} for media in FORMATS.values()}


class ExportBody(Body):
    expr: Annotated[str, Field(min_length=1, max_length=100_000, description="who, by the language")] = "everyone"
    format: Literal["csv", "ndjson", "parquet"] = "csv"
    fields: Annotated[
        list[Annotated[str, Field(max_length=40)]],
        Field(max_length=500, default_factory=list, description="in this order; every field when none is named"),
    ]
    masked: Annotated[bool, Field(description="hide what tells who somebody is, also where the key may see it")] = False
    reason: Annotated[str, Field(max_length=500, description="needed where pii is not masked; in the audit")] = ""


@router.post(
    "/exports",
    response_class=StreamingResponse,
    responses={200: {"description": "The file; Volley-Members: how many", "content": CONTENT}},
)
async def export_members(
    body: ExportBody, ask: Asking, caller: Annotated[Caller, may("members:read")], reads: Reading
) -> StreamingResponse:
    """A row a member, in the order they were made; who is meant is fixed when it begins."""
    masked = body.masked or not caller.key.may(FULL_SCOPE)
    clock: Clock = ask.request.app.state.clock

    def begin(view: Snapshot) -> tuple[Export, str, list[tuple[int, bytearray, int]]]:
        export = Export(view, caller.tenant, body.fields, body.format, masked=masked)
        export.need_reason(body.reason)
        compiled = compile_text(view, caller.tenant, body.expr, as_of_ms=clock.epoch_ms())
        return export, compiled.text, list(select(view, caller.tenant, compiled))

    export, text, blocks = await reads.scan(begin)
    note = NoteExport(expr=text, fields=[field.name for field in export.fields], format=body.format, masked=masked)
    await ask(caller, note, reason=audit_reason(body.reason, note))
    headers = {
        "Content-Disposition": f'attachment; filename="members.{body.format}"',
        "Volley-Members": str(sum(count for _, _, count in blocks)),
    }
    return StreamingResponse(_stream(reads, export, blocks), media_type=FORMATS[body.format], headers=headers)


async def _stream(reads: Reads, export: Export, blocks: list[tuple[int, bytearray, int]]) -> AsyncIterator[bytes]:
    """A block a snapshot: none is held while the receiver is slow."""
    yield export.head()
    for block, bitmap, _ in blocks:
        yield await reads.scan(export.block, block, bitmap)
    yield export.tail()
