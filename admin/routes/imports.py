"""Imports: a body taken as a stream, whole or in pieces, how far it is, commit, undo, and what was rejected.

Touches: the spool through admin/upload.py, imports and their rejects through members/importer; commands import.*.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from admin.answers import After, Answer, Limit, Page, Reading, page
from admin.asking import Asking
from admin.auth import Caller, may, parsed
from admin.problems import problem
from admin.reads import Reads, cursor_of, key_of
from admin.spool import applied_share
from admin.upload import Upload, kept_octets, loaded
from dispatcher.clock import rfc3339
from dispatcher.control.commands import CancelImport, CommitImport, OpenImport, UndoImport
from dispatcher.errors import CommandRefused
from dispatcher.members.importer import FINAL
from dispatcher.members.importer import list_imports as rows_of
from dispatcher.members.importer import list_rejects as rejects_of
from dispatcher.records.keys import new_id, parse_public_id, public_id
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["imports"])

UPLOADS_AT_ONCE = 8  # each holds a spool chunk and a file; their parsing takes turns anyway
WAIT_LOOK_S = 0.1
STREAM_ROWS = 2_000
REJECT_COLUMNS = ("line", "column", "value", "code", "hint", "detail")
FORMATS = {  # media type -> format; "" = found out
    "text/csv": "csv",
    "application/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "text/plain": "",
    "application/octet-stream": "",
}
COMPRESSIONS = {"": "", "identity": "", "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}  # Content-Encoding
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # PITFALLS 4: cells that a spreadsheet would run
BODIES = {kind: {"schema": {"type": "string"}} for kind in FORMATS if kind not in ("text/plain", "application/csv")}
TRANSFORMS_MAX = 4_000  # characters of `mapping`: with all escaped a request line still fits uvicorn's 64 KiB


class ImportAnswer(Answer):
    id: str
    state: str


class RejectAnswer(Answer):
    line: int
    column: str | None
    value: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Pieces:
    """The headers of a body that comes in pieces; complete None: it comes whole."""

    complete: bool | None
    offset: int | None


def _pieces(
    complete: Annotated[str | None, Header(alias="Upload-Complete", description="?0: more pieces follow")] = None,
    offset: Annotated[str | None, Header(alias="Upload-Offset", description="where this piece begins")] = None,
) -> Pieces:
    if complete not in (None, "?0", "?1"):
        raise CommandRefused(400, "bad_request", f"Upload-Complete {complete[:20]!r}: ?0 or ?1")
    if offset is not None and not (offset.isdecimal() and offset.isascii() and len(offset) < 19):
        raise CommandRefused(400, "bad_request", f"Upload-Offset {offset[:20]!r}: octets, a whole number")
    return Pieces(None if complete is None else complete == "?1", None if offset is None else int(offset))


def _command(
    request: Request,
    mode: Literal["upsert", "insert", "update", "replace_tags"] = "upsert",
    dry_run: Annotated[bool, Query(description="everything but the writing; see :commit")] = False,
    format: Annotated[Literal["", "csv", "ndjson", "parquet"], Query(description="empty: Content-Type")] = "",
    compression: Annotated[Literal["", "none", "gzip", "zstd"], Query(description="empty: Content-Encoding")] = "",
    charset: Annotated[str, Query(max_length=40, description="empty: Content-Type's, else found out")] = "",
    delimiter: Annotated[str, Query(max_length=1, description="empty: found out")] = "",
    column: Annotated[
        list[str], Query(alias="map", max_length=500, description="`header:field`; none: columns by equal names")
    ] = [],  # noqa: B006
    mapping: Annotated[
        str, Query(max_length=TRANSFORMS_MAX, description="JSON: {column: field or {field, date_format, ...}}")
    ] = "",
    filename: Annotated[str, Query(max_length=255)] = "",
    content_type: Annotated[str, Header(include_in_schema=False)] = "",
    content_encoding: Annotated[str, Header(include_in_schema=False)] = "",
) -> OpenImport:
    """What is asked for: the query, and where it says nothing Content-Type and Content-Encoding."""
    kind, _, rest = content_type.partition(";")
    kind, encoding = kind.strip().lower(), content_encoding.strip().lower()
    if kind and kind not in FORMATS:
        raise CommandRefused(415, "unsupported_media_type", f"Content-Type: one of {', '.join(FORMATS)}")
    if encoding not in COMPRESSIONS:
        raise CommandRefused(415, "unsupported_media_type", "Content-Encoding: gzip, zstd or none")
    said = dict(part.strip().lower().partition("=")[::2] for part in rest.split(";"))
    return OpenImport(
        import_id=new_id(request.app.state.clock.epoch_ms(), secrets.randbits(16)),
        mode=mode,
        mapping=_mapping(column, mapping),
        dry_run=dry_run,
        format=format or FORMATS.get(kind, ""),
        compression=compression or COMPRESSIONS[encoding],
        charset=charset or said.get("charset", "").strip('"'),
        delimiter=delimiter,
        filename=filename,
    )


@router.post("/imports", status_code=202, response_model=ImportAnswer, openapi_extra={
    "requestBody": {"required": True, "content": BODIES}
})  # fmt: skip
async def upload_import(
    request: Request,
    ask: Asking,
    caller: Annotated[Caller, may("imports:write")],
    reads: Reading,
    command: Annotated[OpenImport, Depends(_command)],
    pieces: Annotated[Pieces, Depends(_pieces)],
    wait: Annotated[bool, Query(description="answer 200 when the import has ended")] = False,
) -> dict[str, Any]:
    """Members from CSV, NDJSON or Parquet of any length. 202 when the body is safe on disk.

    With `Upload-Complete: ?0` this is the first piece (perhaps empty): 201, and `Location` takes more by PATCH.
    """
    if pieces.offset:
        raise CommandRefused(400, "bad_request", "Upload-Offset: a new import begins at 0")
    with _Room(request):
        if pieces.complete is False:
            upload = Upload(request, ask, caller, reads, command.import_id)
            import_id, kept = await upload.begin(replace(command, resumable=True))
            _say_offset(ask.response, kept, complete=False)
            ask.response.headers["Location"] = f"/v1/imports/{public_id('imp', import_id)}"
            ask.response.status_code = 201
            return _shown(await reads.scan(loaded, caller.tenant, import_id))
        import_id = await Upload(request, ask, caller, reads, command.import_id).whole(command)
    ask.response.status_code = 200 if wait else 202
    return _shown(await _row(request, reads, caller, import_id, ended=wait))


@router.patch("/imports/{import_id}", response_model=ImportAnswer, status_code=202, openapi_extra={
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
})  # fmt: skip
async def upload_piece(
    import_id: str,
    request: Request,
    ask: Asking,
    caller: Annotated[Caller, may("imports:write")],
    reads: Reading,
    pieces: Annotated[Pieces, Depends(_pieces)],
) -> Any:
    """One more piece of a body, from `Upload-Offset` on; `Upload-Complete: ?1` with the last. 409: the right offset."""
    if pieces.offset is None:
        raise CommandRefused(400, "bad_request", "Upload-Offset: say where this piece begins")
    number = parsed("imp", import_id)
    last = pieces.complete is True
    with _Room(request):
        try:
            kept = await Upload(request, ask, caller, reads, number).piece(pieces.offset, last=last)
        except CommandRefused as exc:
            if "offset" not in exc.extra:
                raise
            right, place = {"Upload-Offset": str(exc.extra["offset"])}, request.url.path
            return problem(exc.status, exc.code, exc.detail, instance=place, extra=exc.extra, headers=right)
    _say_offset(ask.response, kept, complete=last)
    return _shown(await reads.scan(loaded, caller.tenant, number))


@router.head("/imports/{import_id}", status_code=204, response_class=Response)
async def upload_offset(
    import_id: str, request: Request, caller: Annotated[Caller, may("imports:write")], reads: Reading
) -> Response:
    """How much of the body is on disk (`Upload-Offset`), and whether that is all of it (`Upload-Complete`)."""
    number = parsed("imp", import_id)
    row = await reads.scan(loaded, caller.tenant, number)
    whole = row["body_octets"]
    answer = Response(status_code=204, headers={"Cache-Control": "no-store"})
    _say_offset(answer, await kept_octets(request, number) if whole is None else whole, complete=whole is not None)
    return answer


@router.get("/imports", response_model=Page[ImportAnswer])
async def list_imports(
    caller: Annotated[Caller, may("imports:write")], reads: Reading, limit: Limit, after: After = None
) -> dict[str, Any]:
    """The newest first."""
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    rows = await reads.scan(rows_of, caller.tenant, before=before, limit=limit + 1)
    last = parse_public_id("imp", rows[min(limit, len(rows)) - 1]["id"]) if rows else None
    return page([_shown(row) for row in rows], limit, None if last is None else cursor_of(U64.pack(last)))


@router.get("/imports/{import_id}", response_model=ImportAnswer)
async def get_import(
    import_id: str, request: Request, caller: Annotated[Caller, may("imports:write")], reads: Reading
) -> dict[str, Any]:
    """Counts add up at any moment: rows_read = members_imported + rows_updated + rows_rejected."""
    number = parsed("imp", import_id)
    row = await reads.scan(loaded, caller.tenant, number)
    applied = await asyncio.to_thread(applied_share, request.app.state.settings.data, row)
    shown = _shown(row) | {"progress": applied}
    if row["state"] == "receiving" and row.get("resumable"):
        shown["upload_offset"] = await kept_octets(request, number)
    return shown


@router.post("/imports/{import_id}:cancel", response_model=Answer)
async def cancel_import(import_id: str, ask: Asking, caller: Annotated[Caller, may("imports:write")]) -> dict[str, Any]:
    """Stop after the slice that is being written; what was applied stays, and :undo takes it back."""
    return await ask(caller, CancelImport(import_id=parsed("imp", import_id)))


@router.post("/imports/{import_id}:commit", status_code=202, response_model=Answer)
async def commit_import(import_id: str, ask: Asking, caller: Annotated[Caller, may("imports:write")]) -> dict[str, Any]:
    """Do what a dry run has shown, with the file it was shown for; the file is kept until `body_until`."""
    return await ask(caller, CommitImport(import_id=parsed("imp", import_id)))


@router.post("/imports/{import_id}:undo", status_code=202, response_model=ImportAnswer)
async def undo_import(
    import_id: str,
    request: Request,
    ask: Asking,
    caller: Annotated[Caller, may("imports:write")],
    reads: Reading,
    skip_changed: Annotated[bool, Query(description="undo the others although later changes touched some")] = False,
    wait: Annotated[bool, Query(description="answer 200 when the undo has ended")] = False,
) -> dict[str, Any]:
    """Give every member the values from before. Whole: when later changes touched some, nothing is done, `undo.phase`
    is `refused` and `undo.conflicts` says whose and which fields. Kept until `undo_until`."""
    number = parsed("imp", import_id)
    await ask(caller, UndoImport(import_id=number, skip_changed=skip_changed))
    ask.response.status_code = 200 if wait else 202
    return _shown(await _row(request, reads, caller, number, ended=wait))


@router.get("/imports/{import_id}/rejects", response_model=Page[RejectAnswer], responses={
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
})  # fmt: skip
async def list_rejects(
    import_id: str,
    caller: Annotated[Caller, may("imports:write")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Any:
    """Every line that was not taken, and why. Accept: text/csv streams them all."""
    number = parsed("imp", import_id)
    await reads.scan(loaded, caller.tenant, number)
    key = key_of(after, U64.size)
    line = 0 if key is None else U64.unpack(key)[0]
    if "text/csv" in accept:
        return StreamingResponse(_reject_lines(reads, caller.tenant, number, line), media_type="text/csv")
    rows = await reads.scan(rejects_of, caller.tenant, number, after_line=line, limit=limit + 1)
    cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1]["line"])) if rows else None
    return page(rows, limit, cursor)


async def _reject_lines(reads: Reads, tenant: int, import_id: int, line: int) -> AsyncIterator[bytes]:
    """CSV, a slice a snapshot; cells that a spreadsheet would take for a formula are led by an apostrophe."""
    yield ",".join(REJECT_COLUMNS).encode() + b"\r\n"
    while rows := await reads.scan(rejects_of, tenant, import_id, after_line=line, limit=STREAM_ROWS):
        line = rows[-1]["line"]
        text = io.StringIO()
        csv.writer(text).writerows([_cell(row.get(name)) for name in REJECT_COLUMNS] for row in rows)
        yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    began, seen = row["created_ms"], row["updated_ms"]
    rate = round(1000 * row["rows_read"] / (seen - began)) if seen > began and "rows_read" in row else None
    hidden = ("created_ms", "updated_ms", "body_until", "undo_until")
    shown = {name: value for name, value in row.items() if name not in hidden}
    untils = {name: rfc3339(row[name]) if row.get(name) else None for name in ("body_until", "undo_until")}
    return {**shown, **untils, "rows_per_s": rate, "created_at": rfc3339(began), "updated_at": rfc3339(seen)}


def _mapping(pairs: list[str], text: str) -> dict[str, Any]:
    """`map` and `mapping` of the query as one."""
    mapping: dict[str, Any] = {}
    if text:
        try:
            mapping = json.loads(text)
        except ValueError as exc:
            raise CommandRefused(422, "invalid", f"mapping: not JSON: {exc}") from exc
        if not isinstance(mapping, dict):
            raise CommandRefused(422, "invalid", "mapping: a JSON object {column: field or {field, ...}}")
    for pair in pairs:
        header, colon, field = pair.rpartition(":")
        if not colon or not field or not header or len(pair) > 400:
            raise CommandRefused(422, "invalid", f"map={pair[:60]!r}: write header:field", extra={"map": pair[:400]})
        mapping[header] = field
    return mapping


def _say_offset(response: Response, octets: int, *, complete: bool) -> None:
    response.headers["Upload-Offset"] = str(octets)
    response.headers["Upload-Complete"] = "?1" if complete else "?0"


async def _row(request: Request, reads: Reads, caller: Caller, import_id: int, *, ended: bool) -> dict[str, Any]:
    """An import as it is, or when it has ended."""
    while True:
        row: dict[str, Any] = await reads.scan(loaded, caller.tenant, import_id)
        if row["state"] in FINAL or not ended:
            return row
        if await request.is_disconnected():
            raise ClientDisconnect
        await asyncio.sleep(WAIT_LOOK_S)


class _Room:
    """One of the few bodies that may arrive at a time."""

    def __init__(self, request: Request) -> None:
        self._state = request.app.state

    def __enter__(self) -> None:
        if self._state.uploads >= UPLOADS_AT_ONCE:
            raise CommandRefused(429, "too_many_uploads", f"{UPLOADS_AT_ONCE} imports arrive already")
        self._state.uploads += 1

    def __exit__(self, *_: object) -> None:
        self._state.uploads -= 1
