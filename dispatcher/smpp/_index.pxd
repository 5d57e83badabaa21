from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dispatcher.smpp._journal cimport Journal

cdef enum:
    SEGMENTS = 64
    SOON = 16               # ids on their way into the index: their place is fetched while the next answers are read

cdef struct known:          # index entry; key 0 = free
    uint64_t key
    uint32_t rank
    uint16_t run
    uint8_t part, state

cdef struct held_receipt:
    uint64_t key, number, at_ms
    uint32_t status
    uint8_t state

cdef class Index(Journal):
    cdef known *segments[SEGMENTS]
    cdef uint32_t segment_used[SEGMENTS]
    cdef uint32_t segment_live[SEGMENTS]
    cdef int n_segments, segments_kept
    cdef known soon[SOON]
    cdef uint32_t soon_head, soon_tail
    cdef int sweep_at               # the next segment of a sweep; -1: none left or none under way
    cdef bint sweeping
    cdef held_receipt *held
    cdef int hex_response, hex_receipt
    cdef readonly uint64_t receipts, receipts_repeated, receipts_not_final, receipts_held, held_overflow, held_matched
    cdef readonly size_t n_held
    cdef readonly uint64_t index_live

    cdef void _remember(self, uint64_t key, uint32_t run, uint32_t rank, int part, int state) noexcept nogil
    cdef void _remember_soon(self, uint64_t key, uint32_t run, uint32_t rank, int part, int state) noexcept nogil
    cdef void _remember_oldest(self) noexcept nogil
    cdef void _remember_all(self) noexcept nogil
    cdef void _new_segment(self) noexcept nogil
    cdef void _forget_closed(self, int s) noexcept nogil
    cdef known *_find(self, uint64_t key, int *segment) noexcept nogil
    cdef known *_lookup(self, const uint8_t *id, size_t n, int *segment) noexcept nogil
    cdef void _receipt(self, const uint8_t *id, size_t n, int state, uint32_t status, uint64_t number, uint16_t delta) noexcept nogil
    cdef void _settle_known(self, known *k, int s, int state, uint32_t status, uint16_t delta) noexcept nogil
    cdef void _hold(self, uint64_t key, const uint8_t *id, size_t n, int state, uint32_t status, uint64_t number, uint16_t delta) noexcept nogil
    cdef void _put_held(self, uint64_t key, uint64_t number, uint64_t at_ms, uint32_t status, int state) noexcept nogil
    cdef void _drop_held(self, uint64_t h) noexcept nogil
    cdef int _match_held(self, uint64_t key, uint32_t run, uint32_t rank, int part, uint16_t delta) noexcept nogil
