# cython: language_level=3, boundscheck=False, wraparound=False
"""Rows of `replies` to who wrote when, and those to blocks: the loops of segments/replies.py and redemptions.py.

Touches: the store's memory, read only. Rests on: leaf_walk.h; store/replies.py for a row's shape, which `redeemed` has too.
tests/reference/replies.py says what each means.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcmp, memcpy
from dispatcher.store.leaf_walk cimport LW_RECORD, leaf_row, leaf_walk, lw_next, lw_seek


cdef enum:
    TENANT = 2
    KEY = 10
    REPLY = 24

cdef struct found_pairs:
    uint64_t *at
    Py_ssize_t count, room
    uint64_t until_ms, mark
    bint marked


cdef int by_number(const void *a, const void *b) noexcept nogil:
    cdef uint64_t x = (<const uint64_t *>a)[0], y = (<const uint64_t *>b)[0]
    return (x > y) - (x < y)


cdef int take(found_pairs *to, const uint8_t *value) noexcept nogil:
    """1: one that was asked for or not; 0: too late, and so are all behind it; -1: no memory."""
    cdef uint64_t at_ms, mark
    cdef uint32_t member_no
    cdef uint64_t *more
    memcpy(&at_ms, value, 8)
    memcpy(&member_no, value + 8, 4)
    memcpy(&mark, value + 16, 8)
    if at_ms > to.until_ms:
        return 0
    if to.marked and mark != to.mark:
        return 1
    if to.count == to.room:
        more = <uint64_t *>realloc(to.at, (2 * to.room + 1024) * sizeof(uint64_t))
        if more is NULL:
            return -1
        to.at, to.room = more, 2 * to.room + 1024
    to.at[to.count] = <uint64_t>member_no << 32 | at_ms // 1000
    to.count += 1
    return 1


def pairs_between(table, bytes first not None, Py_ssize_t page_octets, uint64_t until_ms, mark, bint ordered=True):
    """Who wrote when, as u64 of member_no and second, in bytes: ascending, or not `ordered` as the rows are.

    table: (key, value) in key order from `first` on (tenant u16, message u64); or, with page_octets, the table's record
    where it lies in the map of an immutable snapshot: None when a page does not look as expected. Ends at another tenant's
    rows, and at the first that came after `until_ms`. mark: only those that said it (None: all).
    Raises ValueError(key) on a row that is none.
    """
    cdef found_pairs found
    cdef Py_buffer place
    cdef leaf_walk w
    cdef leaf_row row
    cdef int more = 0, taken = 1
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(first)
    found.at, found.count, found.room, found.until_ms = NULL, 0, 0, until_ms
    found.marked, found.mark = mark is not None, mark or 0
    try:
        if page_octets:
            PyObject_GetBuffer(table, &place, PyBUF_SIMPLE)
            more = -1 if place.len != LW_RECORD else lw_seek(&w, <const uint8_t *>place.buf, page_octets, begin, KEY)
            PyBuffer_Release(&place)  # the memory is the snapshot's, and stays
            while more == 0:
                more = lw_next(&w, &row)
                if more <= 0 or row.key_octets != KEY or memcmp(row.key, begin, TENANT):
                    break
                if row.octets != REPLY:
                    raise ValueError(PyBytes_FromStringAndSize(<const char *>row.key, KEY))
                taken = take(&found, row.value)
                if taken <= 0:
                    break
                more = 0
            if more < 0:
                return None
        else:
            for key, value in table:
                if key[:TENANT] != first[:TENANT]:
                    break
                if len(value) != REPLY:
                    raise ValueError(bytes(key))
                taken = take(&found, <const uint8_t *>PyBytes_AS_STRING(<bytes?>value))
                if taken <= 0:
                    break
        if taken < 0:
            raise MemoryError
        if ordered:
            qsort(found.at, found.count, sizeof(uint64_t), by_number)
        return PyBytes_FromStringAndSize(<const char *>found.at, found.count * sizeof(uint64_t))
    finally:
        free(found.at)


def by_block(const uint8_t[::1] pairs, uint32_t block_members):
    """[(block, slots u32, seconds u32)] of such pairs, in bytearrays."""
    cdef Py_ssize_t i = 0, end, n, count = pairs.shape[0] // 8
    cdef uint64_t pair
    cdef uint32_t block, slot, at_s
    cdef bytearray slots, seconds
    cdef uint8_t[::1] to_slots, to_seconds
    cdef list found = []
    while i < count:
        memcpy(&pair, &pairs[8 * i], 8)
        block = <uint32_t>(pair >> 32) // block_members
        end = i
        while end < count:
            memcpy(&pair, &pairs[8 * end], 8)
            if <uint32_t>(pair >> 32) // block_members != block:
                break
            end += 1
        slots, seconds = bytearray(4 * (end - i)), bytearray(4 * (end - i))
        to_slots, to_seconds = slots, seconds
        for n in range(end - i):
            memcpy(&pair, &pairs[8 * (i + n)], 8)
            slot, at_s = <uint32_t>(pair >> 32) % block_members, <uint32_t>pair
            memcpy(&to_slots[4 * n], &slot, 4)
            memcpy(&to_seconds[4 * n], &at_s, 4)
        found.append((block, slots, seconds))
        i = end
    return found


def mark_members(const uint8_t[::1] pairs, uint8_t[::1] out):
    """Set the bit of each pair's member_no; those past the end of `out` are nobody."""
    cdef Py_ssize_t i
    cdef uint64_t pair, octets = <uint64_t>out.shape[0]
    for i in range(pairs.shape[0] // 8):
        memcpy(&pair, &pairs[8 * i], 8)
        pair >>= 32
        if pair >> 3 < octets:
            out[pair >> 3] |= <uint8_t>(1 << (pair & 7))


def mark_answers(const uint32_t[::1] slots, const uint32_t[::1] whose, wanted, uint8_t[::1] out):
    """Set the slots whose message answers campaign `wanted` (None: any; nobody's is 0). Returns how many messages do."""
    cdef Py_ssize_t i, found = 0
    cdef uint32_t number = wanted or 0
    cdef bint any_one = wanted is None
    if whose.shape[0] < slots.shape[0]:
        raise ValueError("an entry for each slot")
    for i in range(slots.shape[0]):
        if whose[i] and (any_one or whose[i] == number) and slots[i] >> 3 < <uint32_t>out.shape[0]:
            out[slots[i] >> 3] |= <uint8_t>(1 << (slots[i] & 7))
            found += 1
    return found
