"""What became of messages, compiled: ledger arrays by rank against a frozen audience. GIL released, no object a member.

Rests on: layout.ARRAYS and preview.py's bitmaps (ranks count the set bits of a campaign's audience, blocks ascending).
tests/reference/deeds.py says what each means.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    int __builtin_popcountll(unsigned long long) nogil
    int __builtin_ctzll(unsigned long long) nogil


cdef inline uint32_t _u32(const uint8_t[::1] octets, Py_ssize_t i) noexcept nogil:
    """octets' i-th number, 0 past its end; a map's values are aligned to 2 octets only"""
    cdef uint32_t value = 0
    if 4 * i + 4 <= octets.shape[0]:
        memcpy(&value, &octets[4 * i], 4)
    return value


cdef inline uint64_t _word(const uint8_t[::1] octets, Py_ssize_t w) noexcept nogil:
    cdef uint64_t value = 0
    if 8 * w + 8 <= octets.shape[0]:
        memcpy(&value, &octets[8 * w], 8)
    elif 8 * w < octets.shape[0]:
        memcpy(&value, &octets[8 * w], octets.shape[0] - 8 * w)
    return value


cdef inline uint64_t _from(const uint8_t[::1] bits, uint64_t at) noexcept nogil:
    """the 64 bits from bit `at` on; past the end they are 0"""
    cdef uint64_t low = _word(bits, at >> 6)
    cdef int shift = at & 63
    return low if shift == 0 else low >> shift | _word(bits, (at >> 6) + 1) << (64 - shift)


def hits(const uint8_t[::1] octets, const uint8_t[::1] wanted, const uint8_t[::1] times, const uint8_t[::1] instead,
         uint32_t low, uint32_t high, uint8_t[::1] out):
    """Bit by rank of one chunk: wanted[octet] is not 0 and the rank's time, or where that is 0 its other time, lies in
    [low, high]. Arrays may be shorter than `out` has bits, and times empty. Returns how many."""
    cdef Py_ssize_t i, n = min(octets.shape[0], 8 * out.shape[0])
    cdef uint32_t at, found = 0
    if wanted.shape[0] < 256:
        raise ValueError("wanted: an octet for each of 256")
    with nogil:
        memset(&out[0], 0, out.shape[0])
        for i in range(n):
            if wanted[octets[i]]:
                at = _u32(times, i)
                if at == 0:
                    at = _u32(instead, i)
                if low <= at and at <= high:
                    out[i >> 3] |= <uint8_t>(1 << (i & 7))
                    found += 1
    return found


def deposit(const uint8_t[::1] audience, const uint8_t[::1] bits, uint64_t first, uint8_t[::1] out):
    """Set in `out` the slots of a block whose rank's bit is set; the block's first recipient is bit `first` of `bits`.
    What `out` had stays. Whole words."""
    cdef Py_ssize_t w, words = audience.shape[0] // 8
    cdef uint64_t a, source, keep, rank = first
    if out.shape[0] < audience.shape[0]:
        raise ValueError("out too short")
    with nogil:
        for w in range(words):
            memcpy(&a, &audience[8 * w], 8)
            if a == 0:
                continue
            source = _from(bits, rank)
            rank += __builtin_popcountll(a)
            memcpy(&keep, &out[8 * w], 8)
            if a == <uint64_t>0xFFFFFFFFFFFFFFFF:
                keep |= source
            else:
                while a and source:
                    if source & 1:
                        keep |= a & (~a + 1)
                    a &= a - 1
                    source >>= 1
            memcpy(&out[8 * w], &keep, 8)


def tally(const uint8_t[::1] audience, const uint8_t[::1] bits, uint64_t first, uint16_t[::1] counts):
    """Add 1 to the count of each slot that deposit() would set; 65,535 stays."""
    cdef Py_ssize_t w, slot, words = audience.shape[0] // 8
    cdef uint64_t a, source, rank = first
    if counts.shape[0] < 64 * words:
        raise ValueError("a count for each slot")
    with nogil:
        for w in range(words):
            memcpy(&a, &audience[8 * w], 8)
            if a == 0:
                continue
            source = _from(bits, rank)
            rank += __builtin_popcountll(a)
            while a and source:
                if source & 1:
                    slot = 64 * w + __builtin_ctzll(a)
                    counts[slot] += counts[slot] < 0xFFFF
                a &= a - 1
                source >>= 1


def within(const uint16_t[::1] counts, uint32_t low, uint32_t high, uint8_t[::1] out):
    """Bit by slot: its count lies in [low, high]. Returns how many."""
    cdef Py_ssize_t i
    cdef uint32_t found = 0
    if out.shape[0] * 8 < counts.shape[0]:
        raise ValueError("out too short")
    with nogil:
        memset(&out[0], 0, out.shape[0])
        for i in range(counts.shape[0]):
            if low <= counts[i] and counts[i] <= high:
                out[i >> 3] |= <uint8_t>(1 << (i & 7))
                found += 1
    return found


def claim_replies(const uint8_t[::1] audience, const uint8_t[::1] decisions, const uint8_t[::1] submits, uint8_t sent,
                  const uint32_t[::1] slots, const uint32_t[::1] heard, uint32_t[::1] best, uint32_t[::1] whose,
                  uint32_t number, uint32_t reach_s):
    """Of replies from one block (slots ascending, heard in seconds), those whose member this campaign sent to at most
    `reach_s` before and not before the campaign that has it so far: best and whose (`number`) are set.
    decisions and submits: of the block's ranks in order."""
    cdef Py_ssize_t i, n = slots.shape[0], w = 0, rank = 0
    cdef uint32_t slot, at
    cdef uint64_t a
    if heard.shape[0] < n or best.shape[0] < n or whose.shape[0] < n:
        raise ValueError("an entry for each slot")
    with nogil:
        for i in range(n):
            slot = slots[i]
            if slot >> 3 >= audience.shape[0]:
                break
            while w < slot >> 6:
                rank += __builtin_popcountll(_word(audience, w))
                w += 1
            a = _word(audience, w)
            if not a >> (slot & 63) & 1:
                continue
            a = rank + __builtin_popcountll(a & ((<uint64_t>1 << (slot & 63)) - 1))
            if a >= <uint64_t>decisions.shape[0] or decisions[a] != sent:
                continue
            at = _u32(submits, a)
            if at and at <= heard[i] and heard[i] - at <= reach_s and at >= best[i]:
                best[i] = at
                whose[i] = number
