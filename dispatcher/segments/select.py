"""Who is in a segment: a bitmap a block, in member order; the same answer after a restart.

Touches: column blocks and deltas, read through one View.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from dispatcher.fastmatch import BITMAP_OCTETS, GREATEST, LEAST, SLOTS_MAX, Kind, count_bits, members_of
from dispatcher.records.changes import View
from dispatcher.segments.column_tests import Every, Given, InRanges
from dispatcher.segments.given import Engaged
from dispatcher.segments.match import open_scan, run
from dispatcher.segments.plan import Compiled
from dispatcher.segments.program import LIVE, Columns, assemble
from dispatcher.store.columns import FLAGS, Column

_MATCHED = Engaged("matched")  # a key of our own: the bitmaps are at hand
CHUNK = 64  # blocks matched at a time: a million members, 128 KiB of bitmaps

Selected = tuple[int, bytearray, int]


def select(view: View, tenant: int, compiled: Compiled, *, threads: int = 1) -> Iterator[Selected]:
    """(block, bitmap of BITMAP_OCTETS, how many) of each block with a match, blocks ascending.

    Only live members; with a top, those of its field's highest values; with a limit, the lowest member numbers. Bit i
    of byte b is member_no block x 16,320 + 8b + i. The bitmap is the caller's to keep and change.
    """
    found = _matched(view, tenant, compiled, threads)
    if compiled.top is not None:
        count, field = compiled.top
        found = iter(_top(view, tenant, list(found), count, (field.number, 0, field.column)))
    return found if compiled.limit is None else _first(found, compiled.limit)


def member_numbers(view: View, tenant: int, compiled: Compiled, *, threads: int = 1) -> array[int]:
    """The member numbers of a segment, ascending."""
    if compiled.top is None and compiled.limit is None:
        over = open_scan(view, tenant, compiled.columns, compiled.as_of_ms)
        whole = bytearray(over.blocks * BITMAP_OCTETS)
        count = run(compiled.program, over, 0, over.blocks, bitmaps=whole, threads=threads)
        numbers = array("I", bytes(4 * (count + 16)))
        members_of(whole, 0, numbers)
        del numbers[count:]
        return numbers
    numbers = array("I")
    for block, bitmap, count in select(view, tenant, compiled, threads=threads):
        some = array("I", bytes(4 * (count + 16)))
        members_of(bitmap, block * SLOTS_MAX, some)
        numbers += some[:count]
    return numbers


def _matched(view: View, tenant: int, compiled: Compiled, threads: int) -> Iterator[Selected]:
    over = open_scan(view, tenant, compiled.columns, compiled.as_of_ms)
    for first in range(0, over.blocks, CHUNK):
        end = min(over.blocks, first + CHUNK)
        bitmaps = bytearray((end - first) * BITMAP_OCTETS)
        if not run(compiled.program, over, first, end, bitmaps=bitmaps, threads=threads):
            continue
        for block in range(first, end):
            bitmap = bitmaps[(block - first) * BITMAP_OCTETS : (block - first + 1) * BITMAP_OCTETS]
            if count := count_bits(bitmap):
                yield block, bitmap, count


def _first(found: Iterator[Selected], left: int) -> Iterator[Selected]:
    for block, bitmap, count in found:
        if count >= left:
            keep_first(bitmap, left)
            if left:
                yield block, bitmap, left
            return
        left -= count
        yield block, bitmap, count


def _top(view: View, tenant: int, found: list[Selected], wanted: int, column: Column) -> list[Selected]:
    """The `wanted` highest of a column among the matched. The least value taken is found by halving, a count each."""
    kind = Kind(int(column[2]))
    matched = {_MATCHED: {block: bitmap for block, bitmap, _ in found}}
    over = open_scan(view, tenant, (FLAGS, _MATCHED, column), 0, matched)

    def above(least: int, most: int, bitmaps: bytearray | None = None) -> int:
        columns = Columns()
        for each in (FLAGS, _MATCHED, column):
            columns.position(each)
        program = assemble(Every((LIVE, Given(_MATCHED), InRanges(column, ((least, most),)))), columns)
        return run(program, over, 0, over.blocks, bitmaps=bitmaps)

    low, high = LEAST[kind] + 1, GREATEST[kind]  # the unknown lies below
    if above(low, GREATEST[kind]) > wanted:
        while low < high:  # the greatest value that `wanted` or more reach
            middle = (low + high + 1) // 2
            if above(middle, GREATEST[kind]) >= wanted:
                low = middle
            else:
                high = middle - 1
    higher, equal = bytearray(over.blocks * BITMAP_OCTETS), bytearray(over.blocks * BITMAP_OCTETS)
    left = wanted - (above(low + 1, GREATEST[kind], higher) if low < GREATEST[kind] else 0)
    above(low, low, equal)
    taken = []
    for block, _, _ in found:
        at = block * BITMAP_OCTETS
        same = equal[at : at + BITMAP_OCTETS]
        if count_bits(same) > left:
            keep_first(same, left)
        left -= count_bits(same)
        both = int.from_bytes(same, "little") | int.from_bytes(higher[at : at + BITMAP_OCTETS], "little")
        if both:
            taken.append((block, bytearray(both.to_bytes(BITMAP_OCTETS, "little")), both.bit_count()))
    return taken


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
