# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Plain cells of numbers, dates and money to arrays. A cell that is not plain is left "odd": parse_cells decides it.

Meaning: members/parse_cells.py. Touches: the buffers it is given.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from dispatcher.members._parse_cells cimport check, trim

cdef enum:
    PLAIN_DIGITS = 18  # always fit in 63 bits
    UNKNOWN_DAY = -1000000  # before year 1
    DEAD = 0xFFFF  # of national_phone's table: no plain number begins so


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


cdef int national_phone(const uint8_t *p, Py_ssize_t n, const uint16_t *table, uint64_t *out) noexcept nogil:
    """A number without its country's code, by the table of parse_national.py."""
    cdef Py_ssize_t i
    cdef uint32_t state = 0
    cdef uint64_t number = 0, country = table[0]
    if n > 15 or not table[1] >> n & 1:
        return 0
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return 0
        state = table[2 + 11 * state + p[i] - c'0']
        if state == DEAD:
            return 0
        number = number * 10 + (p[i] - c'0')
        country *= 10
    out[0] = country + number
    return table[2 + 11 * state + 10]


cdef inline int64_t days_of(uint64_t year, uint64_t month, uint64_t day) noexcept nogil:
    """Days since 1970-01-01 (civil calendar counted from March, 400-year eras); UNKNOWN_DAY when there is no such day."""
    cdef uint64_t leap, era, year_of_era, day_of_year
    cdef uint8_t *lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if year < 1 or month < 1 or month > 12 or day < 1:
        return UNKNOWN_DAY
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > <uint64_t>lengths[month - 1] + leap:
        return UNKNOWN_DAY
    if month <= 2:
        year -= 1
    era, year_of_era = year // 400, year % 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return <int64_t>(era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year) - 719468


cdef int plain_date(const uint8_t *p, Py_ssize_t n, const uint8_t *form, Py_ssize_t length, int64_t *out) noexcept nogil:
    """A date that is written as `form` is: octet 1 stands for a digit of the year, 2 of the month, 3 of the day,
    4 of a year of two digits; any other octet for itself."""
    cdef uint64_t part[5]
    cdef Py_ssize_t i
    cdef uint8_t c
    if n != length:
        return 0
    for i in range(5):
        part[i] = 0
    for i in range(n):
        c = form[i]
        if c <= 4:
            if p[i] < c'0' or p[i] > c'9':
                return 0
            part[c] = part[c] * 10 + (p[i] - c'0')
            part[0] |= <uint64_t>1 << c
        elif p[i] != c:
            return 0
    if part[0] & 16:
        part[1] = part[4] + (1900 if part[4] >= 69 else 2000)
    out[0] = days_of(part[1], part[2], part[3])
    return out[0] != UNKNOWN_DAY


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


def numbers(int kind, const uint8_t[::1] data, uint32_t[::1] cells, Py_ssize_t columns, Py_ssize_t column, Py_ssize_t rows,
            uint8_t[::1] ok, uint64_t[::1] given, uint64_t bit, uint8_t[::1] out, int width, int64_t unknown,
            const uint8_t[::1] form, const uint16_t[::1] national, uint32_t[::1] odd):
    """Plain cells of one column into `out` (width 4 or 8, signed); returns how many rows were left in `odd`.

    An empty cell is `unknown` and not `given`. Empty phones, negative points, and values outside the
    width are odd. `form`: how a date is written (plain_date); b"" leaves them all odd.
    `national`: how a number without its country's code is read (parse_national.py); empty: none is.
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
                if not plain and n and national.shape[0]:
                    plain = national_phone(&data[start], n, &national[0], <uint64_t *>&value)
            elif n == 0:
                plain = 1
            elif what == 2:
                plain = plain_date(&data[start], n, &form[0], form.shape[0], &value)
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
