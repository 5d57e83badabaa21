# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Cells seen before to the codes that they stand for. What the table does not know is left "odd".

Meaning: a dict of octets. Touches: the buffers it is given, and its own table.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from dispatcher.members._parse_cells cimport check, trim


cdef class Codes:
    """Cells seen before and the number each stands for: a hash table that a column learns."""

    def __cinit__(self):
        self.mask, self.entries, self.room, self.heap_room = 255, 0, 128, 1024
        self.slots = <uint32_t *>calloc(self.mask + 1, 4)
        self.starts = <uint32_t *>calloc(self.room + 1, 4)
        self.values = <uint16_t *>calloc(self.room, 2)
        self.heap = <uint8_t *>malloc(self.heap_room)
        if not (self.slots and self.starts and self.values and self.heap):
            raise MemoryError

    def __dealloc__(self):
        free(self.slots)
        free(self.starts)
        free(self.values)
        free(self.heap)

    def __len__(self):
        return self.entries

    cdef uint32_t place(self, const uint8_t *p, Py_ssize_t n) noexcept nogil:
        """The slot of these octets, or the free one where they belong."""
        cdef uint64_t h = 0xCBF29CE484222325, prime = 0x100000001B3  # FNV-1a
        cdef Py_ssize_t i
        cdef uint32_t at, entry
        for i in range(n):
            h = (h ^ p[i]) * prime
        at = <uint32_t>(h ^ h >> 32) & self.mask
        while self.slots[at]:
            entry = self.slots[at] - 1
            if <Py_ssize_t>(self.starts[entry + 1] - self.starts[entry]) == n and memcmp(
                    self.heap + self.starts[entry], p, n) == 0:
                break
            at = at + 1 & self.mask
        return at

    def learn(self, bytes cell, uint16_t value):
        """Remember a cell; one already known keeps its value."""
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(cell)
        cdef Py_ssize_t n = len(cell)
        cdef uint32_t entry, at = self.place(p, n)
        cdef uint32_t *slots
        if self.slots[at]:
            return
        if self.entries == self.room:
            slots = <uint32_t *>calloc(2 * (<size_t>self.mask + 1), 4)
            if not slots:
                raise MemoryError
            free(self.slots)
            self.slots, self.mask, self.room = slots, 2 * self.mask + 1, 2 * self.room
            self.starts = <uint32_t *>realloc(self.starts, 4 * (<size_t>self.room + 1))
            self.values = <uint16_t *>realloc(self.values, 2 * <size_t>self.room)
            if not (self.starts and self.values):
                raise MemoryError
            for entry in range(self.entries):
                at = self.place(self.heap + self.starts[entry], self.starts[entry + 1] - self.starts[entry])
                self.slots[at] = entry + 1
            at = self.place(p, n)
        while self.starts[self.entries] + n > self.heap_room:
            self.heap_room *= 2
            self.heap = <uint8_t *>realloc(self.heap, self.heap_room)
            if not self.heap:
                raise MemoryError
        memcpy(self.heap + self.starts[self.entries], p, n)
        self.starts[self.entries + 1] = self.starts[self.entries] + <uint32_t>n
        self.values[self.entries] = value
        self.entries += 1
        self.slots[at] = self.entries


def codes(Codes table, const uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
          uint8_t[::1] ok, uint64_t[::1] given, uint64_t bit, uint8_t[::1] out, int width, uint32_t[::1] odd):
    """Cells that `table` knows into `out` (width 1 or 2; 0 when empty); returns how many were left in `odd`."""
    cdef Py_ssize_t i, n, left = 0
    cdef uint32_t start, end, at
    cdef uint16_t value
    check(cells, columns, column, rows, ok, given, odd)
    if width not in (1, 2) or out.shape[0] < rows * width:
        raise ValueError("codes: wrong array")
    with nogil:
        for i in range(rows):
            if not ok[i]:
                continue
            start, end = cells[2 * (i * columns + column)], cells[2 * (i * columns + column) + 1]
            trim(&data[0], &start, &end)
            n = end - start
            value = 0
            if n:
                given[i] |= bit
                at = table.place(&data[start], n)
                if table.slots[at]:
                    value = table.values[table.slots[at] - 1]
                else:
                    odd[left] = <uint32_t>i
                    left += 1
            if width == 1:
                out[i] = <uint8_t>value
            else:
                memcpy(&out[2 * i], &value, 2)
    return left
