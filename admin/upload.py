"""A body on its way: taken whole while it is parsed, or in pieces that may rest (Upload-Offset, Upload-Complete).

Touches: the request, the spool, commands import.open, import.body_done, import.cancel. A body that is taken whole is
told to the dispatcher with its first octets; whatever breaks it cancels the import. One in pieces is kept as far as
it came, and parsed when it is whole.
Rests on: draft-ietf-httpbis-resumable-upload for the headers; a wrong Upload-Offset is 409 with the right one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from admin.asking import LONG_TIMEOUT_S, Ask
from admin.auth import Caller
from admin.problems import DispatcherDown
from admin.reads import Reads
from admin.spool import Spool
from dispatcher.control.commands import CancelImport, EndImportBody, OpenImport
from dispatcher.errors import CommandRefused
from dispatcher.members.importer import FINAL, import_json
from dispatcher.records.changes import View
from dispatcher.records.keys import parse_public_id

SILENCE_S = 60.0  # a sender that sends nothing for this long has gone
LOOK_OCTETS = 16 << 20  # between looks whether the import has failed or was cancelled while its body arrives


def loaded(view: View, tenant: int, import_id: int) -> dict[str, Any]:
    row = import_json(view, tenant, import_id)
    if row is None:
        raise CommandRefused(404, "not_found", "no such import")
    return row


class Upload:
    """One request with a body, or a piece of one."""

    def __init__(self, request: Request, ask: Ask, caller: Caller, reads: Reads, import_id: int) -> None:
        self.request = request
        self.ask = ask
        self.caller = caller
        self.reads = reads
        self.import_id = import_id
        self.octets_max = request.app.state.settings.limits.import_octets_max
        self.spool = Spool(request.app.state.settings.data, import_id)
        self.known = False  # the dispatcher has the import: the folder is its own from then on

    # -- whole ---------------------------------------------------------------------------------------

    async def whole(self, command: OpenImport) -> int:
        """The import's id, with its body whole and on disk (an earlier import's for a replay)."""
        try:
            with _disk_told():
                return await self._whole(command)
        except ClientDisconnect:
            await self._give_up()
            raise CommandRefused(400, "body_cut", "the connection ended before the body did") from None
        except BaseException:
            await self._give_up()
            raise
        finally:
            self.spool.close()

    async def _whole(self, command: OpenImport) -> int:
        await self.spool.open()
        octets = looked = 0
        earlier: int | None = None
        async for data in body_of(self.request):
            octets += len(data)
            self._check_size(octets)
            if earlier is not None:
                continue  # a replay's body is read to its end and dropped: many senders read no answer before
            await self.spool.append(data)
            if not self.known:
                earlier = await self._open(command)
            elif octets - looked >= LOOK_OCTETS:
                looked = octets
                if await self._ended():
                    return self.import_id
        if not self.known and earlier is None:  # an empty body is an import too, of nothing
            earlier = await self._open(command)
        if earlier is not None:
            await self.spool.remove()
            return earlier
        try:
            await self._finish()
        except FileNotFoundError:
            if not await self._ended():  # cancelled while it arrived: the dispatcher has removed the folder
                raise
        return self.import_id

    # -- in pieces -----------------------------------------------------------------------------------

    async def begin(self, command: OpenImport) -> tuple[int, int]:
        """An import whose body comes in pieces, with the first piece: (its id, octets kept).

        A replay answers how far the earlier one is; its piece is not taken.
        """
        try:
            with _disk_told():
                await self.spool.open()
                earlier = await self._open(command)
                if earlier is not None:
                    await self.spool.remove()
                    return earlier, await kept_octets(self.request, earlier)
                return self.import_id, await self._take_piece()
        except BaseException:
            if not self.known:
                await self.spool.remove()
            raise
        finally:
            self.spool.close()

    async def piece(self, offset: int, *, last: bool) -> int:
        """One more piece, from `offset` on; octets kept. 409 with the right offset when it is another."""
        busy: set[int] = self.request.app.state.pieces
        if self.import_id in busy:
            raise CommandRefused(409, "upload_busy", "another piece of this import is arriving")
        busy.add(self.import_id)
        try:
            row = await self.reads.scan(loaded, self.caller.tenant, self.import_id)
            if row["state"] != "receiving" or not row["resumable"]:
                raise CommandRefused(409, "state_conflict", f"the import is {row['state']}: it takes no more octets")
            with _disk_told():
                await self.spool.resume()
                if offset != self.spool.octets:
                    detail = f"Upload-Offset {offset}: {self.spool.octets} octets are here"
                    raise CommandRefused(409, "wrong_offset", detail, extra={"offset": self.spool.octets})
                kept = await self._take_piece()
                if last:
                    await self._finish()
                return kept
        finally:
            busy.discard(self.import_id)
            self.spool.close()

    async def _take_piece(self) -> int:
        """The request's body behind what is there. What came of a broken one is kept: the sender asks how much."""
        try:
            async for data in body_of(self.request):
                self._check_size(self.spool.octets + len(data))
                await self.spool.append(data)
        except ClientDisconnect:
            await self.spool.rest()
            raise CommandRefused(400, "body_cut", "the connection ended before the piece did") from None
        return await self.spool.rest()

    # -- both ----------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        size = await self.spool.finish()
        end = Ask(self.request, self.ask.response, "")
        await end(self.caller, EndImportBody(import_id=self.import_id, octets=size), timeout_s=LONG_TIMEOUT_S)

    def _check_size(self, octets: int) -> None:
        if octets > self.octets_max:
            raise CommandRefused(413, "body_too_large", f"at most {self.octets_max} octets")

    async def _open(self, command: OpenImport) -> int | None:
        """Tell the dispatcher. The id of an earlier import when this Idempotency-Key made one."""
        await self.spool.flush()
        reply = await self.ask(self.caller, command, timeout_s=LONG_TIMEOUT_S)
        made = parse_public_id("imp", reply["id"])
        if made != self.import_id:
            return made
        self.known = True
        return None

    async def _ended(self) -> bool:
        row = await self.reads.scan(loaded, self.caller.tenant, self.import_id)
        return row["state"] in FINAL

    async def _give_up(self) -> None:
        if not self.known:
            await self.spool.remove()
            return
        cancel = Ask(self.request, self.ask.response, "")
        with contextlib.suppress(CommandRefused, DispatcherDown):  # the dispatcher gives up on a silent body by itself
            await cancel(self.caller, CancelImport(import_id=self.import_id))


async def kept_octets(request: Request, import_id: int) -> int:
    """How much of a body in pieces is on disk; 0 when its folder is gone."""
    spool = Spool(request.app.state.settings.data, import_id)
    try:
        await spool.resume()
    except FileNotFoundError:
        return 0
    finally:
        spool.close()
    return spool.octets


@contextlib.contextmanager
def _disk_told() -> Any:
    try:
        yield
    except OSError as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CommandRefused(507, "insufficient_storage", "no room in the data folder for the body") from exc
        raise CommandRefused(500, "spool_failed", f"the body could not be kept: {exc.strerror}") from exc


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """A request's body as it comes. Raises CommandRefused 408 where nothing comes for SILENCE_S."""
    body = aiter(request.stream())
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
