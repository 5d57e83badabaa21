"""The table of cells seen before, for kernels beside its own."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef class Codes:
    cdef uint32_t *slots      # 1 + entry, 0 = free
    cdef uint32_t *starts     # entry's octets are heap[starts[e]:starts[e + 1]]
    cdef uint16_t *values
    cdef uint8_t *heap
    cdef uint32_t mask, entries, room
    cdef Py_ssize_t heap_room

    cdef uint32_t place(self, const uint8_t *p, Py_ssize_t n) noexcept nogil
