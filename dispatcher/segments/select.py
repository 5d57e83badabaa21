"""Who is in a segment: a bitmap a block, in member order; the same answer after a restart.

Touches: column blocks and deltas, read through one View.
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.fastmatch import BITMAP_OCTETS, match_block
from dispatcher.records.changes import View
from dispatcher.segments.plan import Compiled, arrays_of
from dispatcher.store.columns import blocks_of, next_member_no, open_block


def select(view: View, tenant: int, compiled: Compiled) -> Iterator[tuple[int, bytearray, int]]:
    """(block, bitmap of BITMAP_OCTETS, how many) of each block with a match, blocks ascending.

    Only live members; with a limit, the lowest member numbers. Bit i of byte b is member_no
    block x 16,320 + 8b + i. The bitmap is the caller's to keep and change.
    """
    no = next_member_no(view, tenant)
    left = compiled.limit
    for block in range(blocks_of(no)):
        if left == 0:
            return
        columns = open_block(view, tenant, block, compiled.columns, next_no=no)
        bitmap = bytearray(BITMAP_OCTETS)
        count = match_block(compiled.program, arrays_of(columns, compiled.columns), columns.slots, bitmap)
        if left is not None:
            if count > left:
                keep_first(bitmap, left)
                count = left
            left -= count
        if count:
            yield block, bitmap, count


def keep_first(bitmap: bytearray, count: int) -> None:
    """Clear every set bit past the first `count`, in place; only the first BITMAP_OCTETS are looked at."""
    for at in range(BITMAP_OCTETS):
        octet = bitmap[at]
        bits = octet.bit_count()
        if bits <= count:
            count -= bits
            continue
        kept = 0
        for _ in range(count):
            kept |= octet & -octet
            octet &= octet - 1
        bitmap[at], count = kept, 0
