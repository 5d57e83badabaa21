# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""NDJSON octets to rows and cells: one object a line, its values as the cells of a CSV row would be.

Meaning: tests/reference/parse.py. Touches: the buffers it is given; strings are unescaped in place once their
row is known to be whole. A number, true or false is its own characters; null is an empty cell; a list of
strings is a cell that begins with 0x1F (the unit separator), each further string after another.
Rests on: RFC 8259. Octets that are no UTF-8 are left to the cells.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr

from dispatcher.members._parse_codes cimport Codes

cdef enum:
    FINE = 0
    INCOMPLETE = 7
    TOO_LONG = 8
    NOT_JSON = 9
    NESTED = 10
    DUPLICATE = 11
    SURROGATE = 12
    TOO_DEEP = 13
    LATE_KEY = 14
    TOO_MANY_KEYS = 15
    DEPTH_MAX = 64  # of values that nobody asked for
    ESCAPED = 0x40000000  # marks a cell's start: a string with escapes; buffers are smaller
    LISTED = 0x80000000u  # a list of strings
    IGNORED = 0xFFFF  # what `keys` holds for a key that no column takes
    LATE = 0xFFFE  # for one of a field that was not among the first
    KEY_OCTETS = 400
    SEPARATOR = 0x1F


cdef struct Line:
    uint8_t *data
    Py_ssize_t at, end
    int status
    int32_t column  # where a reject happened; -1: none


cdef inline void blanks(Line *line) noexcept nogil:
    cdef uint8_t c
    while line.at < line.end:
        c = line.data[line.at]
        if c != c' ' and c != c'\t' and c != c'\r' and c != c'\n':
            return
        line.at += 1


cdef inline int fail(Line *line, int status) noexcept nogil:
    line.status = status
    return 0


cdef inline int32_t hex4(const uint8_t *p) noexcept nogil:
    """The number of four hexadecimal digits; -1 when they are not."""
    cdef int32_t value = 0
    cdef int i
    for i in range(4):
        value <<= 4
        if c'0' <= p[i] <= c'9':
            value |= p[i] - c'0'
        elif c'a' <= p[i] <= c'f':
            value |= p[i] - c'a' + 10
        elif c'A' <= p[i] <= c'F':
            value |= p[i] - c'A' + 10
        else:
            return -1
    return value


cdef int string(Line *line, bint *escaped) noexcept nogil:
    """Past the string that opens at line.at; 0 when it is none."""
    cdef const uint8_t *data = line.data
    cdef Py_ssize_t p = line.at + 1, end = line.end
    cdef int32_t unit
    escaped[0] = False
    while p < end:
        if data[p] == c'"':
            line.at = p + 1
            return 1
        if data[p] < 0x20:
            break
        if data[p] != c'\\':
            p += 1
            continue
        escaped[0] = True
        if p + 1 >= end:
            break
        if data[p + 1] != c'u':
            if memchr(b'"\\/bfnrt', data[p + 1], 8) == NULL:
                break
            p += 2
            continue
        unit = hex4(data + p + 2) if p + 6 <= end else -1
        if unit < 0:
            break
        p += 6
        if 0xDC00 <= unit <= 0xDFFF:
            line.at = p - 6
            return fail(line, SURROGATE)
        if 0xD800 <= unit <= 0xDBFF:
            unit = hex4(data + p + 2) if p + 6 <= end and data[p] == c'\\' and data[p + 1] == c'u' else -1
            if not 0xDC00 <= unit <= 0xDFFF:
                line.at = p - 6
                return fail(line, SURROGATE)
            p += 6
    line.at = p if p < end else end
    return fail(line, NOT_JSON)


cdef int number(Line *line) noexcept nogil:
    cdef const uint8_t *data = line.data
    cdef Py_ssize_t p = line.at, end = line.end, first
    if p < end and data[p] == c'-':
        p += 1
    first = p
    while p < end and c'0' <= data[p] <= c'9':
        p += 1
    if p == first or (data[first] == c'0' and p > first + 1):
        return fail(line, NOT_JSON)
    if p < end and data[p] == c'.':
        p += 1
        first = p
        while p < end and c'0' <= data[p] <= c'9':
            p += 1
        if p == first:
            return fail(line, NOT_JSON)
    if p < end and (data[p] == c'e' or data[p] == c'E'):
        p += 1
        if p < end and (data[p] == c'+' or data[p] == c'-'):
            p += 1
        first = p
        while p < end and c'0' <= data[p] <= c'9':
            p += 1
        if p == first:
            return fail(line, NOT_JSON)
    line.at = p
    return 1


cdef inline int word(Line *line, const char *text, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if line.at + i >= line.end or line.data[line.at + i] != <uint8_t>text[i]:
            return fail(line, NOT_JSON)
    line.at += n
    return 1


cdef int scalar(Line *line, bint *escaped) noexcept nogil:
    """Past a value that is no object and no list."""
    cdef uint8_t c
    escaped[0] = False
    if line.at >= line.end:
        return fail(line, NOT_JSON)
    c = line.data[line.at]
    if c == c'"':
        return string(line, escaped)
    if c == c't':
        return word(line, b"true", 4)
    if c == c'f':
        return word(line, b"false", 5)
    if c == c'n':
        return word(line, b"null", 4)
    return number(line)


cdef int skip(Line *line, int depth) noexcept nogil:
    """Past any value."""
    cdef bint escaped
    cdef uint8_t opened, closes
    blanks(line)
    if line.at >= line.end or (line.data[line.at] != c'{' and line.data[line.at] != c'['):
        return scalar(line, &escaped)
    if depth == DEPTH_MAX:
        return fail(line, TOO_DEEP)
    opened = line.data[line.at]
    closes = c'}' if opened == c'{' else c']'
    line.at += 1
    blanks(line)
    if line.at < line.end and line.data[line.at] == closes:
        line.at += 1
        return 1
    while True:
        if opened == c'{':
            blanks(line)
            if line.at >= line.end or line.data[line.at] != c'"':
                return fail(line, NOT_JSON)
            if not string(line, &escaped):
                return 0
            blanks(line)
            if line.at >= line.end or line.data[line.at] != c':':
                return fail(line, NOT_JSON)
            line.at += 1
        if not skip(line, depth + 1):
            return 0
        blanks(line)
        if line.at >= line.end:
            return fail(line, NOT_JSON)
        line.at += 1
        if line.data[line.at - 1] == closes:
            return 1
        if line.data[line.at - 1] != c',':
            line.at -= 1
            return fail(line, NOT_JSON)


cdef int strings(Line *line) noexcept nogil:
    """Past a list of strings; NESTED for any other list."""
    cdef bint escaped
    line.at += 1
    blanks(line)
    if line.at < line.end and line.data[line.at] == c']':
        line.at += 1
        return 1
    while True:
        blanks(line)
        if line.at < line.end and line.data[line.at] != c'"':
            return fail(line, NESTED)
        if line.at >= line.end or not string(line, &escaped):
            return fail(line, line.status or NOT_JSON)
        blanks(line)
        if line.at >= line.end:
            return fail(line, NOT_JSON)
        line.at += 1
        if line.data[line.at - 1] == c']':
            return 1
        if line.data[line.at - 1] != c',':
            line.at -= 1
            return fail(line, NOT_JSON)


cdef int value(Line *line, uint32_t *cell, bint takes_lists) noexcept nogil:
    """One value to a cell."""
    cdef bint escaped = False
    cdef Py_ssize_t start = line.at
    if start < line.end and (line.data[start] == c'{' or (line.data[start] == c'[' and not takes_lists)):
        return fail(line, NESTED)
    if start < line.end and line.data[start] == c'[':
        if not strings(line):
            return 0
        cell[0], cell[1] = <uint32_t>start | LISTED, <uint32_t>line.at
        return 1
    if not scalar(line, &escaped):
        return 0
    if line.data[start] == c'"':
        cell[0], cell[1] = <uint32_t>(start + 1), <uint32_t>(line.at - 1)
        if escaped:
            cell[0] |= ESCAPED
    elif line.data[start] == c'n':
        cell[0], cell[1] = <uint32_t>start, <uint32_t>start
    else:
        cell[0], cell[1] = <uint32_t>start, <uint32_t>line.at
    return 1


cdef Py_ssize_t unescape(const uint8_t *data, Py_ssize_t p, Py_ssize_t end, uint8_t *to) noexcept nogil:
    """A string's octets without its escapes to `to`, which may be where they are; how many."""
    cdef Py_ssize_t n = 0
    cdef int32_t unit
    while p < end:
        if data[p] != c'\\':
            to[n] = data[p]
            p, n = p + 1, n + 1
            continue
        if data[p + 1] != c'u':
            unit = data[p + 1]
            p += 2
            if unit == c'b':
                unit = 8
            elif unit == c'f':
                unit = 12
            elif unit == c'n':
                unit = 10
            elif unit == c'r':
                unit = 13
            elif unit == c't':
                unit = 9
        else:
            unit = hex4(data + p + 2)
            p += 6
            if 0xD800 <= unit <= 0xDBFF:
                unit = 0x10000 + ((unit - 0xD800) << 10) + (hex4(data + p + 2) - 0xDC00)
                p += 6
        if unit < 0x80:
            to[n] = <uint8_t>unit
            n += 1
        elif unit < 0x800:
            to[n], to[n + 1] = <uint8_t>(0xC0 | unit >> 6), <uint8_t>(0x80 | unit & 0x3F)
            n += 2
        elif unit < 0x10000:
            to[n], to[n + 1] = <uint8_t>(0xE0 | unit >> 12), <uint8_t>(0x80 | unit >> 6 & 0x3F)
            to[n + 2] = <uint8_t>(0x80 | unit & 0x3F)
            n += 3
        else:
            to[n], to[n + 1] = <uint8_t>(0xF0 | unit >> 18), <uint8_t>(0x80 | unit >> 12 & 0x3F)
            to[n + 2], to[n + 3] = <uint8_t>(0x80 | unit >> 6 & 0x3F), <uint8_t>(0x80 | unit & 0x3F)
            n += 4
    return n


cdef void finish(uint8_t *data, uint32_t *cell) noexcept nogil:
    """A marked cell as it is meant, in its own place. Only once its row is whole: a reject shows it as it came."""
    cdef uint32_t start = cell[0] & ~<uint32_t>(ESCAPED | LISTED)
    cdef Py_ssize_t p = start + 1, n = 0, open_
    if not cell[0] & LISTED:
        cell[0], cell[1] = start, start + <uint32_t>unescape(data, start, cell[1], data + start)
        return
    while p < cell[1]:
        if data[p] != c'"':
            p += 1
            continue
        open_ = p + 1
        p = open_
        while data[p] != c'"':
            p += 2 if data[p] == c'\\' else 1
        data[start + n] = SEPARATOR
        n += 1 + unescape(data, open_, p, data + start + n + 1)
        p += 1
    cell[0], cell[1] = start, start + <uint32_t>n


cdef int key_of(Line *line, Codes keys, object learn, int32_t *column) except -1:
    """The column of the key that opens at line.at (IGNORED where none takes it); 0 when the row is refused."""
    cdef Py_ssize_t start = line.at + 1, n
    cdef bint escaped
    cdef uint8_t plain[KEY_OCTETS]
    cdef const uint8_t *key
    cdef uint32_t at
    if not string(line, &escaped):
        return 0
    n, key = line.at - 1 - start, line.data + start
    if n > KEY_OCTETS:
        column[0] = IGNORED
        return 1
    if escaped:
        n, key = unescape(line.data, start, start + n, plain), plain
    at = keys.place(key, n)
    if not keys.slots[at]:
        learn(key[:n])
        at = keys.place(key, n)
        if not keys.slots[at]:
            return fail(line, TOO_MANY_KEYS)
    column[0] = keys.values[keys.slots[at] - 1]
    if column[0] == LATE:
        return fail(line, LATE_KEY)
    return 1


cdef int object_row(Line *line, Codes keys, object learn, const uint8_t *lists, Py_ssize_t columns,
                    uint32_t *cells) except -1:
    """The object of one line to cells; 0 with line.status when the row is refused."""
    cdef int32_t column = 0
    cdef Py_ssize_t i
    cdef uint64_t seen = 0
    for i in range(2 * columns):
        cells[i] = <uint32_t>line.at
    blanks(line)
    if line.at >= line.end or line.data[line.at] != c'{':
        return fail(line, NOT_JSON)
    line.at += 1
    blanks(line)
    if line.at < line.end and line.data[line.at] == c'}':
        line.at += 1
    else:
        while True:
            blanks(line)
            if line.at >= line.end or line.data[line.at] != c'"':
                return fail(line, NOT_JSON)
            if not key_of(line, keys, learn, &column):
                return 0
            blanks(line)
            if line.at >= line.end or line.data[line.at] != c':':
                return fail(line, NOT_JSON)
            line.at += 1
            blanks(line)
            if column == IGNORED:
                if not skip(line, 0):
                    return 0
            else:
                line.column = column
                if seen >> column & 1:
                    return fail(line, DUPLICATE)
                seen |= <uint64_t>1 << column
                if not value(line, &cells[2 * column], lists[column]):
                    return 0
                line.column = -1
            blanks(line)
            if line.at >= line.end:
                return fail(line, NOT_JSON)
            line.at += 1
            if line.data[line.at - 1] == c'}':
                break
            if line.data[line.at - 1] != c',':
                line.at -= 1
                return fail(line, NOT_JSON)
    blanks(line)
    if line.at < line.end:
        return fail(line, NOT_JSON)
    for i in range(columns):
        if cells[2 * i] & (ESCAPED | LISTED):
            finish(line.data, &cells[2 * i])
    return 1


def cut_objects(uint8_t[::1] data, Py_ssize_t start, Py_ssize_t end, bint final, Codes keys, object learn,
                const uint8_t[::1] lists, uint32_t[::1] cells, uint32_t[::1] lines, uint32_t number,
                Py_ssize_t row_octets_max, list bad):
    """Cut rows of data[start:end] until a line is incomplete, `lines` is full, or as many were bad.

    `keys` holds the column of each key; learn(key) is called for one it does not hold, and may add it. A column
    takes lists of strings where its octet in `lists` is 1. Fills cells and lines for the rows that are good,
    appends (line, status, start, end, column or -1, octet in the line) to `bad` for the others. Returns (rows,
    where it stopped, next line).
    """
    cdef Py_ssize_t at = start, past, columns = lists.shape[0], rows = 0, most = lines.shape[0]
    cdef const uint8_t *newline
    cdef Line line
    cdef int fine
    if not 0 <= start <= end <= data.shape[0] < ESCAPED or not 1 <= columns <= 64:
        raise ValueError("cut_objects: outside the buffer")
    most = min(most, cells.shape[0] // (2 * columns))
    line.data = &data[0]
    while at < end and rows < most and len(bad) < most:
        newline = <const uint8_t *>memchr(&data[at], c'\n', end - at)
        if newline == NULL and not final:
            break
        past = end if newline == NULL else newline - &data[0] + 1
        line.at, line.end, line.status, line.column = at, past, FINE, -1
        blanks(&line)
        if line.at < past:
            if past - at > row_octets_max:
                line.status, fine = TOO_LONG, 0
            else:
                fine = object_row(&line, keys, learn, &lists[0], columns, &cells[2 * columns * rows])
            if fine:
                lines[rows] = number
                rows += 1
            else:
                bad.append((number, line.status, at, past, line.column, line.at - at))
        at = past
        number += 1
    return rows, at, number
