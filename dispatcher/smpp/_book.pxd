from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dispatcher.records.layouts cimport part_row
from dispatcher.smpp._index cimport Index
from dispatcher.smpp._journal cimport flying, run_head
from dispatcher.smpp._pace cimport Pace
from dispatcher.smpp._wire cimport monotonic_ns

cdef enum:
    POOLS = 3               # lanes: 0 bulk, 1 replies, 2 urgent; the greater leaves first
    FLOOR = 20              # a lane that waits gets one part at least in so many of those above it
    PDU_SLACK = 512         # a submit_sm with a short_message
    PDU_HEAD = 160          # one without it
    PDU_MAX = 16384         # one with a message_payload: 100 parts of 153 octets
    STATUSES = 2048         # command_status values with an action of their own

cdef enum:                  # actions of a command_status: smpp/consts.py Action
    ACT_DONE, ACT_THROTTLED, ACT_LATER, ACT_BOUNDED, ACT_FAIL, ACT_CLOSE, ACT_HOLD

cdef struct entry:          # a claimed part in a ring
    uint64_t destination, at
    uint32_t rank, slot, since_s
    uint16_t run, octets
    uint8_t part, parts, tries, group

cdef struct pool:
    entry *ring
    uint64_t size, made, committed, taken
    uint8_t *arena
    uint64_t arena_octets, arena_made, arena_taken
    uint64_t mark               # the mark while what a stopped run gave back is not on disk: by journal buffer
    uint8_t giving_back[2]

cdef class Book(Index):
    cdef pool pools[POOLS]
    cdef uint64_t frozen_made[POOLS]
    cdef uint64_t aside[POOLS]      # parts out of their ring and not out of a Pump: carried, or filled and to be paced anew
    cdef uint32_t starved[POOLS]    # parts of the lanes above since this one waits
    cdef uint64_t *marks
    cdef object marks_of            # whose memory that is
    cdef uint64_t *revoked
    cdef size_t n_revoked, revoked_room
    cdef readonly Pace pace
    cdef uint8_t actions[STATUSES]
    cdef uint8_t action_other
    cdef int tries_max
    cdef readonly uint64_t hold_until_ns, made_total, max_open
    cdef public uint64_t credit, retry_ns
    cdef public uint64_t clock_ns       # a test's: the instant that the binds take for now; 0: the monotonic clock
    cdef readonly uint64_t submits, accepted, refused, throttled, retried, released, uncertain, late, strange_responses
    cdef readonly uint64_t stopped
    cdef readonly uint64_t mo_refused            # messages from phones, of a flood, that no Python saw: they come again
    cdef double mo_left                          # how many more Python is given, as of mo_ns
    cdef uint64_t mo_ns
    # what flow.py judges by, of submit_sm that left at judged_ns or later
    cdef uint64_t judged_ns
    cdef readonly uint64_t throttled_new, first_answers, first_later
    cdef int congestion                 # the greatest congestion_state since it was taken, -1 for none

    cdef int _known_pool(self, int which) except -1
    cdef const char *_may_claim(self, int which, const part_row *rows, uint32_t n, size_t n_octets) noexcept nogil
    cdef void _claim(self, int which, uint32_t run, const part_row *rows, uint32_t n, const uint8_t *octets) noexcept nogil
    cdef void _enter(self, pool *p, uint32_t run, const part_row *row, const uint8_t *octets, uint32_t group) noexcept nogil
    cdef void _claim_record(self, int which, uint32_t run, const part_row *rows, uint32_t n, uint32_t ranks, uint64_t claim_no,
                            uint16_t again) noexcept nogil
    cdef uint16_t _submit_sm(self, run_head *r, const part_row *row, const uint8_t *octets, uint8_t *q) noexcept nogil
    cdef int _lane(self, uint64_t now, uint32_t *most, uint32_t passed) noexcept nogil
    cdef uint64_t _head_ns(self, pool *p) noexcept nogil
    cdef void _lane_took(self, int which, uint32_t parts) noexcept nogil
    cdef void _revoke(self, uint64_t key) noexcept
    cdef int _is_revoked(self, uint16_t tenant, uint64_t number) noexcept nogil


cdef inline uint64_t _clock(Book b) noexcept nogil:
    return b.clock_ns if b.clock_ns else monotonic_ns()


cdef inline bint _gives_back(const pool *p) noexcept nogil:
    """after a kill these claims must be found above the mark: until they are on disk as released, nothing behind them leaves"""
    return p.giving_back[0] or p.giving_back[1]


cdef inline uint64_t _mark(const pool *p) noexcept nogil:
    """the first claim number not handed to a socket"""
    return p.mark if _gives_back(p) else p.taken


cdef inline void _flying_of(flying *f, const entry *x) noexcept nogil:
    f.destination, f.rank, f.slot, f.run, f.part, f.parts, f.tries = x.destination, x.rank, x.slot, x.run, x.part, x.parts, x.tries
    f.since_s, f.seq, f.sent_ns, f.late = x.since_s, 0, 0, 0
