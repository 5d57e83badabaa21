"""Log values by hand, several campaigns in one, appended to a real store; and the ledger as the store has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dispatcher.records.changes import Changes
from dispatcher.smpp.pump import Kind
from dispatcher.store import Store, ledger
from dispatcher.store.layout import ARRAYS, BLOCK, U64
from dispatcher.store.values import unpack
from tests.reference.ledger import CLAIM, HEADER, RECORD, RUN, Recipient, ReferenceLedger, padded

BASE_MS = 1_790_000_000_000


class Claim(NamedTuple):
    campaign: int
    first: int
    octets: tuple[int, ...]
    again: int = 0
    pool: int = 0
    claim_no: int = 0
    text_hash: int = 5


class Record(NamedTuple):
    campaign: int
    kind: int
    rank: int
    part: int = 0
    state: int = 0
    status: int = 0
    message_id: bytes = b""


def value_of(items: Sequence[Claim | Record], base_ms: int = BASE_MS) -> bytes:
    campaigns = sorted({item.campaign for item in items})
    run = {campaign: 3 + no for no, campaign in enumerate(campaigns)}
    body = bytearray()
    for no, item in enumerate(items):
        delta_ms = min(no * 400, 65_535)
        if isinstance(item, Claim):
            n = len(item.octets)
            body += CLAIM.pack(
                Kind.CLAIM, item.pool, item.again, item.first, run[item.campaign], delta_ms, n, item.claim_no
            )
            body += bytes(item.octets).ljust(padded(n), b"\0")
            body += b"".join((item.text_hash + k).to_bytes(4, "little") for k in range(n)).ljust(padded(4 * n), b"\0")
        else:
            body += RECORD.pack(
                item.kind,
                item.part,
                item.state,
                len(item.message_id),
                item.rank,
                run[item.campaign],
                delta_ms,
                item.status,
            )
            body += item.message_id.ljust(padded(len(item.message_id)), b"\0")
            body += bytes(8) if item.kind == Kind.HELD else b""
    table = b"".join(RUN.pack(campaign, run[campaign], 1) for campaign in campaigns)
    return HEADER.pack(0x564F, len(campaigns), len(items), base_ms, len(body)) + body + table


def append(store: Store, *values: bytes) -> list[int]:
    """Each as one commit's; returns their positions."""
    positions = []
    with store.begin_write() as view:
        position = ledger.next_position(view)
        for value in values:
            changes = Changes()
            changes.put("outcome_log", U64.pack(position), value)
            view.apply(changes)
            positions.append(position)
            position += len(value) // 8
    return positions


def fold_all(store: Store, budget: int = 4 << 20) -> int:
    """Folds until all is folded; how many it took."""
    folds, done = 0, False
    while not done:
        with store.begin_write() as view:
            _, done = ledger.fold(view, budget=budget)
        folds += 1
        assert folds < 10_000
    return folds


def folded(store: Store) -> dict[str, int]:
    with store.snapshot() as view:
        row = view.get("meta", b"folded")
        return unpack(row) if row else {}


def assert_same(store: Store, campaign: int, model: ReferenceLedger) -> None:
    """Every array at every rank, and every counter."""
    with store.snapshot() as view:
        assert list(ledger.read_counts(view, campaign).values) == model.counts()
        chunks = {rank // BLOCK for rank in model.of_rank}
        for chunk in chunks:
            width = ledger.part_width(view, campaign, chunk)
            arrays = {name: ledger.read_array(view, campaign, name, chunk) for name in ARRAYS}
            ranks = {rank % BLOCK: one for rank, one in model.of_rank.items() if rank // BLOCK == chunk}
            for name, (_, octets) in ARRAYS.items():
                size = octets or width
                array = arrays[name]
                expected = {r: _octets(one, name, size) for r, one in ranks.items()}
                for r, octets_ in expected.items():
                    found = bytes(array[r * size : (r + 1) * size]) if array is not None else b""
                    assert found.ljust(size, b"\0") == octets_, (name, r)
                if array is not None:  # and nothing anywhere else
                    assert len(array) - bytes(array).count(0) == sum(len(e) - e.count(0) for e in expected.values()), (
                        name
                    )


def _octets(one: Recipient, name: str, size: int) -> bytes:
    if name != "part_state":
        return int(getattr(one, name)).to_bytes(size, "little")
    return (
        bytes(one.of_part.get(part, 0) | 0x80 * (part in one.accepted) for part in range(size))
        if size > 1
        else bytes(size)
    )
