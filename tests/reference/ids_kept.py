"""What a segment of kept message_ids is: its octets from entries, and entries from its octets (store/ids_kept.h)."""

from __future__ import annotations

import binascii
import struct

HEADER = struct.Struct("<HBBBBBBIIQQII")
OWNER = struct.Struct("<QHHI")
MAGIC, VERSION, BUCKET, PAD = 0x5649, 1, 32, 16

Entry = tuple[int, int, int, int, int]  # key, id of campaign or batch, endpoint, rank, part


def pack(entries: list[Entry], owners: list[tuple[int, int]], first_ms: int, last_ms: int) -> bytes:
    """`entries` in the order of acceptance, `owners` (id, endpoint) in the order in which they were met."""
    bucket_bits = (len(entries) // BUCKET).bit_length()
    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: entry[0]):  # stable
        if not kept or kept[-1] != entry:
            kept.append(entry)
    low = [min((e[3] for e in kept if e[1:3] == owner), default=0) for owner in owners]
    span = max((e[3] - low[owners.index(e[1:3])] for e in kept), default=0)
    rank_bits, owner_bits = span.bit_length(), max(len(owners) - 1, 0).bit_length()
    part_bits = max((e[4] for e in kept), default=0).bit_length()
    low_bits = 64 - bucket_bits
    width = low_bits + rank_bits + owner_bits + part_bits
    number = 0
    for i, (key, id, endpoint, rank, part) in enumerate(kept):
        owner = owners.index((id, endpoint))
        entry = key & ((1 << low_bits) - 1)
        entry |= (rank - low[owner] | (owner | part << owner_bits) << rank_bits) << low_bits
        number |= entry << i * width
    starts = [sum(e[0] >> low_bits < bucket for e in kept) for bucket in range((1 << bucket_bits) + 1)]
    body = b"".join(OWNER.pack(id, endpoint, 0, first) for (id, endpoint), first in zip(owners, low, strict=True))
    body += struct.pack(f"<{len(starts)}I", *starts)
    body += number.to_bytes((width * len(kept) + 7) // 8 + PAD, "little")
    head = (MAGIC, VERSION, bucket_bits, rank_bits, owner_bits, part_bits, 0, len(kept), len(owners))
    return HEADER.pack(*head, first_ms, last_ms, binascii.crc32(body), 0) + body


def find(entries: list[Entry], key: int) -> list[Entry]:
    """Who has had this id, the last one last."""
    found: list[Entry] = []
    for entry in entries:
        if entry[0] == key and (not found or found[-1] != entry):
            found.append(entry)
    return found
