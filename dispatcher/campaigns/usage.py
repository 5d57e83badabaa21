"""What a tenant used by month: messages, parts, billed parts and money of each campaign, exact from its ledger.

Touches: rows of `usage`; ledger arrays, frozen audiences and members' blocks, through a View; time is an argument.

    usage: tenant:2 month:2 campaign:8 -> {messages, parts, billed, micros, settled}

A start writes what its preview says, not settled; the end replaces that by what the ledger says, in the month of each
message's last submit in the tenant's zone. So the sum of a month's rows is what counts against a plan at any moment.
Weak spots: billed parts by a market's own rule, and prices by prefix, are measured when it is settled, from the texts
and numbers as they are then, at the prices of the start. Messages of the API have rows of their own by batch
(apps/messages_meter.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.campaigns.arms import arms_of
from dispatcher.campaigns.price import Meter
from dispatcher.campaigns.render import Renderer
from dispatcher.records.batches import is_batch, purpose_of_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision
from dispatcher.segments.runs import BITMAP_OCTETS, NO_TIME, Deed, Run, kernel
from dispatcher.store.columns import BlockView, open_block
from dispatcher.store.layout import BLOCK, TENANT, USAGE_KEY
from dispatcher.store.values import pack, unpack

SENT = Deed("decision", (Decision.SENT,), "submit_s", bytes(octet == Decision.SENT for octet in range(256)))


@dataclass(slots=True)
class Used:
    messages: int = 0
    parts: int = 0  # on the wire
    billed: int = 0
    micros: int = 0


def month_of(at_ms: int, zone: str) -> int:
    """Months since year 0, of an instant in a zone."""
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    return 12 * local.year + local.month - 1


def month_text(month: int) -> str:
    return f"{month // 12:04}-{month % 12 + 1:02}"


def begins_s(month: int, zone: str) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=ZoneInfo(zone)).timestamp())


def measured(
    view: View, tenant: int, campaign: int, row: dict[str, Any], meter: Meter, low_s: int = 0, high_s: int = NO_TIME
) -> Used:
    """What the ledger says was sent of a campaign between two seconds, both inside. meter: as sent_meter makes it."""
    used, run = Used(), Run(view, campaign, row)
    if not run.has(SENT):
        return used
    for block in run.blocks:
        bits, first = run.bits(SENT, block, low_s, high_s)
        if not any(bits):
            continue
        sent = _slots(run, block, bits, first)
        of_parts = _of_parts(run, block, sent)
        columns = open_block(view, tenant, block, meter.columns)
        used.messages += sent.bit_count()
        used.parts += sum(parts * mine.bit_count() for parts, mine in of_parts.items())
        for arm, of_arm in of_arms(view, tenant, campaign, row, block, sent):
            for endpoint, price, mine in meter.priced(columns, of_arm):
                billed = _billed(meter.renderer(arm, endpoint), columns, block, mine, of_parts)
                used.billed += billed
                used.micros += billed * (price or 0)
    return used


def _billed(renderer: Renderer, columns: BlockView, block: int, bits: int, of_parts: dict[int, int]) -> int:
    """Billed parts of recipients that were sent to: by the market's rule from their texts, and by their parts on the
    wire where there is no rule, or no text any more (who was suppressed or erased since, or lost a value)."""
    wire = sum(parts * (bits & mine).bit_count() for parts, mine in of_parts.items())
    if renderer.billing is None or not bits:
        return wire
    counts = renderer.count_parts(columns, block * BLOCK, bits.to_bytes(BITMAP_OCTETS, "little"))
    if counts.decisions[Decision.SENT] == bits.bit_count():
        return sum(parts * n for parts, n in counts.billed.items())
    if counts.decisions[Decision.SENT] == 0:
        return wire
    half = (1 << bits.bit_length() // 2) - 1  # look for those without a text by halving
    low = bits & half
    if low in (0, bits):
        low = bits & -bits
    return _billed(renderer, columns, block, low, of_parts) + _billed(renderer, columns, block, bits & ~low, of_parts)


def _slots(run: Run, block: int, bits: bytes | bytearray, first: int) -> int:
    bitmap = bytearray(BITMAP_OCTETS)
    kernel.deposit(run.audience(block), bits, first, bitmap)
    return int.from_bytes(bitmap, "little")


def _of_parts(run: Run, block: int, sent: int) -> dict[int, int]:
    """Parts on the wire -> those of the block's recipients that were sent so many."""
    parts, found = run.ranks("parts", 1, block), dict[int, int]()
    for many in sorted(set(parts) - {0}):
        bits = bytearray(BITMAP_OCTETS)
        kernel.hits(parts, bytes(octet == many for octet in range(256)), b"", b"", 0, NO_TIME, bits)
        found[many] = _slots(run, block, bits, 0) & sent
    return found


def of_arms(
    view: View, tenant: int, campaign: int, row: dict[str, Any], block: int, bits: int
) -> Iterator[tuple[int, int]]:
    """(arm, its part of a block's recipients); the held out and those that wait for a winner are in none."""
    arms = arms_of(row, campaign)
    if arms is None:
        yield 0, bits
        return
    split = arms.split(view, tenant, block, bits.to_bytes(BITMAP_OCTETS, "little"))
    for arm, mine in enumerate(split.arms):
        if any(mine):
            yield arm, int.from_bytes(mine, "little")


# ---- the rows


def month_used(view: View, tenant: int, month: int, but: int = 0) -> Used:
    """Everything of a month, what is reserved for running campaigns included, but for one campaign."""
    total = Used()
    for campaign, row in _rows(view, tenant, month):
        if campaign != but:
            for one in fields(Used):
                setattr(total, one.name, getattr(total, one.name) + row[one.name])
    return total


def row_of(view: View, tenant: int, month: int, campaign: int) -> dict[str, Any] | None:
    """What a month knows of a campaign, or of a batch of messages."""
    row = view.get("usage", USAGE_KEY.pack(tenant, month, campaign))
    return None if row is None else unpack(row)


def put_used(changes: Changes, tenant: int, month: int, campaign: int, used: Used, *, settled: bool) -> None:
    row = {one.name: getattr(used, one.name) for one in fields(Used)}
    changes.put("usage", USAGE_KEY.pack(tenant, month, campaign), pack({**row, "settled": settled}))


def drop_used(changes: Changes, tenant: int, month: int, campaign: int) -> None:
    changes.delete("usage", USAGE_KEY.pack(tenant, month, campaign))


def months(view: View, tenant: int) -> list[int]:
    """Months of which there is anything, oldest first."""
    found: list[int] = []
    after: bytes | None = None
    while (key := next((key for key, _ in view.range("usage", TENANT.pack(tenant), after=after)), None)) is not None:
        found.append(USAGE_KEY.unpack(key)[1])
        after = USAGE_KEY.pack(tenant, found[-1], (1 << 64) - 1)
    return found


def usage_json(view: View, tenant: int, month: int) -> dict[str, Any]:
    """A month as the API shows it: totals, campaigns, single messages by purpose; `settled` false while some of it is
    still being sent."""
    rows = list(_rows(view, tenant, month))
    total = month_used(view, tenant, month)
    return {
        "month": month_text(month),
        **{one.name: getattr(total, one.name) for one in fields(Used)},
        "settled": all(row["settled"] for _, row in rows),
        "campaigns": [
            {"campaign": public_id("cmp", campaign), **row} for campaign, row in rows if not is_batch(campaign)
        ],
        "singles": [{"purpose": purpose_of_batch(batch).value, **row} for batch, row in rows if is_batch(batch)],
    }


def _rows(view: View, tenant: int, month: int) -> Iterator[tuple[int, dict[str, Any]]]:
    prefix = USAGE_KEY.pack(tenant, month, 0)[:4]
    for key, row in view.range("usage", prefix):
        yield USAGE_KEY.unpack(key)[2], unpack(row)
