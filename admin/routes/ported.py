"""The table of ported numbers: loaded from lines `number,network`, turned back, and what was wrong with its file.

Touches: the request's body, a spool in the data folder, a snapshot; commands route.ported and route.ported_undo. Lines
are read while they arrive, in a thread and without the GIL; memory is 16 octets a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.requests import ClientDisconnect

from admin.answers import Answer, Page
from admin.asking import LONG_TIMEOUT_S, Asking
from admin.reads import Reads
from admin.routes.routes import Hand, Operator
from admin.upload import body_of
from dispatcher.clock import rfc3339
from dispatcher.control.commands import TurnPorted, UndoPorted
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.routes.ported import READ_OCTETS, Ported, Read, Reader, before_ported, get_ported, wrong_lines

router = APIRouter(prefix="/v1", tags=["operator"])

BODY = {"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}}


class Table(Answer):
    """A table of ported numbers; `count` 0: none."""

    count: int
    networks: int
    file: str
    lines: int = Field(description="of its file, a header and empty ones too")
    rejected: int = Field(description="of those")
    loaded_at: str | None


class Loading(Answer):
    """A file on its way, now."""

    file: str
    state: str = Field(description="`reading` its body, or `writing` what was read")
    octets: int
    lines: int
    rejected: int


class TableInUse(Table):
    before: Table | None = Field(description="what `:undo` turns to")
    loading: Loading | None


class WrongLine(Answer):
    file: str
    line: int
    field: str
    value: str
    rule: str


class Loaded(Answer):
    """What the body had. `wrong`: the first thousand lines of those rejected."""

    count: int
    networks: int
    file: str
    lines: int
    rejected: int
    dry_run: bool
    wrong: list[WrongLine]


@router.get("/ported", response_model=TableInUse)
async def show_ported(request: Request, caller: Operator) -> dict[str, Any]:
    """The table in use, the one that undo turns to, and how far a load is."""
    reads: Reads = request.app.state.reads
    now, before = reads.now(_tables)
    return _table(now) | {"before": before and _table(before), "loading": _progress(request)}


@router.get("/ported/wrong", response_model=Page[WrongLine])
async def list_wrong_ported(request: Request, caller: Operator) -> dict[str, Any]:
    """The lines that could not be read of the file in use, the first thousand."""
    reads: Reads = request.app.state.reads
    return {"data": reads.now(_wrong), "next": None}


@router.post("/ported", response_model=Loaded, openapi_extra=BODY)
async def load_ported(
    request: Request, ask: Asking, caller: Hand,
    dry_run: Annotated[bool, Query(description="read and say what is wrong; change nothing")] = False,
    filename: Annotated[str, Query(max_length=255)] = "",
    content_encoding: Annotated[str, Header(include_in_schema=False)] = "identity",
) -> dict[str, Any]:  # fmt: skip
    """Lines `number,network` of any length in place of the table in use, which `:undo` turns back to. Lines that cannot
    be read are passed over and told. One load at a time."""
    if content_encoding.lower() != "identity":
        raise CommandRefused(415, "unsupported_media_type", "send the lines without Content-Encoding")
    if request.app.state.ported is not None:
        raise CommandRefused(409, "ported_loading", "another file of ported numbers is being loaded: wait for it")
    reader = Reader()
    request.app.state.ported = (filename, reader, "reading")
    try:
        async for octets in _pieces(request):
            await asyncio.to_thread(reader.feed, octets)
        read = await asyncio.to_thread(reader.finish)
        if not dry_run:
            request.app.state.ported = (filename, reader, "writing")
            await _turn(request, ask, caller, read, filename)
    except ClientDisconnect:
        raise CommandRefused(400, "body_cut", "the connection ended before the body did") from None
    finally:
        request.app.state.ported = None
    return read.as_json(filename) | {"dry_run": dry_run}


@router.post("/ported:undo", response_model=Table)
async def undo_ported(request: Request, ask: Asking, caller: Hand) -> dict[str, Any]:
    """Use the table from before the last load again; a second time: the loaded one."""
    await ask(caller, UndoPorted())
    reads: Reads = request.app.state.reads
    return _table(reads.now(get_ported))


async def _turn(request: Request, ask: Asking, caller: Hand, read: Read, file: str) -> None:
    spool = request.app.state.settings.data / f"ported.{os.getpid()}.{secrets.token_hex(4)}.spool"
    wrong = [[one.line, one.field, one.value, one.rule] for one in read.wrong]
    try:
        await asyncio.to_thread(spool.write_bytes, read.entries)
        command = TurnPorted(
            count=read.count, networks=read.networks, file=file, spool=spool.name, lines=read.lines,
            rejected=read.rejected, wrong=wrong,
        )  # fmt: skip
        await ask(caller, command, timeout_s=LONG_TIMEOUT_S)
    except OSError as exc:
        raise CommandRefused(507, "insufficient_storage", f"the lines could not be kept: {exc.strerror}") from exc
    finally:
        with contextlib.suppress(OSError):
            spool.unlink(missing_ok=True)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about READ_OCTETS. Raises CommandRefused 408 when it stops, 413 when it is too long."""
    held, octets = bytearray(), 0
    most = request.app.state.settings.limits.import_octets_max
    async for data in body_of(request):
        held += data
        octets += len(data)
        if octets > most:
            raise CommandRefused(413, "body_too_large", f"at most {most} octets")
        if len(held) >= READ_OCTETS:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _tables(view: View) -> tuple[Ported, Ported | None]:
    return get_ported(view), before_ported(view)


def _wrong(view: View) -> list[dict[str, Any]]:
    file = get_ported(view).file
    return [{"file": file, **asdict(one)} for one in wrong_lines(view)]


def _table(ported: Ported) -> dict[str, Any]:
    told = ported.as_json()
    at_ms = told.pop("at_ms")
    return told | {"loaded_at": rfc3339(at_ms) if at_ms else None}


def _progress(request: Request) -> dict[str, Any] | None:
    if request.app.state.ported is None:
        return None
    file, reader, state = request.app.state.ported
    return {
        "file": file, "state": state, "octets": reader.octets, "lines": reader.lines, "rejected": reader.rejected,
    }  # fmt: skip
