# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Many numbers looked up in one table of numbers, in order, and which pages of it they lie on.

Meaning: tests/reference/phones.py. The cursor's methods are called through Python: the library that opened the file is
the one that walks it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from dispatcher.store.phone_key cimport KEY, put_phone_key

cdef bytes key_of(uint16_t tenant, uint64_t number):
    cdef uint8_t key[KEY]
    put_phone_key(key, tenant, number)
    return PyBytes_FromStringAndSize(<char *>key, KEY)


def look_up(object set_key, object value_at, uint16_t tenant, const uint64_t[::1] ordered, Py_ssize_t start,
            Py_ssize_t end, int64_t[::1] found, const uint8_t[::1] marks=None):
    """For each distinct number of ordered[start:end] whose `found` is negative, and whose mark is not 0 when there are
    marks: the member_no of its row into `found` when it has one. set_key, value_at: a cursor's. Returns how many
    distinct numbers there are.

    Measured: a cursor that stays on its page takes 0.2 us a number; set_range and key, which would tell the page, 0.5.
    """
    cdef Py_ssize_t i, group = -1
    cdef uint32_t member_no
    cdef Py_buffer view
    if not 0 <= start <= end <= ordered.shape[0]:
        raise ValueError("look_up: outside the run")
    for i in range(start, end):
        if i > start and ordered[i] == ordered[i - 1]:
            continue
        group += 1
        if group >= found.shape[0]:
            raise ValueError("look_up: more numbers than the array has room for")
        if marks is not None and (group >= marks.shape[0] or not marks[group]):
            continue
        if found[group] >= 0 or not set_key(key_of(tenant, ordered[i])):
            continue
        value = value_at()
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        try:
            if view.len != 4:
                raise ValueError("look_up: a row that is no member_no")
            memcpy(&member_no, view.buf, 4)
        finally:
            PyBuffer_Release(&view)
        found[group] = member_no
    return group + 1


cdef uint64_t page_of(object set_range, object key_at, uint16_t tenant, uint64_t number, uint64_t page_octets) except *:
    """A number of the page that the number's row lies on, or would be put beside; 0 past the last row."""
    cdef Py_buffer view
    cdef uint64_t page
    if not set_range(key_of(tenant, number)):
        return 0
    key = key_at()
    PyObject_GetBuffer(key, &view, PyBUF_SIMPLE)
    page = <uint64_t>view.buf // page_octets
    PyBuffer_Release(&view)
    return page


def fitting(object set_range, object key_at, uint16_t tenant, const uint64_t[::1] numbers, Py_ssize_t count,
            uint64_t page_octets, Py_ssize_t most):
    """How many of the first `count` ascending numbers lie on at most `most` pages, and how many pages those are.
    set_range, key_at: a cursor's, whose keys lie in pages of page_octets. Numbers of one page are leapt over."""
    cdef Py_ssize_t at = 0, low, high, middle, step, pages = 0, width = 1  # of the page before
    cdef uint64_t page
    if not 0 <= count <= numbers.shape[0]:
        raise ValueError("fitting: more than there are")
    while at < count:
        if pages == most:
            return at, pages
        pages += 1
        page = page_of(set_range, key_at, tenant, numbers[at], page_octets)
        low, high, step = at, count, width  # low lies on the page, high does not
        while low + step < high:
            if page_of(set_range, key_at, tenant, numbers[low + step], page_octets) == page:
                low += step
                step *= 2
            else:
                high = low + step
        while high - low > 1:
            middle = (low + high) >> 1
            if page_of(set_range, key_at, tenant, numbers[middle], page_octets) == page:
                low = middle
            else:
                high = middle
        width = max(1, (high - at) // 2)
        at = high
    return count, pages


def place_of(const uint64_t[::1] ordered, Py_ssize_t start, Py_ssize_t end, Py_ssize_t group):
    """Where the distinct number `group` (from 0) of ordered[start:end] begins, or `end`; how many come before it."""
    cdef Py_ssize_t i, seen = 0
    if not 0 <= start <= end <= ordered.shape[0]:
        raise ValueError("place_of: outside the run")
    with nogil:
        for i in range(start, end):
            if i > start and ordered[i] == ordered[i - 1]:
                continue
            if seen == group:
                end = i
                break
            seen += 1
    return end, seen
