"""Batch: rendered parts on their way to the pump, as rows (drawn in batch.h) and one run of octets.

Kernels read and write the rows in place; Row and ROW are for tests, single messages and people who look.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

ROW = struct.Struct("<QIIIHBBBBBBIB7x")  # one that is told by its short_message alone
TOLD_ROW = struct.Struct("<QIIIHBBBBBBIBBH4x")
SHORT, SAR, PAYLOAD = 0, 1, 2  # told


class Row(NamedTuple):
    """One part_row, in the order of batch.h."""

    destination: int
    rank: int
    octets_at: int
    text_hash: int
    octets: int
    part: int  # from 0
    parts: int
    esm_class: int
    data_coding: int
    decision: int
    tries: int
    slot: int
    skip: int
    told: int = SHORT
    ref: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`count` rows for `members` recipients, the skipped among them; `last_slot` is the last taken, -1 for none."""

    rows: bytearray
    octets: bytearray
    count: int
    last_slot: int
    members: int


def read_rows(batch: Batch) -> list[Row]:
    return [Row(*fields) for fields in TOLD_ROW.iter_unpack(memoryview(batch.rows)[: batch.count * ROW.size])]


def octets_of(batch: Batch, row: Row) -> bytes:
    """The short_message of one row, UDH included, or its message_payload."""
    return bytes(batch.octets[row.octets_at : row.octets_at + row.octets])
