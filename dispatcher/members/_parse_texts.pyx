# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Cells of text fields to a heap, and the rows still ok of any array together.

Meaning: members/parse_cells.py. Touches: the buffers it is given; cells are trimmed in place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from dispatcher.members._parse_cells cimport check, trim


cdef Py_ssize_t characters(const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Code points of well-formed UTF-8 (RFC 3629); -1 when it is not, or holds a control character but LF."""
    cdef Py_ssize_t i = 0, count = 0
    cdef uint8_t c
    while i < n:
        c = p[i]
        if c < 0x80:
            if c < 0x20 and c != c'\n' or c == 0x7F:
                return -1
            i += 1
        elif 0xC2 <= c <= 0xDF:
            if i + 1 >= n or p[i + 1] & 0xC0 != 0x80:
                return -1
            i += 2
        elif 0xE0 <= c <= 0xEF:
            if i + 2 >= n or p[i + 1] & 0xC0 != 0x80 or p[i + 2] & 0xC0 != 0x80:
                return -1
            if (c == 0xE0 and p[i + 1] < 0xA0) or (c == 0xED and p[i + 1] > 0x9F):
                return -1
            i += 3
        elif 0xF0 <= c <= 0xF4:
            if i + 3 >= n or p[i + 1] & 0xC0 != 0x80 or p[i + 2] & 0xC0 != 0x80 or p[i + 3] & 0xC0 != 0x80:
                return -1
            if (c == 0xF0 and p[i + 1] < 0x90) or (c == 0xF4 and p[i + 1] > 0x8F):
                return -1
            i += 4
        else:
            return -1
        count += 1
    return count


cdef inline bint escaped(const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Whether an export may have put a ' in front (parse_cells.unescaped)."""
    return n > 1 and p[0] == c"'" and (p[1] == c"'" or p[1] == c'=' or p[1] == c'+' or p[1] == c'-' or p[1] == c'@'
                                       or p[1] == c'\t' or p[1] == c'\r')


def texts(const uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
          uint8_t[::1] ok, uint64_t[::1] given, uint64_t bit, Py_ssize_t max_length, uint32_t[::1] odd):
    """Trim the column's cells in place; those that are no clean UTF-8, or longer than `max_length`
    characters, or are escaped, are odd."""
    cdef Py_ssize_t i, count, left = 0
    cdef uint32_t start, end
    check(cells, columns, column, rows, ok, given, odd)
    with nogil:
        for i in range(rows):
            if not ok[i]:
                continue
            start, end = cells[2 * (i * columns + column)], cells[2 * (i * columns + column) + 1]
            trim(&data[0], &start, &end)
            cells[2 * (i * columns + column)], cells[2 * (i * columns + column) + 1] = start, end
            if end == start:
                continue
            given[i] |= bit
            count = characters(&data[start], end - start)
            if count < 0 or count > max_length or escaped(&data[start], end - start):
                odd[left] = <uint32_t>i
                left += 1
    return left


def heap_of(const uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
            uint8_t[::1] ok, uint32_t base, uint32_t[::1] ends):
    """The cells of rows still ok, one after the other; `ends` gets where each ends, counted from `base` octets before."""
    cdef Py_ssize_t i, total = 0, kept = 0
    cdef uint32_t start, size
    cdef bytes heap
    cdef uint8_t *to
    if cells.shape[0] < 2 * rows * columns or not 0 <= column < columns or min(ok.shape[0], ends.shape[0]) < rows:
        raise ValueError("heap_of: outside the chunk")
    for i in range(rows):
        if ok[i]:
            total += cells[2 * (i * columns + column) + 1] - cells[2 * (i * columns + column)]
    heap = PyBytes_FromStringAndSize(NULL, total)
    to = <uint8_t *>PyBytes_AS_STRING(heap)
    total = 0
    with nogil:
        for i in range(rows):
            if ok[i]:
                start = cells[2 * (i * columns + column)]
                size = cells[2 * (i * columns + column) + 1] - start
                if size:
                    memcpy(to + total, &data[start], size)
                total += size
                ends[kept] = base + <uint32_t>total
                kept += 1
    return heap


def compact(const uint8_t[::1] array, int width, uint8_t[::1] ok, Py_ssize_t rows):
    """The elements of the rows still ok, together."""
    cdef Py_ssize_t i, kept = 0
    cdef bytes out
    cdef uint8_t *to
    if array.shape[0] < rows * width or ok.shape[0] < rows:
        raise ValueError("compact: array shorter than rows")
    for i in range(rows):
        kept += ok[i] != 0
    out = PyBytes_FromStringAndSize(NULL, kept * width)
    to = <uint8_t *>PyBytes_AS_STRING(out)
    with nogil:
        for i in range(rows):
            if ok[i]:
                memcpy(to, &array[i * width], width)
                to += width
    return out


def chosen(const uint16_t[::1] which, const uint8_t[::1] heap, const uint32_t[::1] starts, uint32_t base,
           uint32_t[::1] ends):
    """Parts of `heap` one after the other: part k is heap[starts[k]:starts[k + 1]], which[i] the i-th one wanted. `ends`
    gets where each ends, in elements of 2 octets counted from `base` before."""
    cdef Py_ssize_t i, total = 0, count = which.shape[0]
    cdef uint32_t size
    cdef bytes out
    cdef uint8_t *to
    if ends.shape[0] < count or starts.shape[0] < 1 or starts[starts.shape[0] - 1] != heap.shape[0]:
        raise ValueError("chosen: outside the heap")
    for i in range(starts.shape[0] - 1):
        if starts[i] > starts[i + 1]:
            raise ValueError("chosen: parts that overlap")
    for i in range(count):
        if <Py_ssize_t>which[i] + 1 >= starts.shape[0]:
            raise ValueError("chosen: a part that is none")
        total += starts[which[i] + 1] - starts[which[i]]
    out = PyBytes_FromStringAndSize(NULL, total)
    to = <uint8_t *>PyBytes_AS_STRING(out)
    total = 0
    with nogil:
        for i in range(count):
            size = starts[which[i] + 1] - starts[which[i]]
            if size:
                memcpy(to + total, &heap[starts[which[i]]], size)
            total += size
            ends[i] = base + <uint32_t>(total // 2)
    return out
