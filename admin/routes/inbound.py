"""Inbound: what phones sent to us, and what was made of each.

Touches: rows of `inbound`.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from admin.answers import After, Answer, Limit, Page, Reading, page
from admin.auth import Caller, may
from admin.reads import cursor_of, key_of
from dispatcher.clock import rfc3339
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT, TENANT_U64, U64
from dispatcher.store.values import unpack

router = APIRouter(prefix="/v1", tags=["inbound"])


class InboundAnswer(Answer):
    id: str
    from_: str = Field(alias="from")
    to: str
    text: str | None = Field(description="null where the octets could not be read")
    what: str = Field(description="what was made of it: stop, points, inbox, ...")
    at: str
    cursor: str = Field(description="`after` for what comes next, also when nothing has come yet")


@router.get("/inbound", response_model=Page[InboundAnswer])
async def list_inbound(
    caller: Annotated[Caller, may("inbound:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    order: Annotated[str, Query(pattern="^(oldest|newest)$")] = "oldest",
) -> dict[str, Any]:
    """The oldest first: a program keeps the last `cursor` and asks again."""
    key = key_of(after, U64.size)
    prefix = TENANT.pack(caller.tenant)

    def read(view: View) -> dict[str, Any]:
        rows = view.range("inbound", prefix, after=None if key is None else prefix + key, reverse=order == "newest")
        found = [_inbound_json(key, value) for key, value in itertools.islice(rows, limit + 1)]
        return page(found, limit, found[min(limit, len(found)) - 1]["cursor"] if found else None)

    return await reads.scan(read)


def _inbound_json(key: bytes, value: bytes) -> dict[str, Any]:
    row = unpack(value)
    octets = row.get("octets")
    return {
        "id": public_id("inb", TENANT_U64.unpack(key)[1]),
        "from": row["from"],
        "to": row["to"],
        "text": row.get("text"),
        "what": row["what"],
        "at": rfc3339(row["at_ms"]),
        "data_coding": row.get("data_coding"),
        "octets": octets.hex() if octets is not None else None,
        "cursor": cursor_of(key[TENANT.size :]),
    }
