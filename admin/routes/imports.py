"""Imports: a body taken as a stream while it is parsed, how far it is, and what was rejected.

Touches: the spool, imports and their rejects through members/importer; commands import.*. The dispatcher is told
as soon as the first octets are on their way to the disk, so that most of the parsing is done when the last arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import errno
import io
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from admin.answers import After, Answer, Limit, Page, Reading, page
from admin.asking import LONG_TIMEOUT_S, Ask, Asking
from admin.auth import Caller, may, parsed
from admin.problems import DispatcherDown
from admin.reads import Reads, cursor_of, key_of
from admin.spool import Spool, applied_share
from dispatcher.clock import rfc3339
from dispatcher.control.commands import CancelImport, EndImportBody, OpenImport
from dispatcher.errors import CommandRefused
from dispatcher.members.importer import FINAL, import_json
from dispatcher.members.importer import list_imports as rows_of
from dispatcher.members.importer import list_rejects as rejects_of
from dispatcher.records.changes import View
from dispatcher.records.keys import new_id, parse_public_id
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["imports"])

UPLOADS_AT_ONCE = 8  # each holds a spool chunk and a file; their parsing takes turns anyway
SILENCE_S = 60.0  # a sender that sends nothing for this long has gone
LOOK_OCTETS = 16 << 20  # between looks whether the import has failed or was cancelled while its body arrives
WAIT_LOOK_S = 0.1
STREAM_ROWS = 2_000
REJECT_COLUMNS = ("line", "column", "value", "code", "detail")
CSV_TYPES = ("text/csv", "application/csv", "text/plain", "application/octet-stream")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # PITFALLS 4: cells that a spreadsheet would run


class ImportAnswer(Answer):
    id: str
    state: str


class RejectAnswer(Answer):
    line: int
    column: str | None
    value: str | None
    code: str
    detail: str


@router.post("/imports", status_code=202, response_model=ImportAnswer, openapi_extra={
    "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
})  # fmt: skip
async def upload_import(
    request: Request,
    ask: Asking,
    caller: Annotated[Caller, may("imports:write")],
    reads: Reading,
    mode: Literal["upsert", "insert", "update"] = "upsert",
    dry_run: Annotated[bool, Query(description="everything but the writing")] = False,
    delimiter: Annotated[str, Query(max_length=1, description="empty: found out")] = "",
    column: Annotated[
        list[str], Query(alias="map", max_length=500, description="`header:field`; none: columns by equal names")
    ] = [],  # noqa: B006
    filename: Annotated[str, Query(max_length=255)] = "",
    wait: Annotated[bool, Query(description="answer 200 when the import has ended")] = False,
    content_type: Annotated[str, Header(include_in_schema=False)] = "text/csv",
) -> dict[str, Any]:
    """Members from CSV with a header line, of any length. 202 when the body is safe on disk."""
    if content_type.partition(";")[0].strip().lower() not in CSV_TYPES:
        raise CommandRefused(415, "unsupported_media_type", "send the CSV itself as Content-Type: text/csv")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise CommandRefused(415, "unsupported_media_type", "send the CSV without Content-Encoding")
    command = OpenImport(
        import_id=new_id(request.app.state.clock.epoch_ms(), secrets.randbits(16)),
        mode=mode,
        mapping=_mapping(column),
        dry_run=dry_run,
        delimiter=delimiter,
        filename=filename,
    )
    state = request.app.state
    if state.uploads >= UPLOADS_AT_ONCE:
        raise CommandRefused(429, "too_many_uploads", f"{UPLOADS_AT_ONCE} imports arrive already")
    state.uploads += 1
    try:
        import_id = await _Upload(request, ask, caller, reads, command).run()
    finally:
        state.uploads -= 1
    while True:
        row = await reads.scan(_loaded, caller.tenant, import_id)
        if row["state"] in FINAL or not wait:
            break
        if await request.is_disconnected():
            raise ClientDisconnect
        await asyncio.sleep(WAIT_LOOK_S)
    ask.response.status_code = 200 if wait else 202
    return _shown(row)


class _Upload:
    """One body on its way: spool, open, end; whatever breaks it cancels the import."""

    def __init__(self, request: Request, ask: Ask, caller: Caller, reads: Reads, command: OpenImport) -> None:
        self.request = request
        self.ask = ask
        self.caller = caller
        self.reads = reads
        self.command = command
        self.octets_max = request.app.state.settings.limits.import_octets_max
        self.spool = Spool(request.app.state.settings.data, command.import_id)
        self.known = False  # the dispatcher has the import: the folder is its own from then on

    async def run(self) -> int:
        """The import's id, with its body whole and on disk (an earlier import's for a replay)."""
        try:
            return await self._run()
        except ClientDisconnect:
            await self._give_up()
            raise CommandRefused(400, "body_cut", "the connection ended before the body did") from None
        except OSError as exc:
            await self._give_up()
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CommandRefused(507, "insufficient_storage", "no room in the data folder for the body") from exc
            raise CommandRefused(500, "spool_failed", f"the body could not be kept: {exc.strerror}") from exc
        except BaseException:
            await self._give_up()
            raise
        finally:
            self.spool.close()

    async def _run(self) -> int:
        await self.spool.open()
        octets = looked = 0
        earlier: int | None = None
        async for data in self._body():
            octets += len(data)
            if octets > self.octets_max:
                raise CommandRefused(413, "body_too_large", f"at most {self.octets_max} octets")
            if earlier is not None:
                continue  # a replay's body is read to its end and dropped: many senders read no answer before
            await self.spool.append(data)
            if not self.known:
                earlier = await self._open()
            elif octets - looked >= LOOK_OCTETS:
                looked = octets
                if await self._ended():
                    return self.command.import_id
        if not self.known and earlier is None:  # an empty body is an import too, of nothing
            earlier = await self._open()
        if earlier is not None:
            await self.spool.remove()
            return earlier
        try:
            size = await self.spool.finish()
        except FileNotFoundError:
            if await self._ended():  # cancelled while it arrived: the dispatcher has removed the folder
                return self.command.import_id
            raise
        end = Ask(self.request, self.ask.response, "")
        done = EndImportBody(import_id=self.command.import_id, octets=size)
        await end(self.caller, done, timeout_s=LONG_TIMEOUT_S)
        return self.command.import_id

    async def _body(self) -> AsyncIterator[bytes]:
        body = aiter(self.request.stream())
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    data = await anext(body)
            except StopAsyncIteration:
                return
            except TimeoutError as exc:
                raise CommandRefused(408, "body_slow", f"no octet of the body for {SILENCE_S:.0f} s") from exc
            if data:
                yield data

    async def _open(self) -> int | None:
        """Tell the dispatcher. The id of an earlier import when this Idempotency-Key made one."""
        await self.spool.flush()
        reply = await self.ask(self.caller, self.command, timeout_s=LONG_TIMEOUT_S)
        made = parse_public_id("imp", reply["id"])
        if made != self.command.import_id:
            return made
        self.known = True
        return None

    async def _ended(self) -> bool:
        row = await self.reads.scan(_loaded, self.caller.tenant, self.command.import_id)
        return row["state"] in FINAL

    async def _give_up(self) -> None:
        if not self.known:
            await self.spool.remove()
            return
        cancel = Ask(self.request, self.ask.response, "")
        with contextlib.suppress(CommandRefused, DispatcherDown):  # the dispatcher gives up on a silent body by itself
            await cancel(self.caller, CancelImport(import_id=self.command.import_id))


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
    row = await reads.scan(_loaded, caller.tenant, parsed("imp", import_id))
    applied = await asyncio.to_thread(applied_share, request.app.state.settings.data, row)
    return _shown(row) | {"progress": applied}


@router.post("/imports/{import_id}:cancel", response_model=Answer)
async def cancel_import(import_id: str, ask: Asking, caller: Annotated[Caller, may("imports:write")]) -> dict[str, Any]:
    """Stop; what was applied stays."""
    return await ask(caller, CancelImport(import_id=parsed("imp", import_id)))


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
    await reads.scan(_loaded, caller.tenant, number)
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


def _loaded(view: View, tenant: int, import_id: int) -> dict[str, Any]:
    row = import_json(view, tenant, import_id)
    if row is None:
        raise CommandRefused(404, "not_found", "no such import")
    return row


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    began, seen = row["created_ms"], row["updated_ms"]
    rate = round(1000 * row["rows_read"] / (seen - began)) if seen > began else None
    shown = {name: value for name, value in row.items() if not name.endswith("_ms")}
    return {**shown, "rows_per_s": rate, "created_at": rfc3339(began), "updated_at": rfc3339(seen)}


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        header, colon, field = pair.rpartition(":")
        if not colon or not field or not header or len(pair) > 400:
            raise CommandRefused(422, "invalid", f"map={pair[:60]!r}: write header:field", extra={"map": pair[:400]})
        mapping[header] = field
    return mapping
