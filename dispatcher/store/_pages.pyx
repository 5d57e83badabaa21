"""Pages of a store's file made free of what is no longer part of it; the GIL released.

Rests on: leaf_walk.h for how a page looks: its number u64, pad u16, flags u16, then in a branch or a leaf the end of the
node table u16 and the begin of the nodes u16, in the first of a long value how many pages it takes u32.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef enum:
    HEAD = 16
    BRANCH = 1
    LEAF = 2
    LONG = 4
    FIXED = 0x20            # keys of one length from HEAD on, and no nodes


def cleaned(uint8_t[::1] octets, size_t page_octets, uint64_t first, const uint8_t[::1] free, uint64_t within):
    """Overwrites with zeros, in whole pages from number `first` on, those that `free` says are free, and in branches and
    leaves the room between node table and nodes. Long values stay, and so does what is no page at all. within: how many
    of the first pages are the rest of a long value; the answer says the same of the pages that follow."""
    cdef size_t pages = octets.shape[0] // page_octets, i
    cdef uint64_t known = free.shape[0]
    if first + pages > known:
        raise ValueError(f"pages {first} to {first + pages} of {known}")
    with nogil:
        for i in range(pages):
            within = clean(&octets[i * page_octets], page_octets, first + i, free[first + i], within)
    return within


cdef uint64_t clean(uint8_t *page, size_t page_octets, uint64_t number, uint8_t is_free, uint64_t within) noexcept nogil:
    """One page; how many after it are the rest of a long value"""
    cdef uint64_t of
    cdef uint16_t flags, low, high
    cdef uint32_t pages
    if is_free:
        memset(page, 0, page_octets)
        return within - 1 if within else 0
    if within:
        return within - 1
    memcpy(&of, page, 8)
    memcpy(&flags, page + 10, 2)
    if of != number:
        return 0
    if flags & LONG:
        memcpy(&pages, page + 12, 4)
        return pages - 1 if pages else 0
    if flags & (BRANCH | LEAF) and not flags & FIXED:
        memcpy(&low, page + 12, 2)
        memcpy(&high, page + 14, 2)
        if HEAD <= low <= high <= page_octets:
            memset(page + low, 0, high - low)
    return 0
