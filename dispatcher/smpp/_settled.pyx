"""A set of 64-bit keys without a Python object each: (run, rank, part) for rebuilding the index, hashes of ids sought."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free


cdef class Settled:
    """Grows by doubling."""

    def __cinit__(self):
        self.size = 1 << 16
        self.slots = <uint64_t *>calloc(self.size, 8)

    def __dealloc__(self):
        free(self.slots)

    cdef void add(self, uint64_t key) noexcept nogil:
        cdef uint64_t i, old_size
        cdef uint64_t *old
        key += 1
        if (self.count + 1) * 3 > self.size * 2:
            old, old_size = self.slots, self.size
            self.size *= 2
            self.slots = <uint64_t *>calloc(self.size, 8)
            self.count = 0
            for i in range(old_size):
                if old[i]:
                    self.add(old[i] - 1)
            free(old)
        i = ((key * <uint64_t>0x9E3779B97F4A7C15ULL) >> 20) & (self.size - 1)
        while self.slots[i]:
            if self.slots[i] == key:
                return
            i = (i + 1) & (self.size - 1)
        self.slots[i] = key
        self.count += 1

    def put(self, uint64_t key):
        self.add(key)

    cdef bint has(self, uint64_t key) noexcept nogil:
        cdef uint64_t i
        key += 1
        i = ((key * <uint64_t>0x9E3779B97F4A7C15ULL) >> 20) & (self.size - 1)
        while self.slots[i]:
            if self.slots[i] == key:
                return True
            i = (i + 1) & (self.size - 1)
        return False
