"""Messages from members' phones in a shape that a scan reads: whose, when, and a mark of what they said.

Touches: rows of `replies`, by View and Changes. Each stands beside its message in `inbound`, from the same transaction;
messages from before there was this table have none, and none have those of strangers.
"""

from __future__ import annotations

import hashlib
import struct

from dispatcher.records.changes import Changes, View
from dispatcher.store.layout import TENANT, TENANT_U64

REPLY = struct.Struct("<QIIQ")  # at_ms, member_no, zero, mark


def text_mark(plain: str) -> int:
    """The same for texts that say the same (tenants/market.plain): 64 bits, so two others meet one time in 10^19."""
    return int.from_bytes(hashlib.sha256(plain.encode()).digest()[:8], "little")


def put_reply(changes: Changes, tenant: int, message: int, member_no: int, at_ms: int, plain: str) -> None:
    """`message`: the id of its row in `inbound`."""
    changes.put("replies", TENANT_U64.pack(tenant, message), REPLY.pack(at_ms, member_no, 0, text_mark(plain)))


def first_reply(view: View, tenant: int) -> int | None:
    """The first message that stands here: those before it are in `inbound` alone."""
    for key, _ in view.range("replies", TENANT.pack(tenant)):
        return int(TENANT_U64.unpack(key)[1])
    return None
