# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""CSV octets to rows and cells.

Meaning: tests/reference/parse.py. Touches: the buffers it is given; quoted cells are unescaped in place.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr

cdef enum:
    FINE = 0
    TOO_FEW = 1
    TOO_MANY = 2
    UNCLOSED = 3
    AFTER_QUOTE = 4
    NUL = 5
    BLANK = 6
    INCOMPLETE = 7
    TOO_LONG = 8
    LINES_IN_QUOTES = 50  # a quoted cell over more lines than this, or more octets, was never closed
    OCTETS_IN_QUOTES = 65536
    ESCAPED = 0x40000000  # marks a cell's start until its doubled quotes are undone; buffers are smaller


cdef Py_ssize_t closing(const uint8_t *data, Py_ssize_t at, Py_ssize_t end, bint final,
                        uint32_t *lines, bint *doubled, int *status) noexcept nogil:
    """Where the quoted cell that opens at `at` closes; -1 with UNCLOSED or INCOMPLETE in status."""
    cdef Py_ssize_t p = at + 1, limit = at + OCTETS_IN_QUOTES
    cdef uint32_t seen = 0
    doubled[0] = False
    while p < end and p < limit:
        if data[p] == c'"':
            if p + 1 < end and data[p + 1] == c'"':
                doubled[0] = True
                p += 2
                continue
            if p + 1 == end and not final:
                status[0] = INCOMPLETE
                return -1
            lines[0] += seen
            return p
        if data[p] == c'\n':
            seen += 1
            if seen > LINES_IN_QUOTES:
                break
        elif data[p] == 0:
            status[0] = NUL
        p += 1
    status[0] = INCOMPLETE if p >= end and p < limit and not final else UNCLOSED
    return -1


cdef int cut_row(uint8_t *data, Py_ssize_t *at, Py_ssize_t end, bint final, uint8_t delimiter,
                 Py_ssize_t columns, uint32_t *cells, uint32_t *lines) noexcept nogil:
    """One row from at[0], which moves past it (past its first line when it cannot be cut)."""
    cdef Py_ssize_t p = at[0], q, found = 0, cell_start, cell_end
    cdef int status = FINE
    cdef bint doubled
    cdef const uint8_t *newline
    lines[0] = 1
    if data[p] == c'\n':
        at[0] = p + 1
        return BLANK
    if data[p] == c'\r' and p + 1 < end and data[p + 1] == c'\n':
        at[0] = p + 2
        return BLANK
    while True:
        if p < end and data[p] == c'"':
            q = closing(data, p, end, final, lines, &doubled, &status)
            if q < 0:
                if status == UNCLOSED:
                    newline = <const uint8_t *>memchr(data + p, c'\n', end - p)
                    at[0] = end if newline == NULL else newline - data + 1
                return status
            cell_start, cell_end = p + 1, q
            p = q + 1
            if p < end and data[p] == c'\r' and (p + 1 == end or data[p + 1] == c'\n'):
                if p + 1 == end and not final:
                    return INCOMPLETE
                p += 1
            if p < end and data[p] != delimiter and data[p] != c'\n':
                newline = <const uint8_t *>memchr(data + p, c'\n', end - p)
                if newline == NULL and not final:
                    return INCOMPLETE
                at[0] = end if newline == NULL else newline - data + 1
                return AFTER_QUOTE
            if p >= end and not final:
                return INCOMPLETE
            if doubled:
                cell_start |= ESCAPED
        else:
            cell_start = p
            while p < end and data[p] != delimiter and data[p] != c'\n':
                if data[p] == 0:
                    status = NUL
                p += 1
            if p >= end and not final:
                return INCOMPLETE
            cell_end = p
            if (p >= end or data[p] == c'\n') and cell_end > cell_start and data[cell_end - 1] == c'\r':
                cell_end -= 1
        if found < columns:
            cells[2 * found] = <uint32_t>cell_start
            cells[2 * found + 1] = <uint32_t>cell_end
        found += 1
        if p >= end or data[p] == c'\n':
            break
        p += 1
    at[0] = p + 1 if p < end else end
    if status == FINE and found != columns:
        return TOO_FEW if found < columns else TOO_MANY
    if status == FINE:
        for found in range(columns):
            if cells[2 * found] & ESCAPED:
                unescape(data, &cells[2 * found])
    return status


cdef void unescape(uint8_t *data, uint32_t *cell) noexcept nogil:
    """Doubled quotes to single ones, inside the cell's own place. Only once the row is whole: cutting may repeat."""
    cdef uint32_t start = cell[0] & ~<uint32_t>ESCAPED, read = start, write = start
    while read < cell[1]:
        data[write] = data[read]
        read += 2 if data[read] == c'"' else 1
        write += 1
    cell[0], cell[1] = start, write


def cut(uint8_t[::1] data, Py_ssize_t start, Py_ssize_t end, bint final, uint8_t delimiter,
        Py_ssize_t columns, uint32_t[::1] cells, uint32_t[::1] lines, uint32_t line,
        Py_ssize_t row_octets_max, list bad):
    """Cut rows of data[start:end] until one is incomplete, `cells` is full, or as many were bad as it holds.

    Fills cells and lines (each row's first line) for the rows that have `columns` cells; appends
    (line, status, start, end) to `bad` for the others. Returns (rows, where it stopped, next line).
    """
    cdef Py_ssize_t at = start, before, rows = 0, most = min(lines.shape[0], cells.shape[0] // (2 * columns))
    cdef uint32_t used = 0
    cdef int status
    if not 0 <= start <= end <= data.shape[0] < ESCAPED or columns < 1:
        raise ValueError("cut: outside the buffer")
    while at < end and rows < most and len(bad) < most:
        before = at
        with nogil:
            while at < end and rows < most:
                before = at
                status = cut_row(&data[0], &at, end, final, delimiter, columns, &cells[2 * columns * rows], &used)
                if status == BLANK:
                    line += 1
                    continue
                if status != INCOMPLETE and at - before > row_octets_max:
                    status = TOO_LONG
                if status != FINE:
                    break
                lines[rows] = line
                line += used
                rows += 1
            else:
                status = FINE
        if status == INCOMPLETE:
            return rows, before, line
        if status != FINE:
            bad.append((line, status, before, at))
            line += used
    return rows, at, line
