"""Who is dealt to which arm, compiled: GIL released, nothing kept a recipient.

A member's place is a hash of its number and a seed; the deal is thresholds over that hash (arms.py has the theory).
Rests on: tests/reference/arms.py for the meaning, fastmatch_plain.h for the hash that samples use too.

bounds: u64 a stratum and column: [held, arm 0, arm 1, ...], ascending from arm 0 on. Below `held` by the holdout's seed:
held out. Else the first arm whose bound the hash by the arms' seed is below, or the rest.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "../fastmatch_plain.h" nogil:
    uint64_t fm_mix64(uint64_t x)

cdef extern from *:
    """
    static inline int arms_trailing(uint64_t x) { return __builtin_ctzll(x); }
    """
    int arms_trailing(uint64_t x) nogil

cdef enum:
    NO_BOUND = 0  # of the held: nobody


cdef inline uint64_t _hash(uint64_t member_no, uint64_t seed) noexcept nogil:
    """Below 2^64 - 1, so that a bound of 2^64 - 1 means everybody."""
    cdef uint64_t h = fm_mix64(member_no + seed)
    return h - (h == <uint64_t>0xFFFFFFFFFFFFFFFF)


cdef inline uint32_t _stratum(const uint8_t *codes, int width, uint32_t slot, uint32_t strata) noexcept nogil:
    """A code that came after the deal counts as unknown, which is 0."""
    cdef uint32_t code
    if width == 0:
        return 0
    code = codes[slot] if width == 1 else codes[2 * slot] | <uint32_t>codes[2 * slot + 1] << 8
    return code if code < strata else 0


cdef class Deal:
    """Thresholds of one campaign; threads may share it."""

    cdef uint64_t held_seed, seed
    cdef readonly uint32_t strata, columns
    cdef const uint64_t[::1] bounds

    def __init__(self, uint64_t held_seed, uint64_t seed, uint32_t strata, const uint64_t[::1] bounds):
        if strata == 0 or bounds.shape[0] == 0 or bounds.shape[0] % strata:
            raise ValueError("bounds: the same number for each stratum")
        self.held_seed, self.seed, self.strata, self.bounds = held_seed, seed, strata, bounds
        self.columns = bounds.shape[0] // strata

    def split(self, const uint8_t[::1] bitmap, uint32_t first_no, uint8_t[::1] out, const uint8_t[::1] codes=b"", int width=0):
        """The bitmap's slots by group, each a bitmap as long: the held out, every arm, the rest; behind one another in
        `out`, which is zeroed first. codes: of the block's slots; a slot past them is of stratum 0."""
        cdef Py_ssize_t octets = bitmap.shape[0]
        cdef uint32_t words = octets // 8, w, slot, s, groups = self.columns + 1, g, slots
        cdef uint64_t left, h, one
        cdef const uint64_t *b
        if octets % 8 or out.shape[0] != octets * groups:
            raise ValueError("out: a bitmap a group")
        if width not in (0, 1, 2):
            raise ValueError("codes: 1 or 2 octets a slot")
        slots = codes.shape[0] // width if width else 0
        cdef const uint8_t *c = &codes[0] if slots else NULL
        cdef const uint8_t *p = &bitmap[0] if octets else NULL
        cdef uint8_t *o = &out[0] if octets else NULL
        with nogil:
            for w in range(octets * groups):
                o[w] = 0
            for w in range(words):
                memcpy(&left, p + 8 * w, 8)
                while left:
                    slot = 64 * w + arms_trailing(left)
                    left &= left - 1
                    s = _stratum(c, width, slot, self.strata) if slot < slots else 0
                    b = &self.bounds[s * self.columns]
                    g = 0
                    if b[0] == NO_BOUND or _hash(<uint64_t>first_no + slot, self.held_seed) >= b[0]:
                        h = _hash(<uint64_t>first_no + slot, self.seed)
                        g = 1
                        while g < self.columns and h >= b[g]:
                            g += 1
                    o[g * octets + (slot >> 3)] |= <uint8_t>(1 << (slot & 7))

    def tally(self, const uint8_t[::1] bitmap, uint32_t first_no, bint held, int bits, uint32_t[::1] counts, const uint8_t[::1] codes=b"", int width=0):
        """Add to counts[stratum << bits | the hash's first bits] those not held out; held: everybody, by that seed."""
        cdef uint32_t words = bitmap.shape[0] // 8, w, slot, s, slots
        cdef uint64_t left, h
        cdef uint64_t seed = self.held_seed if held else self.seed
        if not 1 <= bits <= 16 or counts.shape[0] != <Py_ssize_t>self.strata << bits or width not in (0, 1, 2):
            raise ValueError("counts: 2^bits a stratum")
        slots = codes.shape[0] // width if width else 0
        cdef const uint8_t *c = &codes[0] if slots else NULL
        cdef const uint8_t *p = &bitmap[0] if words else NULL
        with nogil:
            for w in range(words):
                memcpy(&left, p + 8 * w, 8)
                while left:
                    slot = 64 * w + arms_trailing(left)
                    left &= left - 1
                    s = _stratum(c, width, slot, self.strata) if slot < slots else 0
                    if not held and self._is_held(s, <uint64_t>first_no + slot):
                        continue
                    h = _hash(<uint64_t>first_no + slot, seed)
                    counts[(s << bits) + <uint32_t>(h >> (64 - bits))] += 1

    def gather(self, const uint8_t[::1] bitmap, uint32_t first_no, bint held, int bits, const uint8_t[::1] wanted, uint64_t[::1] hashes, uint16_t[::1] whose, Py_ssize_t at, const uint8_t[::1] codes=b"", int width=0):
        """The hashes that tally() counted where `wanted` is not 0, with their strata, from place `at` on; the next
        place. Raises ValueError when there is no room."""
        cdef uint32_t words = bitmap.shape[0] // 8, w, slot, s, slots
        cdef uint64_t left, h
        cdef uint64_t seed = self.held_seed if held else self.seed
        cdef Py_ssize_t room = min(hashes.shape[0], whose.shape[0])
        if not 1 <= bits <= 16 or wanted.shape[0] != <Py_ssize_t>self.strata << bits or width not in (0, 1, 2):
            raise ValueError("wanted: 2^bits a stratum")
        slots = codes.shape[0] // width if width else 0
        cdef const uint8_t *c = &codes[0] if slots else NULL
        cdef const uint8_t *p = &bitmap[0] if words else NULL
        cdef bint short_ = False
        with nogil:
            for w in range(words):
                memcpy(&left, p + 8 * w, 8)
                while left and not short_:
                    slot = 64 * w + arms_trailing(left)
                    left &= left - 1
                    s = _stratum(c, width, slot, self.strata) if slot < slots else 0
                    if not held and self._is_held(s, <uint64_t>first_no + slot):
                        continue
                    h = _hash(<uint64_t>first_no + slot, seed)
                    if wanted[(s << bits) + <uint32_t>(h >> (64 - bits))]:
                        if at >= room:
                            short_ = True
                            break
                        hashes[at] = h
                        whose[at] = <uint16_t>s
                        at += 1
        if short_:
            raise ValueError("no room for the hashes")
        return at

    cdef inline bint _is_held(self, uint32_t s, uint64_t member_no) noexcept nogil:
        cdef uint64_t below = self.bounds[s * self.columns]
        return below != NO_BOUND and _hash(member_no, self.held_seed) < below


def count(const uint8_t[::1] audience, const uint8_t[::1] chosen, const uint8_t[::1] decision, const uint8_t[::1] state, uint64_t[::1] counts):
    """Of the chosen slots of a block's audience: counts[decision] and, of those sent (1), counts[64 + state] += 1.
    decision, state: of the block's ranks in order; a rank past them is undecided and unsent."""
    cdef uint32_t words = audience.shape[0] // 8, w, rank = 0, d
    cdef uint64_t a, c, low
    cdef Py_ssize_t ranks = min(decision.shape[0], state.shape[0])
    if chosen.shape[0] < audience.shape[0] or counts.shape[0] < 128:
        raise ValueError("chosen as long as audience, 128 counts")
    cdef const uint8_t *p = &audience[0] if words else NULL
    cdef const uint8_t *q = &chosen[0] if words else NULL
    with nogil:
        for w in range(words):
            memcpy(&a, p + 8 * w, 8)
            memcpy(&c, q + 8 * w, 8)
            while a:
                low = a & (~a + 1)
                if c & low:
                    d = decision[rank] if rank < ranks else 0
                    if d < 64:
                        counts[d] += 1
                        if d == 1:
                            counts[64 + (state[rank] & 63)] += 1
                rank += 1
                a ^= low


def pick(const uint8_t[::1] audience, const uint8_t[::1] decision, int wanted, uint8_t[::1] out):
    """The slots of a block's audience whose rank has the decision `wanted` into `out`; how many."""
    cdef uint32_t words = audience.shape[0] // 8, w, rank = 0, n = 0
    cdef uint64_t a, low, keep
    if out.shape[0] < audience.shape[0]:
        raise ValueError("out too short")
    for w in range(words):
        memcpy(&a, &audience[8 * w], 8)
        keep = 0
        while a:
            low = a & (~a + 1)
            if (decision[rank] if rank < decision.shape[0] else 0) == wanted:
                keep |= low
                n += 1
            rank += 1
            a ^= low
        memcpy(&out[8 * w], &keep, 8)
    return n
