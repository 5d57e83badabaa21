from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dispatcher.records.layouts cimport LOG_RUNS, log_claim

cdef enum:
    CHUNK = 16320
    DECISION = 0
    STATE, ERROR, PARTS, TRIES, SUBMIT_S, FINAL_S, TEXT_HASH, LOG_NO, PART_STATE, N_ARRAYS

cdef struct image:
    uint32_t campaign, chunk, load, write
    uint32_t top, slots              # ranks that records name; ranks of the images lent, 0 for none
    uint32_t width
    uint8_t *array[N_ARRAYS]

cdef struct run_map:
    int of[LOG_RUNS]

cdef inline bint ranks_wrap(const log_claim *c) noexcept nogil:
    """a claim past the last rank there can be: a damaged log"""
    return <uint64_t>c.first_rank + c.count > 0xFFFFFFFFU


cdef class Chunks:
    cdef image *images
    cdef uint32_t n_images, room
    cdef int *table
    cdef uint64_t **counts
    cdef uint64_t *log_base
    cdef uint32_t n_campaigns, campaigns_room
    cdef dict numbers
    cdef list keep                   # buffers lent by attach(), alive as long as this

    cdef int _runs(self, const uint8_t[::1] value, run_map *runs) except -1
    cdef uint32_t _place(self, uint32_t campaign, uint32_t chunk) noexcept nogil
    cdef bint _grow(self) noexcept nogil
    cdef int _image(self, uint32_t campaign, uint32_t chunk, bint make) noexcept nogil
    cdef bint _want(self, uint32_t campaign, uint32_t chunk, uint32_t load, uint32_t write, uint32_t top, uint32_t width) noexcept nogil
    cdef bint _scan_one(self, const uint8_t *p, const run_map *runs) noexcept nogil
