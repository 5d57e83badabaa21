from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dispatcher.smpp._book cimport Book
from dispatcher.smpp._journal cimport flying
from dispatcher.smpp._pace cimport Pace

cdef enum:
    ANSWERS = 1 << 17       # deliver_sm waiting for their answer, a bind

cdef class Sender:
    cdef Book book
    cdef int fd
    cdef uint8_t *out
    cdef uint8_t *raw
    cdef size_t out_octets, out_at, raw_octets, raw_room
    cdef flying *window_table
    cdef uint32_t mask, seq
    cdef int bind                   # its number, for who asks where a part was lost; -1: not told
    cdef uint32_t *answers          # deliver_sm sequence numbers: head .. ready may be answered, ready .. cut in a commit
    cdef uint64_t a_head, a_ready, a_cut, a_tail
    cdef uint8_t *carry             # the rest of a message with more parts than the window is wide
    cdef size_t carry_octets, carry_at
    cdef flying *carry_meta
    cdef int carry_n, carry_i, carry_pool
    cdef uint64_t fill_ns           # when the out buffer was filled, and how many submit_sm are in it
    cdef uint32_t fill_parts
    cdef bint fill_paced            # some of them have a pace of their own
    cdef bint repacing              # the socket took them too late for their places in the pace
    cdef bint run_waits             # the first of the pool that was asked last waits for a pace of its own
    cdef readonly Pace pace         # the bind's own
    cdef uint8_t *mirror            # while a trace is on: what crosses the socket, by ns u64, octets u32, sent u32
    cdef size_t mirror_octets
    cdef uint64_t mirror_lost
    cdef readonly uint32_t window, in_flight
    cdef readonly bint blocked, closed
    cdef readonly int last_errno
    cdef readonly uint64_t submits, octets_out
    cdef public bint draining       # submit nothing more; answers still leave

    cdef void _mirror(self, const uint8_t *octets, size_t n, uint32_t sent) noexcept nogil
    cdef void _push(self, Book b) noexcept nogil
    cdef bint _repaced(self, Book b) noexcept nogil
    cdef void _count_filled(self, Book b, int by) noexcept nogil
    cdef bint _filled_allowed(self, Book b, uint64_t now) noexcept nogil
    cdef size_t _fill(self, Book b) noexcept nogil
    cdef uint8_t *_fill_carry(self, Book b, uint8_t *q, uint8_t *e, uint64_t now) noexcept nogil
    cdef uint8_t *_fill_pool(self, Book b, int which, uint8_t *q, uint8_t *e, uint64_t now, uint32_t most) noexcept nogil
    cdef void _take_back(self, Book b, int which, int n, int why) noexcept nogil
    cdef void _carry_message(self, Book b, int which, int n) noexcept nogil
    cdef void _fly(self, Book b, uint8_t *pdu, const flying *f, uint64_t now) noexcept nogil
    cdef void _lose(self, Book b, flying *w, int reason) noexcept nogil
    cdef void _release(self, Book b, flying *w) noexcept
