"""What segments/_deeds means: messages by rank, members by slot, said plainly with lists."""

from __future__ import annotations

import struct
from collections.abc import Sequence

COUNT_MAX = 0xFFFF


def numbers(octets: bytes) -> list[int]:
    return [number for (number,) in struct.iter_unpack("<I", octets[: len(octets) // 4 * 4])]


def ones(bits: bytes) -> list[int]:
    return [at for at in range(8 * len(bits)) if bits[at // 8] >> at % 8 & 1]


def bitmap(ats: Sequence[int], octets: int) -> bytes:
    found = bytearray(octets)
    for at in ats:
        found[at // 8] |= 1 << at % 8
    return bytes(found)


def hits(octets: bytes, wanted: bytes, times: bytes, instead: bytes, low: int, high: int, bits: int) -> list[int]:
    """Ranks below `bits` whose octet is wanted and whose time lies in [low, high]; 0 where none is known."""
    first, second = numbers(times), numbers(instead)

    def at(rank: int) -> int:
        return (first[rank] if rank < len(first) else 0) or (second[rank] if rank < len(second) else 0)

    return [rank for rank, octet in enumerate(octets[:bits]) if wanted[octet] and low <= at(rank) <= high]


def deposited(audience: bytes, bits: bytes, first: int) -> list[int]:
    """Slots of the audience whose rank (bit `first` is the first one's) is set."""
    found = set(ones(bits))
    return [slot for rank, slot in enumerate(ones(audience), first) if rank in found]


def tallied(audience: bytes, bits: bytes, first: int, counts: Sequence[int]) -> list[int]:
    slots = set(deposited(audience, bits, first))
    return [min(count + (slot in slots), COUNT_MAX) for slot, count in enumerate(counts)]


def within(counts: Sequence[int], low: int, high: int) -> list[int]:
    return [slot for slot, count in enumerate(counts) if low <= count <= high]


def claim_replies(
    audience: bytes,
    decisions: bytes,
    submits: bytes,
    sent: int,
    replies: Sequence[tuple[int, int]],
    claims: Sequence[tuple[int, int]],
    number: int,
    reach_s: int,
) -> list[tuple[int, int]]:
    """The claims (when it was sent to, by which campaign) of replies (slot, when) after one more campaign's."""
    rank_of = {slot: rank for rank, slot in enumerate(ones(audience))}
    times = numbers(submits)
    found = []
    for (slot, heard), claim in zip(replies, claims, strict=True):
        rank = rank_of.get(slot, len(decisions))
        if rank < len(decisions) and decisions[rank] == sent:
            at = times[rank] if rank < len(times) else 0
            if at and heard - reach_s <= at <= heard and at >= claim[0]:
                claim = at, number
        found.append(claim)
    return found
