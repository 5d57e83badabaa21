"""Whole blocks of numbers to endpoints: longest prefix or ported network to a group of targets, one of them by weight.

A number is left-aligned to 15 digits, so that every prefix is one interval of whole numbers. Rests on: plan.py, which
draws the tables; tests/reference/routes.py for the meaning.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

cdef enum:
    DIGITS = 15                 # of E.164
    NETWORK_BITS = 14           # of a ported entry: number << 14 | network

cdef uint64_t[17] TENS
cdef int _i
TENS[0] = 1
for _i in range(1, 17):
    TENS[_i] = TENS[_i - 1] * 10

cdef struct node:               # a prefix
    uint32_t digits, group
    int32_t parent              # the longest prefix of it that is one too; -1: it is the empty one

cdef struct target:
    uint64_t top                # of the 32 bits of a number's hash, those below it; the last one's is 1 << 32
    uint32_t out

cdef struct stretch:            # one value of the table of ported numbers
    const uint64_t *entries
    size_t n


cdef inline uint64_t _mix(uint64_t x) noexcept nogil:
    """splitmix64's last steps: 64 well-mixed bits of a number"""
    x ^= x >> 30
    x *= <uint64_t>0xBF58476D1CE4E5B9ULL
    x ^= x >> 27
    x *= <uint64_t>0x94D049BB133111EBULL
    return x ^ x >> 31


cdef class Chooser:
    """See plan.py. starts: the first left-aligned number of each interval, ascending, the first 0; of: its node."""

    cdef uint64_t *starts
    cdef uint32_t *of
    cdef size_t n
    cdef node *nodes
    cdef target *targets
    cdef uint32_t *first        # of a group's targets, and one past the last group's
    cdef int32_t *network_group
    cdef size_t networks
    cdef readonly uint32_t outs
    cdef uint32_t nobody        # where a member without a number goes

    def __cinit__(self, list starts, list of, list nodes, list groups, list network_group, uint32_t outs, uint32_t nobody):
        cdef size_t i, j
        self.n, self.outs, self.nobody = len(starts), outs, nobody
        self.starts = <uint64_t *>malloc(8 * self.n)
        self.of = <uint32_t *>malloc(4 * self.n)
        for i in range(self.n):
            self.starts[i], self.of[i] = starts[i], of[i]
        self.nodes = <node *>malloc(len(nodes) * sizeof(node))
        for i, (digits, group, parent) in enumerate(nodes):
            self.nodes[i].digits, self.nodes[i].group, self.nodes[i].parent = digits, group, parent
        self.first = <uint32_t *>malloc(4 * (len(groups) + 1))
        self.targets = <target *>malloc(sum(map(len, groups)) * sizeof(target))
        j = 0
        for i, group in enumerate(groups):
            self.first[i] = j
            for top, out in group:
                if out >= outs:
                    raise ValueError("a target beyond the outputs")
                self.targets[j].top, self.targets[j].out = top, out
                j += 1
        self.first[len(groups)] = j
        self.networks = len(network_group)
        self.network_group = <int32_t *>malloc(4 * (self.networks + 1))
        for i in range(self.networks):
            self.network_group[i] = network_group[i]

    def __dealloc__(self):
        free(self.starts)
        free(self.of)
        free(self.nodes)
        free(self.targets)
        free(self.first)
        free(self.network_group)

    def choose(self, const uint8_t[::1] numbers, const uint8_t[::1] todo, list ported, uint8_t[::1] out):
        """Set the bit of each slot in `todo` in one of the `outs` bitmaps of `out`, which follow each other and are as long
        as `todo`. numbers: u64 a slot, may be shorter (the rest has no number)."""
        cdef size_t octets = todo.shape[0], slots = numbers.shape[0] // 8, k, n_ported = 0
        cdef stretch *stretches = NULL
        cdef const uint8_t[::1] value
        cdef const uint64_t *of_slot = <const uint64_t *>&numbers[0] if slots else NULL
        if octets % 8 or <size_t>out.shape[0] < octets * self.outs:
            raise ValueError("out: a bitmap of u64 words an output")
        memset(&out[0], 0, octets * self.outs)
        try:
            if ported and self.networks:
                stretches = <stretch *>malloc(len(ported) * sizeof(stretch))
                for octets_ in ported:
                    value = octets_
                    if value.shape[0] >= 8:
                        stretches[n_ported].entries, stretches[n_ported].n = <const uint64_t *>&value[0], value.shape[0] // 8
                        n_ported += 1
            with nogil:
                self._choose(of_slot, slots, &todo[0], octets, stretches, n_ported, &out[0])
        finally:
            free(stretches)

    cdef void _choose(self, const uint64_t *numbers, size_t slots, const uint8_t *todo, size_t octets,
                      const stretch *ported, size_t n_ported, uint8_t *out) noexcept nogil:
        cdef size_t w, slot
        cdef uint64_t word
        cdef uint32_t to
        for w in range(octets // 8):
            memcpy(&word, todo + 8 * w, 8)
            while word:
                slot = 64 * w + _trailing(word)
                word &= word - 1
                to = self._one(numbers[slot], ported, n_ported) if slot < slots and numbers[slot] else self.nobody
                out[to * octets + slot // 8] |= <uint8_t>(1 << slot % 8)

    cdef uint32_t _one(self, uint64_t number, const stretch *ported, size_t n_ported) noexcept nogil:
        cdef int digits = 1
        cdef uint64_t aligned, hash
        cdef size_t low = 0, high = self.n, middle
        cdef uint32_t at, i
        cdef int32_t group = -1, network
        if n_ported:
            network = _network(number, ported, n_ported)
            if 0 <= network < <int32_t>self.networks:
                group = self.network_group[network]
        if group < 0:
            while digits < DIGITS and number >= TENS[digits]:
                digits += 1
            aligned = number * TENS[DIGITS - digits]
            while high - low > 1:
                middle = (low + high) // 2
                if self.starts[middle] <= aligned:
                    low = middle
                else:
                    high = middle
            at = self.of[low]
            while self.nodes[at].digits > <uint32_t>digits:
                at = self.nodes[at].parent
            group = self.nodes[at].group
        i = self.first[group]
        if self.first[group + 1] - i > 1:
            hash = _mix(number) >> 32
            while hash >= self.targets[i].top:
                i += 1
        return self.targets[i].out


cdef inline int _trailing(uint64_t word) noexcept nogil:
    cdef int n = 0
    while not word & 1:
        word >>= 1
        n += 1
    return n


cdef int32_t _network(uint64_t number, const stretch *ported, size_t n_ported) noexcept nogil:
    """the network that a number was ported to, -1: none"""
    cdef uint64_t least = number << NETWORK_BITS
    cdef size_t low = 0, high = n_ported, middle
    cdef const stretch *s
    while high - low > 1:
        middle = (low + high) // 2
        if ported[middle].entries[0] <= (least | ((1 << NETWORK_BITS) - 1)):
            low = middle
        else:
            high = middle
    s = &ported[low]
    low, high = 0, s.n
    while low < high:
        middle = (low + high) // 2
        if s.entries[middle] < least:
            low = middle + 1
        else:
            high = middle
    if low < s.n and s.entries[low] >> NETWORK_BITS == number:
        return <int32_t>(s.entries[low] & ((1 << NETWORK_BITS) - 1))
    return -1


# ---- the table of ported numbers, read from lines

cdef int _compare(const void *a, const void *b) noexcept nogil:
    cdef uint64_t x = (<const uint64_t *>a)[0], y = (<const uint64_t *>b)[0]
    return (x > y) - (x < y)


def sort_entries(uint8_t[::1] entries):
    """u64 entries in ascending order, in place; of several with one number the last in order is kept. Returns how many
    are left at the front."""
    cdef size_t n = entries.shape[0] // 8, i, kept = 0
    cdef uint64_t *e
    if n == 0:
        return 0
    e = <uint64_t *>&entries[0]
    with nogil:
        qsort(e, n, 8, _compare)
        for i in range(n):
            if kept and e[kept - 1] >> NETWORK_BITS == e[i] >> NETWORK_BITS:
                e[kept - 1] = e[i]
            else:
                e[kept] = e[i]
                kept += 1
    return kept


def read_lines(const uint8_t[::1] octets, dict networks, bytearray entries, list wrong, uint64_t line):
    """Lines `number,network` (`;` and tab separate too; quotes and a plus sign are passed over) appended to `entries` as u64.
    networks: code -> index, grown as codes are met. What cannot be read goes to `wrong` as (line, octets), the first
    thousand of them. Only whole lines: returns (octets read, the number of the next line)."""
    cdef size_t n = octets.shape[0], at = 0, end, i, code_at
    cdef uint64_t number, entry
    cdef int digits
    cdef uint8_t c
    cdef bint good
    while at < n:
        end = at
        while end < n and octets[end] != 10:
            end += 1
        if end == n:
            break
        number, digits, i, good = 0, 0, at, True
        while i < end and octets[i] not in (44, 59, 9):
            c = octets[i]
            if 48 <= c <= 57:
                number = number * 10 + (c - 48) if digits < 16 else number
                digits += 1
            elif c not in (34, 43, 32, 13):
                good = False
            i += 1
        code_at = i + 1
        if code_at > end and digits == 0 and good:      # an empty line
            at = end + 1
            line += 1
            continue
        code = bytes(octets[code_at:end]).split(b",")[0].split(b";")[0].strip(b' "\r\t') if code_at <= end else b""
        if good and 7 <= digits <= DIGITS and code and len(code) <= 16:
            index = networks.get(code)
            if index is None and len(networks) < 1 << NETWORK_BITS:
                index = networks[code] = len(networks)
            if index is not None:
                entry = number << NETWORK_BITS | <uint64_t>index
                entries += (<char *>&entry)[:8]
            else:
                good = False
        else:
            good = False
        if not good and len(wrong) < 1000:
            wrong.append((line, bytes(octets[at:end])[:80]))
        at = end + 1
        line += 1
    return at, line
