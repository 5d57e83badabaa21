from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dispatcher.smpp._pace cimport pace_log

cdef enum:
    JOURNAL = 4 << 20       # octets of one journal buffer: a commit stays below 4 MiB (DESIGN 2)
    RUN_PACES = 2           # of a run: its tenant's and its campaign's
    JOURNAL_ROOM = 1 << 20  # kept free for what one receive buffer can make; past it only binds that end may grow it

cdef struct flying:         # a submit_sm without its answer; seq 0 = free
    uint64_t destination, sent_ns
    uint32_t seq, rank, slot, since_s
    uint16_t run
    uint8_t part, parts, tries, late

cdef struct given_back:     # to be decided on by Python: retry, released, uncertain
    uint64_t destination
    uint32_t rank, slot, status, since_s
    uint16_t run
    uint8_t part, parts, kind, tries

cdef struct run_head:
    uint64_t id
    uint16_t tenant, endpoint
    uint8_t use, receipts, honours_stop, stopped
    uint8_t in_journal[2]
    uint8_t head_octets, mid_octets
    uint64_t open               # parts claimed and not answered, timed out, given back or stopped
    uint64_t queued             # of them, what has not left
    pace_log *paces[RUN_PACES]  # beside those of the endpoint and the bind
    uint8_t n_paces
    uint32_t answers, telling   # answered, and of those refused for what its campaign is, not for the number
    uint32_t late               # timed out on a live bind: an answer may still come
    uint8_t head[80]
    uint8_t mid[40]

cdef enum:                  # use of a run number
    RUN_FREE, RUN_OPEN, RUN_CLOSING, RUN_SWEEPING, RUN_SWEPT

cdef class Journal:
    cdef run_head *runs
    cdef dict run_paces             # run -> the objects of its paces
    cdef uint32_t n_runs            # numbers ever given: those below it may be free again
    cdef readonly uint32_t runs_used
    cdef readonly uint32_t endpoint # whose values these are: its number in the log
    cdef uint8_t *journal[2]
    cdef size_t journal_octets[2]
    cdef size_t journal_size[2]
    cdef uint32_t journal_records[2]
    cdef uint64_t journal_settles[2]
    cdef uint64_t journal_base_ms[2]
    cdef int current
    cdef bint is_cut
    cdef uint32_t delivered         # deliver_sm taken by the fast path since the last cut
    cdef given_back *returned
    cdef size_t n_returned, returned_room
    cdef readonly uint64_t settled_total

    cdef uint8_t *_record(self, size_t size, uint32_t run) noexcept nogil
    cdef void _reserve(self, int c, size_t octets) noexcept nogil
    cdef uint16_t _delta(self) noexcept nogil
    cdef uint16_t _now(self) noexcept nogil
    cdef void _log(self, int kind, int part, int state, uint32_t rank, uint32_t run, uint32_t status, const uint8_t *id, size_t n, uint16_t delta) noexcept nogil
    cdef void _give_back(self, const flying *f, int kind, uint32_t status) noexcept nogil


cdef inline void run_queued(run_head *r) noexcept nogil:
    """one part more is claimed"""
    cdef int i
    r.queued += 1
    for i in range(r.n_paces):
        r.paces[i].queued += 1


cdef inline void run_left(run_head *r) noexcept nogil:
    """one of them leaves, or is given back"""
    cdef int i
    r.queued -= 1
    for i in range(r.n_paces):
        r.paces[i].queued -= 1
