"""Lines `number,network` to sorted u64 entries, GIL released: number << 14 | the network's index.

A network's code is found by its octets in a table of the codes met last; only a code that is new and a line that is
wrong ask Python. Rests on: ported.py for the names of what is wrong, tests/reference/routes.py for the meaning.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    DIGITS_MIN = 7
    DIGITS = 15                 # of E.164
    NETWORK_BITS = 14           # of an entry
    CODE_OCTETS = 16
    SHOWN = 80                  # octets of a field that is wrong
    CODES_MET = 4096            # a place by hash; another code of the same hash takes it
    RADIX_BITS = 10
    RADIX = 1024
    PASSES = 5                  # 50 bits hold 15 digits

# what a line is; ported.py has a rule for each
cdef enum:
    GOOD, EMPTY, BAD_NUMBER, NO_NETWORK, LONG_NETWORK, MANY_NETWORKS

cdef struct met_code:
    uint8_t octets[CODE_OCTETS]
    int32_t count, index        # count 0: no code yet

cdef struct row:
    uint64_t number
    size_t number_end, code_at, code_end, end
    int what


cdef class PortedLines:
    """Fed octets in pieces of any size; `wrong` has (line, what, octets of the number, octets of the code) of the first
    `kept` lines that are, `rejected` counts all."""
    cdef uint64_t *entries
    cdef size_t count, room
    cdef met_code *met
    cdef dict index
    cdef bytes rest
    cdef size_t kept
    cdef readonly list networks, wrong
    cdef readonly uint64_t lines, rejected

    def __cinit__(self, size_t kept):
        self.met = <met_code *>calloc(CODES_MET, sizeof(met_code))
        if self.met == NULL:
            raise MemoryError
        self.index, self.networks, self.wrong, self.rest, self.kept = {}, [], [], b"", kept

    def __dealloc__(self):
        free(self.entries)
        free(self.met)

    def feed(self, bytes octets not None):
        """The lines that `octets` completes."""
        whole = self.rest + octets if self.rest else octets
        self.rest = whole[self._read(whole, len(whole)):]
        if len(self.rest) > 1 << 20:
            raise ValueError("a line of more than 1 MiB")

    def finish(self):
        """Entries in ascending order, as octets; of several lines with one number the last counts. Once only."""
        cdef bytearray out
        if self.rest:
            self.feed(b"\n")
        cdef uint64_t *other = <uint64_t *>malloc(8 * self.count + 8)
        if other == NULL:
            raise MemoryError
        with nogil:
            _sort(&self.entries, &other, self.count)
            self.count = _last_of_each(self.entries, self.count)
        free(other)
        out = PyByteArray_FromStringAndSize(<char *>self.entries, 8 * self.count)
        free(self.entries)
        self.entries, self.count, self.room = NULL, 0, 0
        return out

    cdef size_t _read(self, const uint8_t *s, size_t n) except? 0:
        """How many octets are whole lines, which are taken."""
        cdef size_t at = 0
        cdef row r
        while True:
            with nogil:
                while next_row(s, n, at, &r):
                    if r.what == GOOD and not self._keep(s, &r):
                        break                           # a code to learn
                    if r.what > EMPTY:
                        break
                    at = r.end
                    self.lines += 1
                else:
                    r.end = at
            if r.end == at:
                return at
            if r.what == GOOD and not self._learn(s, &r):
                r.what = MANY_NETWORKS
            if r.what != GOOD:
                self._wrong(s, &r, at)
                at = r.end
                self.lines += 1

    cdef bint _keep(self, const uint8_t *s, const row *r) noexcept nogil:
        """Whether the code is among those met; then the entry is kept."""
        cdef int32_t n = <int32_t>(r.code_end - r.code_at)
        cdef met_code *m = self.met + hash_of(s + r.code_at, n)
        if m.count != n or memcmp(m.octets, s + r.code_at, n) != 0:
            return False
        if self.count == self.room and not self._grow():
            return False
        self.entries[self.count] = r.number << NETWORK_BITS | <uint64_t>m.index
        self.count += 1
        return True

    cdef bint _grow(self) noexcept nogil:
        cdef size_t room = max(<size_t>1 << 16, self.room + self.room // 2)
        cdef uint64_t *more = <uint64_t *>realloc(self.entries, 8 * room)
        if more == NULL:
            return False
        self.entries, self.room = more, room
        return True

    cdef bint _learn(self, const uint8_t *s, const row *r) except -1:
        """False where there are as many networks as an entry can name."""
        cdef int32_t n = <int32_t>(r.code_end - r.code_at)
        cdef met_code *m = self.met + hash_of(s + r.code_at, n)
        code = (<const char *>s)[r.code_at:r.code_end]
        known = self.index.get(code)
        if known is None:
            if len(self.index) == 1 << NETWORK_BITS:
                return False
            known = self.index[code] = len(self.networks)
            self.networks.append(code)
        if self.count == self.room and not self._grow():
            raise MemoryError
        m.count, m.index = n, known
        memcpy(m.octets, s + r.code_at, n)
        return True

    cdef int _wrong(self, const uint8_t *s, const row *r, size_t at) except -1:
        cdef bytes number = (<const char *>s)[at:r.number_end][:SHOWN], code = (<const char *>s)[r.code_at:r.code_end][:SHOWN]
        if self.lines == 0 and number.translate(None, b"0123456789") == number:
            return 0                                    # a header
        self.rejected += 1
        if <size_t>len(self.wrong) < self.kept:
            self.wrong.append((self.lines + 1, r.what, number, code))
        return 0


cdef inline uint32_t hash_of(const uint8_t *s, int32_t n) noexcept nogil:
    cdef uint32_t h = 2166136261u
    cdef int32_t i
    for i in range(n):
        h = (h ^ s[i]) * 16777619u
    return (h ^ h >> 16) & (CODES_MET - 1)


cdef inline bint separates(uint8_t c) noexcept nogil:
    return c == 44 or c == 59 or c == 9


cdef bint next_row(const uint8_t *s, size_t n, size_t at, row *r) noexcept nogil:
    """The line at `at`; False when it is not whole. `,` `;` and tab separate; quotes, blanks and a plus sign before the
    number are passed over."""
    cdef uint64_t number = 0
    cdef size_t i = at
    cdef int digits = 0
    cdef bint good = True
    cdef uint8_t c
    while i < n:
        c = s[i]
        if 48 <= c <= 57:
            digits += 1
            if digits <= DIGITS:
                number = number * 10 + (c - 48)
            if digits == 1 and c == 48:
                good = False
        elif c == 10 or separates(c):
            break
        elif c != 34 and c != 32 and c != 13 and (c != 43 or digits):
            good = False
        i += 1
    r.number_end = i
    r.code_at = i + 1 if i < n and s[i] != 10 else i
    i = r.code_at
    while i < n and s[i] != 10 and not separates(s[i]):
        i += 1
    r.code_end = i
    while i < n and s[i] != 10:
        i += 1
    if i == n:
        return False
    r.end = i + 1
    while r.code_at < r.code_end and (s[r.code_at] == 34 or s[r.code_at] == 32):
        r.code_at += 1
    while r.code_at < r.code_end and (s[r.code_end - 1] == 34 or s[r.code_end - 1] == 32 or s[r.code_end - 1] == 13):
        r.code_end -= 1
    r.number, r.what = number, GOOD
    if r.number_end == r.end - 1 and not digits and good:
        r.what = EMPTY
    elif not good or not DIGITS_MIN <= digits <= DIGITS:
        r.what = BAD_NUMBER
    elif r.code_at == r.code_end:
        r.what = NO_NETWORK
    elif r.code_end - r.code_at > CODE_OCTETS:
        r.what = LONG_NETWORK
    return True


cdef void _sort(uint64_t **entries, uint64_t **other, size_t n) noexcept nogil:
    """By number, those of one number in the order they came; the sorted ones end up in `entries`. A pass in which all
    are alike is left out, and so are all of them where the file was in order."""
    cdef size_t[PASSES][RADIX] counts
    cdef size_t i, k, first, at
    cdef int p
    cdef uint64_t e, before = 0
    cdef bint ordered = True
    memset(counts, 0, sizeof(counts))
    for i in range(n):
        e = entries[0][i] >> NETWORK_BITS
        ordered = ordered and e >= before
        before = e
        for p in range(PASSES):
            counts[p][e >> (RADIX_BITS * p) & (RADIX - 1)] += 1
    if ordered:
        return
    for p in range(PASSES):
        if counts[p][entries[0][0] >> (NETWORK_BITS + RADIX_BITS * p) & (RADIX - 1)] == n:
            continue
        at = 0
        for k in range(RADIX):
            first = at
            at += counts[p][k]
            counts[p][k] = first
        for i in range(n):
            e = entries[0][i]
            k = e >> (NETWORK_BITS + RADIX_BITS * p) & (RADIX - 1)
            other[0][counts[p][k]] = e
            counts[p][k] += 1
        entries[0], other[0] = other[0], entries[0]


cdef size_t _last_of_each(uint64_t *e, size_t n) noexcept nogil:
    cdef size_t i, kept = 0
    for i in range(n):
        if kept and e[kept - 1] >> NETWORK_BITS == e[i] >> NETWORK_BITS:
            kept -= 1
        e[kept] = e[i]
        kept += 1
    return kept
