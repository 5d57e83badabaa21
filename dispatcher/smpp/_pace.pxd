# The sliding log of DESIGN 6 as a struct that the pump asks without a Python object in the way.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    PACE_NS = 1_005_000_000     # part n leaves not before part n - limit left + this (DESIGN 6)
    PACE_SLACK_NS = 50_000_000  # what a late wake-up may make up at once: no burst after an idle stretch

cdef struct pace_log:
    uint64_t *at                # when parts left, a ring of mask + 1
    uint64_t mask, no           # no: parts that have left, and the ring's size at first
    uint64_t rate, limit        # as contracted; as it holds now (less after a throttle). 0: none
    uint64_t begun_ns           # the log's beginning: what left before it nobody knows
    double interval_ns, due_ns  # the even spacing, and when the next part is due by it
    uint64_t queued             # claimed by runs and not left
    uint32_t widest             # parts of the greatest message that asked
    uint32_t asked              # scratch: parts of one look

cdef class Pace:
    cdef pace_log log

    cdef int _limit(self, uint64_t limit, uint64_t now_ns) except -1


cdef inline uint64_t pace_free_ns(const pace_log *p, uint64_t parts) noexcept nogil:
    """the instant from which `parts` may leave together (of more than a second's worth the first second's); 0: no limit"""
    cdef uint64_t t
    cdef double due
    if p.limit == 0:
        return 0
    if parts > p.limit:
        parts = p.limit
    t = p.at[(p.no + parts - 1 - p.limit) & p.mask] + PACE_NS
    due = p.due_ns - PACE_SLACK_NS
    return t if <double>t > due else <uint64_t>due


cdef inline bint pace_allows(const pace_log *p, uint64_t now, uint64_t parts) noexcept nogil:
    return p.limit == 0 or now >= pace_free_ns(p, parts)


cdef inline void pace_left(pace_log *p, uint64_t now) noexcept nogil:
    """one part leaves"""
    if p.limit:
        p.at[p.no & p.mask] = now
        p.no += 1
        p.due_ns = (p.due_ns if p.due_ns > <double>now else <double>now) + p.interval_ns
