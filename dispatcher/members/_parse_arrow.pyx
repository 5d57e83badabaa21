# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Arrow's buffers to what the other kernels read and write: its strings as cells, its integers as an array.

Meaning: tests/reference/parse.py. Touches: the buffers it is given.
Rests on: the Arrow columnar format: offsets i32, validity one bit a row (1 = there is a value), least first.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


def string_cells(const uint8_t[::1] offsets, const uint8_t[::1] validity, Py_ssize_t offset, Py_ssize_t rows,
                 uint32_t[::1] cells):
    """Rows offset .. offset + rows of a string array as cells of one column; no value is an empty cell."""
    cdef Py_ssize_t i
    cdef int32_t ends[2]
    bounds(validity, offset, rows)
    if offsets.shape[0] < 4 * (offset + rows + 1) or cells.shape[0] < 2 * rows:
        raise ValueError("string_cells: array too short")
    with nogil:
        for i in range(rows):
            memcpy(ends, &offsets[4 * (offset + i)], 8)
            if validity.shape[0] and not validity[(offset + i) >> 3] >> (offset + i & 7) & 1:
                ends[1] = ends[0]
            cells[2 * i], cells[2 * i + 1] = <uint32_t>ends[0], <uint32_t>ends[1]


def indexed_cells(const uint8_t[::1] offsets, const uint8_t[::1] indices, const uint8_t[::1] validity, Py_ssize_t offset,
                  Py_ssize_t rows, uint32_t[::1] cells):
    """Rows offset .. offset + rows of a dictionary's i32 indices as cells in the heap of its strings."""
    cdef Py_ssize_t i, values = offsets.shape[0] // 4 - 1
    cdef int32_t index
    bounds(validity, offset, rows)
    if indices.shape[0] < 4 * (offset + rows) or cells.shape[0] < 2 * rows:
        raise ValueError("indexed_cells: array too short")
    for i in range(rows):
        cells[2 * i], cells[2 * i + 1] = 0, 0
        if validity.shape[0] and not validity[(offset + i) >> 3] >> (offset + i & 7) & 1:
            continue
        memcpy(&index, &indices[4 * (offset + i)], 4)
        if not 0 <= index < values:
            raise ValueError("indexed_cells: an index outside the dictionary")
        memcpy(&cells[2 * i], &offsets[4 * <Py_ssize_t>index], 8)


def integers(const uint8_t[::1] values, int octets, const uint8_t[::1] validity, Py_ssize_t offset, Py_ssize_t rows,
             uint8_t[::1] ok, uint64_t[::1] given, uint64_t bit, uint8_t[::1] out, int width, int64_t unknown,
             int64_t least, int64_t most, uint32_t[::1] odd):
    """Rows offset .. offset + rows of a signed array (4 or 8 octets a value) into `out` (4 or 8); as numbers() of
    _parse_numbers: no value is `unknown` and not `given`; those outside least .. most are left in `odd`."""
    cdef Py_ssize_t i, left = 0
    cdef int64_t value
    cdef int32_t narrow = 0
    bounds(validity, offset, rows)
    if octets not in (4, 8) or width not in (4, 8) or values.shape[0] < octets * (offset + rows):
        raise ValueError("integers: wrong width, or array too short")
    if out.shape[0] < rows * width or min(ok.shape[0], given.shape[0], odd.shape[0]) < rows:
        raise ValueError("integers: array too short")
    with nogil:
        for i in range(rows):
            if not ok[i]:
                continue
            value = unknown
            if not validity.shape[0] or validity[(offset + i) >> 3] >> (offset + i & 7) & 1:
                given[i] |= bit
                if octets == 4:
                    memcpy(&narrow, &values[4 * (offset + i)], 4)
                    value = narrow
                else:
                    memcpy(&value, &values[8 * (offset + i)], 8)
                if value < least or value > most:
                    odd[left] = <uint32_t>i
                    left += 1
            if width == 4:
                narrow = <int32_t>value
                memcpy(&out[4 * i], &narrow, 4)
            else:
                memcpy(&out[8 * i], &value, 8)
    return left


cdef int bounds(const uint8_t[::1] validity, Py_ssize_t offset, Py_ssize_t rows) except -1:
    if offset < 0 or rows < 0 or (validity.shape[0] and 8 * validity.shape[0] < offset + rows):
        raise ValueError("validity shorter than rows")
    return 0
