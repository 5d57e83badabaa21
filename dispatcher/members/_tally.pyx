# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The loops of tally.py: values of one block counted, by code, by bin, by plane. Meaning: tests/reference/tally.py.

Touches: the buffers it is given, whose sizes tally.py has checked. `bitmap` is slots / 8 octets or more, NULL: all.
A word of 64 slots is taken whole when all its bits are set, skipped when none is, else bit by bit.
"""

from libc.stdint cimport INT32_MIN, INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #define ctz64(x) ((int)__builtin_ctzll(x))
    #define ones64(x) ((unsigned)__builtin_popcountll(x))
    #define fetch(p) __builtin_prefetch(p, 1)
    """
    void fetch(const void *p) noexcept nogil
    int ctz64(uint64_t x) nogil
    unsigned ones64(uint64_t x) nogil

cdef enum:
    U8 = 1
    U16 = 2
    I32 = 3
    I64 = 4
    U64 = 5

cdef uint64_t ALL = 0xFFFFFFFFFFFFFFFFULL

ctypedef fused code_t:
    uint8_t
    uint16_t

ctypedef fused number_t:
    uint8_t
    uint16_t
    int32_t
    int64_t
    uint64_t


cdef inline uint64_t word_of(const uint8_t *bitmap, Py_ssize_t word) noexcept nogil:
    cdef uint64_t bits
    if bitmap == NULL:
        return ALL
    memcpy(&bits, bitmap + 8 * word, 8)
    return bits


cdef inline const uint8_t *octets_of(const uint8_t[::1] buffer) noexcept:
    return NULL if buffer is None or buffer.shape[0] == 0 else &buffer[0]


cdef inline number_t unknown_of(const number_t *array) noexcept nogil:
    if number_t is int32_t:
        return INT32_MIN
    elif number_t is int64_t:
        return INT64_MIN
    else:
        return 0


# -- codes ------------------------------------------------------------------------------------------------------


cdef void codes(const code_t *array, Py_ssize_t words, const uint8_t *bitmap, uint64_t *out) noexcept nogil:
    # four tables in turn: neighbours with the same code would wait for each other's store
    cdef uint32_t tables[4][256]
    cdef Py_ssize_t word, i
    cdef uint64_t bits
    cdef const code_t *at
    if code_t is uint8_t:
        memset(tables, 0, sizeof(tables))
    for word in range(words):
        bits, at = word_of(bitmap, word), array + 64 * word
        if bits == ALL:
            for i in range(0, 64, 4):
                if code_t is uint8_t:
                    tables[0][at[i]] += 1
                    tables[1][at[i + 1]] += 1
                    tables[2][at[i + 2]] += 1
                    tables[3][at[i + 3]] += 1
                else:
                    out[at[i]] += 1
                    out[at[i + 1]] += 1
                    out[at[i + 2]] += 1
                    out[at[i + 3]] += 1
        else:
            while bits:
                if code_t is uint8_t:
                    tables[0][at[ctz64(bits)]] += 1
                else:
                    out[at[ctz64(bits)]] += 1
                bits &= bits - 1
    if code_t is uint8_t:
        for i in range(256):
            out[i] += tables[0][i] + tables[1][i] + tables[2][i] + tables[3][i]


def tally_codes(const uint8_t[::1] array, int kind, Py_ssize_t slots, const uint8_t[::1] bitmap, uint64_t[::1] out):
    cdef const uint8_t *data = octets_of(array)
    cdef const uint8_t *chosen = octets_of(bitmap)
    cdef uint64_t *to = &out[0]
    with nogil:
        if kind == U8:
            codes[uint8_t](data, slots // 64, chosen, to)
        else:
            codes[uint16_t](<const uint16_t *>data, slots // 64, chosen, to)


# -- numbers ----------------------------------------------------------------------------------------------------


cdef struct span_t:
    uint64_t known
    int64_t least
    int64_t greatest


cdef void span_of(const number_t *array, Py_ssize_t words, const uint8_t *bitmap, span_t *out) noexcept nogil:
    cdef number_t unknown = unknown_of(array)
    cdef number_t value
    cdef int64_t least = INT64_MAX, greatest = INT64_MIN, here
    cdef uint64_t bits, known = 0
    cdef Py_ssize_t word, i
    cdef const number_t *at
    for word in range(words):
        bits, at = word_of(bitmap, word), array + 64 * word
        if bits == ALL:
            for i in range(64):
                value = at[i]
                here = <int64_t>value
                known += value != unknown
                least = here if (value != unknown and here < least) else least
                greatest = here if (value != unknown and here > greatest) else greatest
        else:
            while bits:
                value = at[ctz64(bits)]
                bits &= bits - 1
                if value != unknown:
                    here = <int64_t>value
                    known += 1
                    least = here if here < least else least
                    greatest = here if here > greatest else greatest
    out.known, out.least, out.greatest = known, least, greatest


def span(const uint8_t[::1] array, int kind, Py_ssize_t slots, const uint8_t[::1] bitmap):
    cdef const uint8_t *data = octets_of(array)
    cdef const uint8_t *chosen = octets_of(bitmap)
    cdef span_t found
    with nogil:
        if kind == U8:
            span_of[uint8_t](data, slots // 64, chosen, &found)
        elif kind == U16:
            span_of[uint16_t](<const uint16_t *>data, slots // 64, chosen, &found)
        elif kind == I32:
            span_of[int32_t](<const int32_t *>data, slots // 64, chosen, &found)
        elif kind == I64:
            span_of[int64_t](<const int64_t *>data, slots // 64, chosen, &found)
        else:
            span_of[uint64_t](<const uint64_t *>data, slots // 64, chosen, &found)
    if not found.known:
        return 0, 0, 0
    return found.known, found.least, found.greatest


cdef inline uint64_t bin_of(int64_t value, int64_t low, uint64_t width, double per_width, uint64_t last) noexcept nogil:
    """Which of bins of `width` from `low`; a multiplication, put right where it fell beside an edge."""
    cdef uint64_t far, found
    if value <= low:
        return 0
    far = <uint64_t>value - <uint64_t>low
    if width == 1:
        return last if far > last else far
    if far >= 0x10000000000000ULL:  # past 2^52 a double is not exact
        found = far // width
    else:
        found = <uint64_t>(<double>far * per_width)
        if found * width > far:
            found -= 1
        elif far - found * width >= width:
            found += 1
    return last if found > last else found


cdef uint64_t bins_of(
    const number_t *array, Py_ssize_t words, const uint8_t *bitmap, int64_t low, uint64_t width, uint64_t *out,
    uint64_t last,
) noexcept nogil:
    cdef number_t unknown = unknown_of(array)
    cdef number_t value
    cdef double per_width = 1.0 / <double>width
    cdef uint64_t bits, known = 0
    cdef Py_ssize_t word, i
    cdef const number_t *at
    for word in range(words):
        bits, at = word_of(bitmap, word), array + 64 * word
        if bits == ALL:
            for i in range(64):
                value = at[i]
                if value != unknown:
                    known += 1
                    out[bin_of(<int64_t>value, low, width, per_width, last)] += 1
        else:
            while bits:
                value = at[ctz64(bits)]
                bits &= bits - 1
                if value != unknown:
                    known += 1
                    out[bin_of(<int64_t>value, low, width, per_width, last)] += 1
    return known


def tally_bins(
    const uint8_t[::1] array, int kind, Py_ssize_t slots, const uint8_t[::1] bitmap, int64_t low, uint64_t width,
    uint64_t[::1] out,
):
    cdef const uint8_t *data = octets_of(array)
    cdef const uint8_t *chosen = octets_of(bitmap)
    cdef uint64_t *to = &out[0]
    cdef uint64_t last = out.shape[0] - 1, known
    with nogil:
        if kind == U8:
            known = bins_of[uint8_t](data, slots // 64, chosen, low, width, to, last)
        elif kind == U16:
            known = bins_of[uint16_t](<const uint16_t *>data, slots // 64, chosen, low, width, to, last)
        elif kind == I32:
            known = bins_of[int32_t](<const int32_t *>data, slots // 64, chosen, low, width, to, last)
        elif kind == I64:
            known = bins_of[int64_t](<const int64_t *>data, slots // 64, chosen, low, width, to, last)
        else:
            known = bins_of[uint64_t](<const uint64_t *>data, slots // 64, chosen, low, width, to, last)
    return known


# -- planes -----------------------------------------------------------------------------------------------------


def tally_planes(
    const uint8_t[::1] array, Py_ssize_t slots, const uint8_t[::1] bitmap, uint64_t[::1] out, Py_ssize_t at,
    uint8_t[::1] seen,
):
    cdef const uint8_t *data = octets_of(array)
    cdef const uint8_t *chosen = octets_of(bitmap)
    cdef uint8_t *any_of = NULL if seen is None else &seen[0]
    cdef Py_ssize_t plane, word, words = slots // 64
    cdef uint64_t bits, have
    cdef uint64_t count
    with nogil:
        for plane in range(8):
            count = 0
            for word in range(words):
                bits = word_of(data + plane * 8 * words, word) & word_of(chosen, word)
                if bits:
                    count += ones64(bits)
                    if any_of != NULL:
                        memcpy(&have, any_of + 8 * word, 8)
                        have |= bits
                        memcpy(any_of + 8 * word, &have, 8)
            if count:
                out[at + plane] += count


def ones(const uint8_t[::1] bitmap, Py_ssize_t slots):
    cdef const uint8_t *chosen = octets_of(bitmap)
    cdef Py_ssize_t word
    cdef uint64_t count = 0
    with nogil:
        for word in range(slots // 64):
            count += ones64(word_of(chosen, word))
    return count


# -- distinct values ----------------------------------------------------------------------------------------------


cdef struct seat:
    uint64_t key
    uint32_t count  # 0: free; a tenant has fewer members than 2^32
    uint32_t where


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): each bit of x moves half the bits."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL
    return x ^ (x >> 31)


cdef inline uint64_t first_octets(const uint8_t *octets, int64_t count) noexcept nogil:
    """The first `count` of eight octets, the others 0: without a branch, for lengths are not to be guessed."""
    cdef uint64_t part
    memcpy(&part, octets, 8)
    count = 0 if count < 0 else 8 if count > 8 else count
    return part & ((<uint64_t>1 << 8 * (count & 7)) - 1 if count < 8 else ~<uint64_t>0)


cdef inline uint64_t text_key(const uint8_t *octets, uint32_t count, int64_t room) noexcept nogil:
    """`room` octets may be read from there on. A text of sixteen octets or fewer has the same key either way."""
    cdef uint64_t key = <uint64_t>count * 0x9E3779B97F4A7C15ULL, part
    if count <= 16 and room >= 16:
        return mixed(mixed(key ^ first_octets(octets, count)) ^ first_octets(octets + 8, <int64_t>count - 8))
    if count <= 8:
        part = 0
        memcpy(&part, octets, count)
        return mixed(mixed(key ^ part))
    while count >= 8:
        memcpy(&part, octets, 8)
        key = mixed(key ^ part)
        octets += 8
        count -= 8
    if count:
        part = 0
        memcpy(&part, octets, count)
        key = mixed(key ^ part)
    return key


cdef class Distinct:
    """Counts of different values, of the first `bound` that are met; 16 octets a seat, two seats a value."""

    cdef seat *_seats
    cdef uint64_t *_known  # a bit for each that has a seat, and for some others: 8 bits a seat
    cdef uint64_t _mask, _known_mask
    cdef readonly uint64_t bound, found
    cdef readonly bint more  # there are others

    def __cinit__(self, uint32_t bound):
        cdef uint64_t size = 8  # whole words of `_known`
        while size < 2 * <uint64_t>bound:
            size *= 2
        self._seats = <seat *>calloc(size, sizeof(seat))
        self._known = <uint64_t *>calloc(size, 1)
        if self._seats == NULL or self._known == NULL:
            raise MemoryError
        self._known_mask = min(8 * size, <uint64_t>1 << 24) - 1
        self._mask, self.bound, self.found, self.more = size - 1, bound, 0, False

    def __dealloc__(self):
        free(self._seats)
        free(self._known)

    cdef void meet_all(self, const uint64_t *keys, const uint32_t *where, int count) noexcept nogil:
        """Their seats are fetched together: one after the other, each would wait for memory. When no seat is left, those
        who surely have none are left out before."""
        cdef int i, n = 0
        cdef bint full = self.more
        cdef uint64_t at[64]
        cdef int who[64]
        cdef uint64_t bit
        for i in range(count):
            at[n] = mixed(keys[i])
            who[n] = i
            bit = at[n] >> 40 & self._known_mask
            n += 1 if not full else <int>(self._known[bit >> 6] >> (bit & 63) & 1)
        for i in range(n):
            at[i] &= self._mask
            fetch(self._seats + at[i])
        for i in range(n):
            self.meet(keys[who[i]], where[who[i]], at[i])

    cdef inline void meet(self, uint64_t key, uint32_t where, uint64_t at) noexcept nogil:
        cdef uint64_t bit
        while self._seats[at].count:
            if self._seats[at].key == key:
                self._seats[at].count += 1
                return
            at = (at + 1) & self._mask
        if self.found == self.bound:
            self.more = True
            return
        self.found += 1
        bit = mixed(key) >> 40 & self._known_mask
        self._known[bit >> 6] |= <uint64_t>1 << (bit & 63)
        self._seats[at].key, self._seats[at].count, self._seats[at].where = key, 1, where

    def add_numbers(self, const uint8_t[::1] array, int kind, Py_ssize_t slots, const uint8_t[::1] bitmap):
        """Known values of an I32, I64 or U64 column; nothing once there are more than `bound`."""
        cdef const uint8_t *data = octets_of(array)
        cdef const uint8_t *chosen = octets_of(bitmap)
        with nogil:
            if kind == I32:
                self._numbers(<const int32_t *>data, slots // 64, chosen)
            elif kind == I64:
                self._numbers(<const int64_t *>data, slots // 64, chosen)
            else:
                self._numbers(<const uint64_t *>data, slots // 64, chosen)

    cdef void _numbers(self, const number_t *array, Py_ssize_t words, const uint8_t *bitmap) noexcept nogil:
        cdef number_t unknown = unknown_of(array)
        cdef number_t value
        cdef Py_ssize_t word
        cdef uint64_t bits
        cdef uint64_t keys[64]
        cdef uint32_t nowhere[64]
        cdef int count
        memset(nowhere, 0, sizeof(nowhere))
        for word in range(words):
            if self.more:
                return
            bits, count = word_of(bitmap, word), 0
            while bits:
                value = array[64 * word + ctz64(bits)]
                bits &= bits - 1
                keys[count] = <uint64_t>value
                count += value != unknown
            self.meet_all(keys, nowhere, count)

    def add_texts(
        self, const uint8_t[::1] starts, const uint8_t[::1] ends, const uint8_t[::1] heap, Py_ssize_t slots,
        const uint8_t[::1] bitmap, uint64_t first,
    ):
        """Texts that are not empty, told apart by 64 bits of hash; returns how many. `first` is slot 0's place."""
        cdef const uint8_t *chosen = octets_of(bitmap)
        cdef const uint8_t *octets = octets_of(heap)
        cdef const uint8_t *begins = octets_of(starts)
        cdef const uint8_t *stops = octets_of(ends)
        cdef Py_ssize_t word, slot, size = heap.shape[0]
        cdef uint64_t bits, known = 0
        cdef uint64_t keys[64]
        cdef uint32_t places[64]
        cdef uint32_t a, b
        cdef int count
        with nogil:
            for word in range(slots // 64):
                bits, count = word_of(chosen, word), 0
                while bits:
                    slot = 64 * word + ctz64(bits)
                    bits &= bits - 1
                    memcpy(&a, begins + 4 * slot, 4)
                    memcpy(&b, stops + 4 * slot, 4)
                    if a < b and b <= size:
                        keys[count], places[count] = text_key(octets + a, b - a, size - a), <uint32_t>(first + slot)
                        count += 1
                self.meet_all(keys, places, count)
                known += count
        return known

    def top(self, Py_ssize_t most):
        """[(key, count, where first met)], the most frequent first; of equal ones who came first."""
        cdef uint64_t at
        cdef list all_of = []
        for at in range(self._mask + 1):
            if self._seats[at].count:
                all_of.append((self._seats[at].key, self._seats[at].count, self._seats[at].where))
        all_of.sort(key=lambda found: (-found[1], found[2], found[0]))
        return all_of[:most]
