"""What a store's file holds of one commit: its meta page, and which of its pages are free.

Touches: the file, read-only, by small reads through the page cache. Rests on: LMDB 0.9, data format 1 (mdb.c MDB_meta,
MDB_page, MDB_node, MDB_db), which no 0.9 may change; `leaf_walk.h` says how pages and nodes look. A meta page has, from
octet 16 on: magic, version u32; address, length of the map u64; the records of the free pages' table and of the main
table, 48 octets each (page octets u32, ..., root u64 last); last page u64; transaction u64, which is written last.
Commit n writes page n & 1. A row of the free pages' table is the commit that freed them; how many u64, their numbers.
"""

from __future__ import annotations

import os
import struct
from array import array
from dataclasses import dataclass

from dispatcher.errors import StoreError

MAGIC, VERSION = 0xBEEFC0DE, 1
META_PAGES = 2
HEAD = 16  # of a page
BRANCH, LEAF = 1, 2  # flags of a page
ELSEWHERE = 1  # flag of a node: its value is a page's number
NO_ROOT = (1 << 64) - 1
_META = struct.Struct("<II QQ I36xQ 40xQ QQ")
_PAGE = struct.Struct("<Q2xHH")
_NODE = struct.Struct("<HHHH")
_U64 = struct.Struct("<Q")


class UnknownFormat(StoreError):
    """A file that does not look like the format that this module knows; the text says where."""


@dataclass(frozen=True, slots=True)
class Meta:
    """A commit's meta page. `octets`: all of it, HEAD and what follows."""

    octets: bytes
    transaction: int
    page_octets: int
    last_page: int
    free_root: int

    def pages(self) -> bytes:
        """The first two pages of a file that holds this commit and no other: the next goes into the elder's place."""
        out = bytearray(META_PAGES * self.page_octets)
        for slot, transaction in ((self.transaction & 1, self.transaction), (~self.transaction & 1, 0)):
            begin = slot * self.page_octets
            out[begin : begin + len(self.octets)] = self.octets
            _U64.pack_into(out, begin, slot)
            _U64.pack_into(out, begin + len(self.octets) - 8, transaction)
        return bytes(out)


def meta_of(file: int, transaction: int, page_octets: int) -> Meta | None:
    """The meta page of that commit; None where the next but one may be taking its place. Raises UnknownFormat.

    A reader's commit stays in its page until the next but one, which begins when the next is written: so the page was
    whole if the other still has the commit before.
    """
    mine = _read_meta(file, transaction & 1, page_octets)
    other = _read_meta(file, ~transaction & 1, page_octets)
    return mine if mine.transaction == transaction and other.transaction < transaction else None


def _read_meta(file: int, slot: int, page_octets: int) -> Meta:
    octets = os.pread(file, HEAD + _META.size, slot * page_octets)
    if len(octets) < HEAD + _META.size:
        raise UnknownFormat(f"meta page {slot} is cut off after {len(octets)} octets")
    magic, version, _, _, size, free_root, _, last_page, transaction = _META.unpack_from(octets, HEAD)
    if (magic, version, size) != (MAGIC, VERSION, page_octets):
        raise UnknownFormat(f"meta page {slot}: magic {magic:#x}, version {version}, pages of {size} octets")
    return Meta(octets, transaction, page_octets, last_page, free_root)


def free_pages(file: int, meta: Meta) -> bytearray:
    """An octet a page of the file, 1 where it is free as of that commit. Raises UnknownFormat."""
    free, looked = bytearray(meta.last_page + 1), 0
    below = [meta.free_root] if meta.free_root != NO_ROOT else []
    while below:
        number, looked = below.pop(), looked + 1
        try:
            if looked > len(free):
                raise ValueError("a page comes twice")
            flags, nodes = _nodes(file, meta, number)
            for low, high, kind, rest in nodes:
                if flags & BRANCH:
                    below.append(low | high << 16 | kind << 32)
                else:
                    _mark(free, _value(file, meta, low | high << 16, kind, rest))
        except (ValueError, OverflowError, struct.error) as exc:
            raise UnknownFormat(f"page {number}, of the table of free pages: {exc}") from exc
    return free


def _nodes(file: int, meta: Meta, number: int) -> tuple[int, list[tuple[int, int, int, bytes]]]:
    """A page's flags; of each node its first three words, and the page's octets behind its key."""
    page = _pread(file, meta, meta.page_octets, number * meta.page_octets)
    of, flags, end = _PAGE.unpack_from(page)
    if of != number or flags & (BRANCH | LEAF) not in (BRANCH, LEAF) or not HEAD <= end <= meta.page_octets:
        raise ValueError(f"number {of}, flags {flags:#x}, nodes to {end}")
    found = []
    for place in array("H", page[HEAD:end]):
        low, high, kind, key = _NODE.unpack_from(page, place)
        found.append((low, high, kind, page[place + _NODE.size + key :]))
    return flags, found


def _value(file: int, meta: Meta, octets: int, kind: int, rest: bytes) -> bytes:
    if kind & ELSEWHERE:
        return _pread(file, meta, octets, _U64.unpack_from(rest)[0] * meta.page_octets + HEAD)
    return rest[:octets]


def _mark(free: bytearray, value: bytes) -> None:
    numbers = array("Q", value)
    if not numbers or len(numbers) <= numbers[0]:
        raise ValueError(f"a row of {len(value)} octets")
    listed = numbers[1 : numbers[0] + 1]
    if listed and not META_PAGES <= min(listed) <= max(listed) < len(free):
        raise ValueError(f"free pages {min(listed)} to {max(listed)} of {len(free)}")
    for page in listed:
        free[page] = 1


def _pread(file: int, meta: Meta, octets: int, at: int) -> bytes:
    end = (meta.last_page + 1) * meta.page_octets
    if at + octets > end:
        raise ValueError(f"octets {at} to {at + octets} of {end}")
    found = os.pread(file, octets, at)
    if len(found) < octets:
        raise ValueError(f"the file ends at octet {at + len(found)}, not at {end}")
    return found
