# cython: language_level=3, boundscheck=False, wraparound=False
"""The walks of store/scan.py: a column's blocks, bitmaps, as records that hold addresses; what is derived from them.

Touches: the store's memory, read only. Every length read from it is checked before it is used.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset


cdef extern from "column_blocks.h" nogil:
    ctypedef struct column_block:
        const uint8_t *data
        uint64_t octets
        uint32_t slots, zoned
        uint64_t low, high
        const uint8_t *derived

cdef enum:
    U8 = 1
    U16 = 2
    TEXT = 7
    HEADER = 48
    BLOCK = 16320
    ZONED = 2  # the version of values whose header has least and greatest

cdef int64_t *WIDTHS = [0, 1, 2, 4, 8, 8, 1, 0]


cdef inline uint32_t big_u32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


def column_rows(rows, bytes prefix not None, int kind, Py_ssize_t blocks, Py_ssize_t in_place):
    """(records, copies, octets): column_block records of `rows`, (key, value) until a key does not begin with `prefix`.

    Values of `in_place` octets or more stay where they are; shorter ones, and codes of another width, are copied: keep
    `copies` as long as the records. octets: of all arrays. Raises ValueError(key) on a value that is none of `kind`.
    """
    cdef bytearray records = bytearray(blocks * sizeof(column_block))
    cdef list copies = []
    cdef tuple pair
    cdef Py_buffer key, value
    cdef column_block row
    cdef uint32_t block = 0, slots
    cdef int found, version
    cdef int64_t octets, total = 0
    cdef bint ours, whole
    cdef const uint8_t *head
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(prefix)
    cdef bytes copy
    for pair in rows:
        PyObject_GetBuffer(pair[0], &key, PyBUF_SIMPLE)
        ours = key.len == len(prefix) + 4 and memcmp(key.buf, begin, len(prefix)) == 0
        if ours:
            block = big_u32(<const uint8_t *>key.buf + len(prefix))
        PyBuffer_Release(&key)
        if not ours:
            break
        if block > 0x40000:
            raise ValueError(bytes(pair[0]))
        PyObject_GetBuffer(pair[1], &value, PyBUF_SIMPLE)
        try:
            head = <const uint8_t *>value.buf
            if value.len < HEADER:
                raise ValueError(bytes(pair[0]))
            found, version = head[0], head[1]
            memcpy(&slots, head + 4, 4)
            octets = value.len - HEADER
            if found < 1 or found > TEXT or version < 1 or version > ZONED or not 0 < slots <= BLOCK or slots % 64:
                raise ValueError(bytes(pair[0]))
            whole = octets >= 4 * (<int64_t>slots + 1) if found == TEXT else octets == slots * WIDTHS[found]
            if not whole or (found != kind and not (found <= U16 and kind <= U16)):
                raise ValueError(bytes(pair[0]))
            memset(&row, 0, sizeof(row))
            row.slots = slots
            if found != kind:
                copy = other_width(head + HEADER, slots, kind)
                copies.append(copy)
                row.data = <const uint8_t *>PyBytes_AS_STRING(copy)
                octets = len(copy)
            elif value.len < in_place:
                copy = PyBytes_FromStringAndSize(<const char *>head, value.len)
                copies.append(copy)
                row.data = <const uint8_t *>PyBytes_AS_STRING(copy) + HEADER
            else:
                row.data = head + HEADER
            row.octets = octets
            if version == ZONED and found == kind and found < 6:
                row.zoned = 1
                memcpy(&row.low, head + 8, 8)
                memcpy(&row.high, head + 16, 8)
        finally:
            PyBuffer_Release(&value)
        if (block + 1) * <Py_ssize_t>sizeof(column_block) > PyByteArray_GET_SIZE(records):
            longer(records, (block + 1) * sizeof(column_block))
        memcpy(PyByteArray_AS_STRING(records) + block * sizeof(column_block), &row, sizeof(row))
        total += octets
    return records, copies, total


cdef int longer(bytearray records, Py_ssize_t octets) except -1:
    cdef Py_ssize_t had = PyByteArray_GET_SIZE(records)
    PyByteArray_Resize(records, octets)
    memset(PyByteArray_AS_STRING(records) + had, 0, octets - had)
    return 0


cdef bytes other_width(const uint8_t *codes, uint32_t slots, int kind):
    cdef bytes copy = PyBytes_FromStringAndSize(NULL, slots * WIDTHS[kind])
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(copy)
    cdef uint32_t i
    for i in range(slots):
        if kind == U16:
            to[2 * i], to[2 * i + 1] = codes[i], 0
        else:
            to[i] = 0 if codes[2 * i + 1] else codes[2 * i]
    return copy


def bitmap_rows(dict bitmaps not None, Py_ssize_t blocks):
    """column_block records of one plane a block, from {block: buffer of BLOCK / 8 octets}, which the caller keeps."""
    cdef bytearray records = bytearray(blocks * sizeof(column_block))
    cdef column_block row
    cdef Py_buffer bits
    cdef Py_ssize_t block
    for number, bitmap in bitmaps.items():
        block = number
        if not 0 <= block < blocks:
            continue
        PyObject_GetBuffer(bitmap, &bits, PyBUF_SIMPLE)
        memset(&row, 0, sizeof(row))
        row.data, row.octets, row.slots = <const uint8_t *>bits.buf, bits.len, BLOCK
        PyBuffer_Release(&bits)
        if row.octets < BLOCK // 8:
            raise ValueError(f"the bitmap of block {block} has {row.octets} octets")
        memcpy(PyByteArray_AS_STRING(records) + block * sizeof(column_block), &row, sizeof(row))
    return records


def seal(array, int kind):
    """(least, greatest, mark) for the header of a block value: of an array of U8 to U64 as 64 bits, else 0; and a hash."""
    cdef Py_buffer buffer
    cdef uint64_t low = 0, high = 0, mark
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    try:
        with nogil:
            ends(<const uint8_t *>buffer.buf, buffer.len, kind, &low, &high)
            mark = marked(<const uint8_t *>buffer.buf, buffer.len)
    finally:
        PyBuffer_Release(&buffer)
    return low, high, mark


def marks(bytearray records not None):
    """By block: what its value's header says of its contents; 0 where nothing does."""
    cdef Py_ssize_t i, count = PyByteArray_GET_SIZE(records) // sizeof(column_block)
    cdef column_block *rows = <column_block *>PyByteArray_AS_STRING(records)
    cdef uint64_t mark
    cdef list found = []
    for i in range(count):
        mark = 0
        if rows[i].data != NULL and rows[i].zoned:
            memcpy(&mark, rows[i].data - HEADER + 24, 8)
        found.append(mark)
    return found


def set_derived(bytearray records not None, Py_ssize_t block, bytes derived not None):
    """`derived` is kept by the caller as long as the records."""
    cdef column_block *rows = <column_block *>PyByteArray_AS_STRING(records)
    assert 0 <= block < PyByteArray_GET_SIZE(records) // <Py_ssize_t>sizeof(column_block)
    rows[block].derived = <const uint8_t *>PyBytes_AS_STRING(derived)


def some_numbers(bytearray records not None, int kind, Py_ssize_t wanted):
    """About `wanted` numbers of a column, from all over it, as edges are compared: without sign, the top bit turned."""
    cdef Py_ssize_t i, count = PyByteArray_GET_SIZE(records) // sizeof(column_block), each
    cdef column_block *rows = <column_block *>PyByteArray_AS_STRING(records)
    cdef list found = []
    cdef Py_ssize_t step = max(1, count // 16), n
    for i in range(0, count, step):
        each = max(1, wanted // max(1, count // step))
        if rows[i].data != NULL:
            for n in range(each):
                found.append(turned(rows[i].data, (n * 7919) % rows[i].slots, kind))
    return found


def codes(bytearray records not None, Py_ssize_t block, int kind, bytes edges not None):
    """Derived codes of one block of I32, I64 or U64 (records/column_blocks.h)."""
    cdef column_block *row = <column_block *>PyByteArray_AS_STRING(records) + block
    cdef bytes out = PyBytes_FromStringAndSize(NULL, row.slots)
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(edges)
    cdef Py_ssize_t count = len(edges) // 8
    if count > 255:
        raise ValueError(f"{count} edges")
    with nogil:
        encode(row.data, row.slots, kind, at, count, to)
    return out


def value_planes(bytearray records not None, Py_ssize_t block, Py_ssize_t most):
    """Derived planes of one block of U8, or None where it has a number above `most` or its header does not say."""
    cdef column_block *row = <column_block *>PyByteArray_AS_STRING(records) + block
    cdef bytes out
    cdef uint8_t *to
    if not row.zoned or row.high > <uint64_t>most:
        return None
    out = PyBytes_FromStringAndSize(NULL, (row.high + 1) * (row.slots // 8))
    to = <uint8_t *>PyBytes_AS_STRING(out)
    with nogil:
        memset(to, 0, (row.high + 1) * (row.slots // 8))
        spread(row.data, row.slots, to)
    return out


def postings(bytearray records not None, Py_ssize_t block):
    """Derived postings of one block of U16, or None where its numbers are too many or its header does not say."""
    cdef column_block *row = <column_block *>PyByteArray_AS_STRING(records) + block
    if not row.zoned or row.high >= 1024:
        return None
    cdef bytes out = PyBytes_FromStringAndSize(NULL, 2 * (row.high + 1 + row.slots))
    cdef uint16_t *to = <uint16_t *>PyBytes_AS_STRING(out)
    with nogil:
        post(row.data, row.slots, <uint32_t>row.high, to)
    return out


cdef extern from "scan_loops.h" nogil:
    void ends(const uint8_t *a, int64_t octets, int kind, uint64_t *low, uint64_t *high)
    uint64_t marked(const uint8_t *a, int64_t octets)
    uint64_t turned(const uint8_t *a, int64_t slot, int kind)
    void encode(const uint8_t *a, int64_t slots, int kind, const uint8_t *edges, int64_t count, uint8_t *out)
    void spread(const uint8_t *a, uint32_t slots, uint8_t *out)
    void post(const uint8_t *a, uint32_t slots, uint32_t high, uint16_t *out)
