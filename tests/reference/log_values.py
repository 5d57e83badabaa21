"""A log value as several of bounded length: what store/_log_values.pyx means."""

from __future__ import annotations

from dispatcher.smpp.pump import Kind
from tests.reference.ledger import CLAIM, HEADER, RECORD, RUN, padded


def records(value: bytes) -> list[bytes]:
    """Each record's octets, in log order."""
    at, found = HEADER.size, []
    end = at + HEADER.unpack_from(value)[4]
    while at < end:
        kind, _, _, id_octets, *_ = RECORD.unpack_from(value, at)
        octets = RECORD.size + padded(id_octets) + 8 * (kind == Kind.HELD)
        if kind == Kind.CLAIM:
            count = CLAIM.unpack_from(value, at)[6]
            octets = CLAIM.size + padded(count) + padded(4 * count)
        found.append(value[at : at + octets])
        at += octets
    return found


def runs(value: bytes) -> dict[int, bytes]:
    """A run's number -> its row in the table."""
    count, octets = HEADER.unpack_from(value)[1], HEADER.unpack_from(value)[4]
    rows = [value[at : at + RUN.size] for at in range(HEADER.size + octets, len(value), RUN.size)]
    assert len(rows) == count
    return {RUN.unpack(row)[1]: row for row in rows}


def split(value: bytes, most: int) -> list[bytes]:
    if len(value) <= most:
        return [value]
    table, found, mine = runs(value), list[bytes](), list[bytes]()
    for record in records(value):
        if mine and len(_value(value, [*mine, record], table)) > most:
            found.append(_value(value, mine, table))
            mine = []
        mine.append(record)
    return [*found, _value(value, mine, table)]


def _value(value: bytes, mine: list[bytes], table: dict[int, bytes]) -> bytes:
    numbers = {RECORD.unpack_from(record)[5] for record in mine}
    rows = [row for number, row in table.items() if number in numbers]
    body, header = b"".join(mine), bytearray(value[: HEADER.size])
    magic, _, _, base_ms, _ = HEADER.unpack_from(header)
    HEADER.pack_into(header, 0, magic, len(rows), len(mine), base_ms, len(body))
    header[20:24] = value[20:24]  # its endpoint
    return bytes(header) + body + b"".join(rows)
