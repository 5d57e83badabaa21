"""Whole blocks of numbers to endpoints: longest prefix or ported network to a group of targets, one of them by weight.

A number is left-aligned to 15 digits, so that every prefix is one interval of whole numbers. Rests on: plan.py, which
draws the tables; tests/reference/routes.py for the meaning.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
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
    uint64_t first
    size_t n

cdef struct found:              # a number whose network is looked up
    uint64_t number, last       # `last`: the greatest entry it could have
    const uint64_t *entry       # the greatest entry that is not above it lies here or among the `left` - 1 behind
    size_t left
    int32_t network


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
                        stretches[n_ported].first = stretches[n_ported].entries[0]
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
        cdef found[64] at
        cdef size_t[64] slot_of
        cdef int i, count
        for w in range(octets // 8):
            memcpy(&word, todo + 8 * w, 8)
            count = 0
            while word:
                slot = 64 * w + _trailing(word)
                word &= word - 1
                if slot < slots and numbers[slot]:
                    at[count].number, at[count].network, slot_of[count] = numbers[slot], -1, slot
                    count += 1
                else:
                    out[self.nobody * octets + slot // 8] |= <uint8_t>(1 << slot % 8)
            if n_ported and count:
                _find(at, count, ported, n_ported)
            for i in range(count):
                to = self._one(at[i].number, at[i].network)
                out[to * octets + slot_of[i] // 8] |= <uint8_t>(1 << slot_of[i] % 8)

    cdef uint32_t _one(self, uint64_t number, int32_t network) noexcept nogil:
        cdef int digits = 1
        cdef uint64_t aligned, hash
        cdef size_t low = 0, high = self.n, middle
        cdef uint32_t at, i
        cdef int32_t group = -1
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


cdef void _find(found *at, int count, const stretch *ported, size_t n_ported) noexcept nogil:
    """The network that each number was ported to, -1: none. All take each step of their search together, so that the
    memory they wait for comes together: 10 M entries, one number at a time 1.5 us each, so 0.3 (bench ported)."""
    cdef size_t low, high, middle, half, longest = 0
    cdef uint64_t last
    cdef int i
    for i in range(count):
        last = at[i].number << NETWORK_BITS | ((1 << NETWORK_BITS) - 1)
        low, high = 0, n_ported
        while high - low > 1:
            middle = (low + high) // 2
            if ported[middle].first <= last:
                low = middle
            else:
                high = middle
        at[i].last, at[i].entry, at[i].left = last, ported[low].entries, ported[low].n
        longest = max(longest, ported[low].n)
    while longest > 1:
        for i in range(count):
            half = at[i].left // 2
            at[i].entry += half if at[i].entry[half] <= at[i].last else 0
            at[i].left -= half
        longest -= longest // 2
    for i in range(count):
        if at[i].entry[0] >> NETWORK_BITS == at[i].number:
            at[i].network = <int32_t>(at[i].entry[0] & ((1 << NETWORK_BITS) - 1))
        else:
            at[i].network = -1
