# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The loops of import parsing: octets to rows and cells, plain cells to column arrays.

Meaning: tests/reference/parse.py for cutting, members/parse_cells.py for cells. A cell that is not plain
is left "odd" and its index handed back: parse_cells decides it, so no rule of a product lives here.

A chunk's cells are u32 pairs (start, end) into `data`, `columns` a row. `ok` is one octet a row, 0 when it
was rejected. Touches: the buffers it is given; quoted cells are unescaped in place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

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
    PLAIN_DIGITS = 18  # always fit in 63 bits


# -- rows ----------------------------------------------------------------------------------------------


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
    """Cut rows of data[start:end] until one is incomplete or `cells` is full.

    Fills cells and lines (each row's first line) for the rows that have `columns` cells; appends
    (line, status, start, end) to `bad` for the others. Returns (rows, where it stopped, next line).
    """
    cdef Py_ssize_t at = start, before, rows = 0, most = min(lines.shape[0], cells.shape[0] // (2 * columns))
    cdef uint32_t used = 0
    cdef int status
    if not 0 <= start <= end <= data.shape[0] < ESCAPED or columns < 1:
        raise ValueError("cut: outside the buffer")
    while at < end and rows < most:
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


# -- cells ---------------------------------------------------------------------------------------------


cdef inline void trim(const uint8_t *data, uint32_t *start, uint32_t *end) noexcept nogil:
    while start[0] < end[0] and (data[start[0]] == c' ' or data[start[0]] == c'\t'):
        start[0] += 1
    while end[0] > start[0] and (data[end[0] - 1] == c' ' or data[end[0] - 1] == c'\t'):
        end[0] -= 1


cdef inline int digits(const uint8_t *p, Py_ssize_t n, uint64_t *value) noexcept nogil:
    """1 when all of p[:n] are digits (n at most PLAIN_DIGITS)."""
    cdef Py_ssize_t i
    cdef uint64_t number = 0
    if n < 1 or n > PLAIN_DIGITS:
        return 0
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return 0
        number = number * 10 + (p[i] - c'0')
    value[0] = number
    return 1


cdef int plain_phone(const uint8_t *p, Py_ssize_t n, uint64_t *out) noexcept nogil:
    if n > 1 and p[0] == c'+':
        p += 1
        n -= 1
    elif n > 2 and p[0] == c'0' and p[1] == c'0':
        p += 2
        n -= 2
    else:
        return 0
    return 7 <= n <= 15 and p[0] != c'0' and digits(p, n, out)


cdef int plain_date(const uint8_t *p, Py_ssize_t n, int64_t *out) noexcept nogil:
    """YYYY-MM-DD to days since 1970-01-01 (civil calendar counted from March, 400-year eras)."""
    cdef uint64_t year, month, day, leap, era, year_of_era, day_of_year
    cdef uint8_t *lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if n != 10 or p[4] != c'-' or p[7] != c'-':
        return 0
    if not (digits(p, 4, &year) and digits(p + 5, 2, &month) and digits(p + 8, 2, &day)):
        return 0
    if year < 1 or month < 1 or month > 12 or day < 1:
        return 0
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > <uint64_t>lengths[month - 1] + leap:
        return 0
    if month <= 2:
        year -= 1
    era, year_of_era = year // 400, year % 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    out[0] = <int64_t>(era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year) - 719468
    return 1


cdef int plain_int(const uint8_t *p, Py_ssize_t n, int64_t *out) noexcept nogil:
    cdef uint64_t value
    cdef bint minus = n > 1 and p[0] == c'-'
    if not digits(p + minus, n - minus, &value):
        return 0
    out[0] = -<int64_t>value if minus else <int64_t>value
    return 1


cdef int plain_money(const uint8_t *p, Py_ssize_t n, int64_t *out) noexcept nogil:
    """12 digits before the point and 6 after it always fit in micro-units."""
    cdef uint64_t whole, micro = 0
    cdef bint minus = n > 1 and p[0] == c'-'
    cdef const uint8_t *point
    cdef Py_ssize_t before, after
    p += minus
    n -= minus
    point = <const uint8_t *>memchr(p, c'.', n) if n > 0 else NULL
    before = n if point == NULL else point - p
    if before > 12 or not digits(p, before, &whole):
        return 0
    if point != NULL:
        after = n - before - 1
        if after > 6 or not digits(point + 1, after, &micro):
            return 0
        while after < 6:
            micro *= 10
            after += 1
    whole = whole * 1000000 + micro
    out[0] = -<int64_t>whole if minus else <int64_t>whole
    return 1


PHONE, DATE, INT, MONEY, POINTS = 1, 2, 3, 4, 5


def numbers(int kind, uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
            uint8_t[::1] ok, uint64_t[::1] given, uint64_t bit, uint8_t[::1] out, int width, int64_t unknown,
            uint32_t[::1] odd):
    """Plain cells of one column into `out` (width 4 or 8, signed); returns how many rows were left in `odd`.

    An empty cell is `unknown` and not `given`. Empty phones, negative points, and values outside the
    width are odd.
    """
    cdef Py_ssize_t i, n, left = 0
    cdef uint32_t start, end
    cdef int64_t value
    cdef int32_t narrow
    cdef int plain
    check(cells, columns, column, rows, ok, given, odd)
    if width not in (4, 8) or out.shape[0] < rows * width or not 1 <= kind <= 5:
        raise ValueError("numbers: wrong kind or array")
    cdef int what = kind
    with nogil:
        for i in range(rows):
            if not ok[i]:
                continue
            start, end = cells[2 * (i * columns + column)], cells[2 * (i * columns + column) + 1]
            trim(&data[0], &start, &end)
            n = end - start
            value = unknown
            if n:
                given[i] |= bit
            if what == 1:
                plain = plain_phone(&data[start], n, <uint64_t *>&value)
            elif n == 0:
                plain = 1
            elif what == 2:
                plain = plain_date(&data[start], n, &value)
            elif what == 4:
                plain = plain_money(&data[start], n, &value)
            else:
                plain = plain_int(&data[start], n, &value) and (what == 3 or value >= 0)
            if width == 4 and n and not -2147483647 <= value <= 2147483647:
                plain = 0
            if not plain:
                odd[left] = <uint32_t>i
                left += 1
            if width == 4:
                narrow = <int32_t>value
                memcpy(&out[4 * i], &narrow, 4)
            else:
                memcpy(&out[8 * i], &value, 8)
    return left


cdef class Codes:
    """Cells seen before and the number each stands for: a hash table that a column learns."""

    cdef uint32_t *slots      # 1 + entry, 0 = free
    cdef uint32_t *starts     # entry's octets are heap[starts[e]:starts[e + 1]]
    cdef uint16_t *values
    cdef uint8_t *heap
    cdef uint32_t mask, entries, room
    cdef Py_ssize_t heap_room

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


def codes(Codes table, uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
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


def texts(uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
          uint8_t[::1] ok, uint64_t[::1] given, uint64_t bit, Py_ssize_t max_length, uint32_t[::1] odd):
    """Trim the column's cells in place; those that are no clean UTF-8, or longer than `max_length` characters are odd."""
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
            if count < 0 or count > max_length:
                odd[left] = <uint32_t>i
                left += 1
    return left


def heap_of(uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
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


cdef int check(uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows, uint8_t[::1] ok,
               uint64_t[::1] given, uint32_t[::1] odd) except -1:
    if cells.shape[0] < 2 * rows * columns or not 0 <= column < columns:
        raise ValueError("outside the chunk's cells")
    if min(ok.shape[0], given.shape[0], odd.shape[0]) < rows:
        raise ValueError("an array shorter than rows")
    return 0
