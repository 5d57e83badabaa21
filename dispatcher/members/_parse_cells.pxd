"""What every kernel of import parsing shares: a chunk's cells, and how one is trimmed.

A chunk's cells are u32 pairs (start, end) into `data`, `columns` a row. `ok` is one octet a row, 0 when it was
rejected; `given` one u64 a row; `odd` takes the rows that a kernel leaves to parse_cells.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef inline void trim(const uint8_t *data, uint32_t *start, uint32_t *end) noexcept nogil:
    while start[0] < end[0] and (data[start[0]] == c' ' or data[start[0]] == c'\t'):
        start[0] += 1
    while end[0] > start[0] and (data[end[0] - 1] == c' ' or data[end[0] - 1] == c'\t'):
        end[0] -= 1


cdef inline int check(uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows, uint8_t[::1] ok,
               uint64_t[::1] given, uint32_t[::1] odd) except -1:
    if cells.shape[0] < 2 * rows * columns or not 0 <= column < columns:
        raise ValueError("outside the chunk's cells")
    if min(ok.shape[0], given.shape[0], odd.shape[0]) < rows:
        raise ValueError("an array shorter than rows")
    return 0
