# leaf_walk.h for the kernels that walk a table's pages, and the keys they find there.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "../store/leaf_walk.h" nogil:
    enum:
        LW_RECORD
    ctypedef struct leaf_walk:
        const uint8_t *base
    ctypedef struct leaf_row:
        const uint8_t *key
        const uint8_t *value
        uint32_t key_octets, octets
    int lw_seek(leaf_walk *w, const uint8_t *record, uint64_t page_octets, const uint8_t *key, uint32_t octets)
    int lw_next(leaf_walk *w, leaf_row *row)


cdef inline uint32_t big_u32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]
