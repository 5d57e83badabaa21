"""The audit: who did what, when and why; the operator sees all of it, a tenant its own.

Touches: rows of `audit`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from admin.answers import After, Answer, Limit, Page, Reading
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from dispatcher.clock import rfc3339
from dispatcher.records.changes import View
from dispatcher.store.audit import audit_json, newest_first
from dispatcher.store.layout import U64
from dispatcher.tenants.keys import key_titles

router = APIRouter(prefix="/v1", tags=["audit"])


class Edit(Answer):
    object: str
    before: dict[str, Any]
    after: dict[str, Any] | None = Field(description="null: it was removed")


class AuditAnswer(Answer):
    seq: int
    at: str
    actor: str = Field(description="the key, `cli`, or a part of the program")
    who: str | None = Field(description="the key's title; null for what is no key")
    command: str
    tenant: str | None = Field(description="null: the operator's own")
    reason: str
    object: str | None = Field(description="what it made or changed")
    edits: list[Edit] = Field(description="values that differ, before and after")
    seal: str | None = Field(description="sha256 over the seal before and this entry; null: of a version without seals")


@router.get("/audit", response_model=Page[AuditAnswer])
async def list_audit(
    caller: Annotated[Caller, may("audit:read", tenant=False)],
    reads: Reading,
    limit: Limit,
    after: After = None,
    command: Annotated[str, Query(max_length=50, description="only commands that begin with this")] = "",
) -> dict[str, Any]:
    """The newest first. A page may be short, even empty, and have a `next`: what is passed over is bounded."""
    key = key_of(after, U64.size)
    before = None if key is None else U64.unpack(key)[0]
    tenant = None if caller.operator and not caller.tenant else caller.tenant

    def read(view: View) -> dict[str, Any]:
        rows, following = newest_first(view, tenant=tenant, command=command, before=before, limit=limit)
        shown = [audit_json(*row) for row in rows]
        titles = key_titles(view)
        for row in shown:
            row["at"] = rfc3339(row.pop("at_ms"))
            row["who"] = titles.get(row["actor"])
        return {"data": shown, "next": None if following is None else cursor_of(U64.pack(following))}

    return await reads.scan(read)
