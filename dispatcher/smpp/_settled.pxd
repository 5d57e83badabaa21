from libc.stdint cimport uint64_t

cdef class Settled:
    cdef uint64_t *slots
    cdef uint64_t size
    cdef readonly uint64_t count
    cdef void add(self, uint64_t key) noexcept nogil
    cdef bint has(self, uint64_t key) noexcept nogil
