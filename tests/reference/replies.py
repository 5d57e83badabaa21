"""What the kernel segments/_replies means."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

REPLY = struct.Struct("<QIIQ")  # at_ms, member_no, zero, mark


def pairs_between(
    rows: Iterable[tuple[bytes, bytes]], first: bytes, until_ms: int, mark: int | None
) -> list[tuple[int, int]]:
    """(member_no, second) of the tenant's rows from `first` on, up to one that came after `until_ms`."""
    found = []
    for key, value in rows:
        if key < first:
            continue
        if key[:2] != first[:2]:
            break
        if len(value) != REPLY.size:
            raise ValueError(key)
        at_ms, member_no, _, said = REPLY.unpack(value)
        if at_ms > until_ms:
            break
        if mark in (None, said):
            found.append((member_no, at_ms // 1_000))
    return sorted(found)


def by_block(pairs: Sequence[tuple[int, int]], block_members: int) -> list[tuple[int, list[int], list[int]]]:
    blocks = sorted({member_no // block_members for member_no, _ in pairs})
    return [
        (
            block,
            [no % block_members for no, _ in pairs if no // block_members == block],
            [at for no, at in pairs if no // block_members == block],
        )
        for block in blocks
    ]


def mark_members(pairs: Sequence[tuple[int, int]], octets: int) -> set[int]:
    return {member_no for member_no, _ in pairs if member_no < 8 * octets}


def mark_answers(slots: Sequence[int], whose: Sequence[int], wanted: int | None) -> set[int]:
    return {slot for slot, number in zip(slots, whose, strict=True) if number and wanted in (None, number)}
