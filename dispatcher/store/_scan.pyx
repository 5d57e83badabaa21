# cython: language_level=3, boundscheck=False, wraparound=False
"""The walks of store/scan.py: a column's blocks, bitmaps, as records that hold addresses; what is derived from them.

Touches: the store's memory, read only. Every length read from it is checked before it is used.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset
from dispatcher.store.leaf_walk cimport LW_RECORD, big_u32, leaf_row, leaf_walk, lw_next, lw_seek


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



def column_rows(table, bytes prefix not None, int kind, Py_ssize_t blocks, Py_ssize_t in_place, Py_ssize_t page_octets=0):
    """(records, copies, octets): column_block records of the rows whose keys begin with `prefix`.

    table: (key, value) in key order until a key does not begin so; or, with page_octets, the table's record where it
    lies in the map of an immutable snapshot: None when a page does not look as expected (leaf_walk.h).
    Values of `in_place` octets or more stay where they are; shorter ones, and codes of another width, are copied: keep
    `copies` as long as the records. octets: of all arrays. Raises ValueError(key) on a value that is none of `kind`.
    """
    cdef Blocks found = Blocks(blocks, kind, in_place, len(prefix))
    cdef tuple pair
    cdef Py_buffer key, value
    cdef leaf_walk w
    cdef leaf_row row
    cdef int more
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(prefix)
    cdef uint32_t octets = <uint32_t>(len(prefix) + 4)
    if page_octets:
        PyObject_GetBuffer(table, &key, PyBUF_SIMPLE)
        more = -1 if key.len != LW_RECORD else lw_seek(&w, <const uint8_t *>key.buf, page_octets, begin, octets - 4)
        PyBuffer_Release(&key)  # the memory is the snapshot's, and stays
        while more == 0:
            more = lw_next(&w, &row)
            if more <= 0 or row.key_octets != octets or memcmp(row.key, begin, octets - 4):
                break
            found.add(row.key, row.value, row.octets)
            more = 0
        return None if more < 0 else (found.records, found.copies, found.octets)
    for pair in table:
        PyObject_GetBuffer(pair[0], &key, PyBUF_SIMPLE)
        PyObject_GetBuffer(pair[1], &value, PyBUF_SIMPLE)
        try:
            if key.len != octets or memcmp(key.buf, begin, octets - 4):
                break
            found.add(<const uint8_t *>key.buf, <const uint8_t *>value.buf, value.len)
        finally:
            PyBuffer_Release(&key)
            PyBuffer_Release(&value)
    return found.records, found.copies, found.octets


cdef struct region:
    uint64_t column  # the first octets of the key, big-endian
    int64_t offset, octets


def places(record, Py_ssize_t page_octets, int key_octets, int64_t gap):
    """{first `key_octets` (8 at most) of a key: [(offset in the file, octets)]} of a table's long values, near ones taken
    together.

    record: as for column_rows; no value is read, and the GIL is let go: leaf pages may come from a disk. gap: what lies
    between two that are taken together, at most. None when a page does not look as expected.
    """
    cdef Py_buffer place
    cdef leaf_walk w
    cdef leaf_row row
    cdef region *at = NULL
    cdef region *longer
    cdef region *last
    cdef Py_ssize_t count = 0, room = 0, i
    cdef uint64_t column
    cdef int64_t offset
    cdef int more, k
    cdef dict found = {}
    assert 0 < key_octets <= 8
    PyObject_GetBuffer(record, &place, PyBUF_SIMPLE)
    more = -1 if place.len != LW_RECORD else lw_seek(&w, <const uint8_t *>place.buf, page_octets, b"", 0)
    PyBuffer_Release(&place)
    with nogil:
        while more == 0:
            more = lw_next(&w, &row)
            if more <= 0:
                break
            more = 0
            if row.octets < page_octets or row.key_octets < <uint32_t>key_octets:
                continue
            column = 0
            for k in range(key_octets):
                column = column << 8 | row.key[k]
            offset = row.value - w.base - 16  # its page's header
            last = at + count - 1
            if count and last.column == column and last.offset <= offset <= last.offset + last.octets + gap:
                if offset + 16 + row.octets > last.offset + last.octets:
                    last.octets = offset + 16 + row.octets - last.offset
                continue
            if count == room:
                longer = <region *>realloc(at, (2 * room + 1024) * sizeof(region))
                if longer is NULL:
                    more = -1
                    break
                at, room = longer, 2 * room + 1024
            at[count].column, at[count].offset, at[count].octets = column, offset, 16 + row.octets
            count += 1
    try:
        for i in range(count):
            key = int(at[i].column).to_bytes(key_octets, "big")
            found.setdefault(key, []).append((at[i].offset, at[i].octets))
    finally:
        free(at)
    return None if more < 0 else found


cdef class Blocks:
    """The records of one column as its rows come."""

    cdef readonly bytearray records
    cdef readonly list copies
    cdef readonly int64_t octets
    cdef int kind
    cdef Py_ssize_t in_place, prefix

    def __cinit__(self, Py_ssize_t blocks, int kind, Py_ssize_t in_place, Py_ssize_t prefix):
        self.records, self.copies = bytearray(blocks * sizeof(column_block)), []
        self.kind, self.in_place, self.prefix = kind, in_place, prefix

    cdef int add(self, const uint8_t *key, const uint8_t *value, int64_t octets) except -1:
        cdef uint32_t block = big_u32(key + self.prefix), slots
        cdef column_block row
        cdef int found, version
        cdef bint whole
        cdef bytes copy
        if block > 0x40000 or octets < HEADER:
            raise self.wrong(key)
        found, version = value[0], value[1]
        memcpy(&slots, value + 4, 4)
        octets -= HEADER
        if found < 1 or found > TEXT or version < 1 or version > ZONED or not 0 < slots <= BLOCK or slots % 64:
            raise self.wrong(key)
        whole = octets >= 4 * (<int64_t>slots + 1) if found == TEXT else octets == slots * WIDTHS[found]
        if not whole or (found != self.kind and not (found <= U16 and self.kind <= U16)):
            raise self.wrong(key)
        memset(&row, 0, sizeof(row))
        row.slots = slots
        if found != self.kind:
            copy = other_width(value + HEADER, slots, self.kind)
            self.copies.append(copy)
            row.data = <const uint8_t *>PyBytes_AS_STRING(copy)
            octets = len(copy)
        elif HEADER + octets < self.in_place:
            copy = PyBytes_FromStringAndSize(<const char *>value, HEADER + octets)
            self.copies.append(copy)
            row.data = <const uint8_t *>PyBytes_AS_STRING(copy) + HEADER
        else:
            row.data = value + HEADER
        row.octets = octets
        if version == ZONED and found == self.kind and found < 6:
            row.zoned = 1
            memcpy(&row.low, value + 8, 8)
            memcpy(&row.high, value + 16, 8)
        if (block + 1) * <Py_ssize_t>sizeof(column_block) > PyByteArray_GET_SIZE(self.records):
            longer(self.records, (block + 1) * sizeof(column_block))
        memcpy(PyByteArray_AS_STRING(self.records) + block * sizeof(column_block), &row, sizeof(row))
        self.octets += octets
        return 0

    cdef object wrong(self, const uint8_t *key):
        return ValueError(PyBytes_FromStringAndSize(<const char *>key, self.prefix + 4))


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


def carry(bytearray records not None, list marks not None, bytearray old not None, list old_marks not None):
    """Point where `old` points wherever marks are the same; returns the marked blocks that have nothing derived then."""
    cdef Py_ssize_t i, both = min(len(marks), len(old_marks), PyByteArray_GET_SIZE(old) // <Py_ssize_t>sizeof(column_block))
    cdef column_block *to = <column_block *>PyByteArray_AS_STRING(records)
    cdef column_block *had = <column_block *>PyByteArray_AS_STRING(old)
    cdef list others = []
    assert len(marks) * <Py_ssize_t>sizeof(column_block) <= PyByteArray_GET_SIZE(records)
    for i in range(len(marks)):
        if i < both and had[i].derived != NULL and marks[i] == old_marks[i]:
            to[i].derived = had[i].derived
        elif marks[i]:
            others.append(i)
    return others


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
