"""Points: an entry, a balance, a statement.

Touches: a member's points through apps/points; command points.add, which is repeat-safe by its own key too.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from admin.answers import After, Answer, Body, Limit, Page, Reading, Whole, page
from admin.asking import AskingOnce
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from admin.routes.members import MOVED, member_no_of, moved
from dispatcher.apps.points.account import balance, statement
from dispatcher.clock import rfc3339
from dispatcher.control.commands import AddPoints
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.store.layout import U64

router = APIRouter(prefix="/v1", tags=["points"])


class EntryBody(Body):
    member: Annotated[str, Field(max_length=40)]
    delta: Annotated[Whole, Field(description="earned above 0, spent below")]
    source: Annotated[str, Field(min_length=1, max_length=40, description="till, campaign, person that moves them")]
    reason: Annotated[str, Field(max_length=200)] = ""
    key: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="of the event that earned or spent, kept for ever; "
              "without it the Idempotency-Key serves"),
    ] = None  # fmt: skip


class EntryAnswer(Answer):
    id: str
    member: str
    delta: int
    balance: int


class BalanceAnswer(Answer):
    member: str
    balance: int


@router.post("/points/entries", status_code=201, response_model=EntryAnswer)
async def add_entry(body: EntryBody, ask: AskingOnce, caller: Annotated[Caller, may("points:write")]) -> dict[str, Any]:
    """Move points. 409 insufficient_points when the balance would go below 0; 200 when `key` did this before."""
    command = AddPoints(
        member_no=member_no_of(body.member),
        delta=body.delta,
        source=body.source,
        key=body.key or ask.request_key,
        why=body.reason,
    )
    reply = await ask(caller, command)
    if reply.get("repeated"):
        ask.response.status_code = 200
    return _entry_json(reply)


@router.get("/points/balances/{member}")
async def get_balance(member: str, caller: Annotated[Caller, may("points:read")], reads: Reading) -> BalanceAnswer:
    points = await reads.scan(balance, caller.tenant, member_no_of(member))
    if points is None:
        raise CommandRefused(404, "not_found", "no such member")
    return BalanceAnswer(member=member, balance=points)


@router.get("/members/{member}/points", response_model=Page[EntryAnswer], responses=MOVED)
async def get_statement(
    member: str, caller: Annotated[Caller, may("points:read")], reads: Reading, limit: Limit, after: After = None
) -> Any:
    """The newest entries first."""
    member_no = member_no_of(member)
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]

    def read(view: View) -> Any:
        if balance(view, caller.tenant, member_no) is None:
            return moved(view, caller.tenant, member_no, "/points")
        rows = statement(view, caller.tenant, member_no, limit + 1, before=before)
        cursor = cursor_of(U64.pack(rows[min(limit, len(rows)) - 1]["entry"])) if rows else None
        return page([_entry_json(row) for row in rows], limit, cursor)

    return await reads.scan(read)


def _entry_json(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("id", "member", "delta", "balance", "source", "reason", "key")}
    return {**shown, "debit": row["debit"], "credit": row["credit"], "at": rfc3339(row["at_ms"])}
