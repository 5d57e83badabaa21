# cython: language_level=3, boundscheck=False, wraparound=False
"""The walks of store/aside.py: a tenant's delta rows copied in one go, and a column's values of the members who have one.

Touches: the store's memory, read only. Every length read from it is checked before it is used.
Rests on: leaf_walk.h, which reads the table's pages; one that does not look as it says is read row by row instead.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from dispatcher.store.leaf_walk cimport LW_RECORD, big_u32, leaf_row, leaf_walk, lw_next, lw_seek


cdef extern from "aside_loops.h" nogil:
    enum:
        AS_PLANES, AS_TEXT
    uint32_t AS_NEW
    ctypedef struct column_block:
        const uint8_t *data
        uint64_t octets
        uint32_t slots, zoned
    ctypedef struct member_change:
        const uint8_t *entries
        uint32_t octets, block, slot, zero
    ctypedef struct as_column:
        const column_block *rows
        int64_t row_count
        const member_change *changes
        int64_t count
        const uint32_t *came
        const uint8_t *old
        int64_t id
        int kind, width, planes
    int as_whole(const uint8_t *entries, uint32_t octets)
    int as_values(const as_column *c, uint8_t *out)
    void as_turn(const uint8_t *bits, int64_t slots, uint8_t *out)
    int64_t as_text(const as_column *c, int64_t n, const uint8_t **text)

cdef enum:
    BLOCK = 16320

cdef int *WIDTHS = [0, 1, 2, 4, 8, 8, 1, 0]



cdef class Rows:
    """A tenant's delta rows in key order, copied: member_change records that point into memory of this object."""

    cdef member_change *at
    cdef uint8_t *copied
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t room
    cdef uint64_t octets, octets_room

    def __cinit__(self, Rows like=None):
        if like is not None and like.count:  # about as many as before: nothing is moved while they come
            self.room, self.octets_room = like.count + like.count // 16 + 64, like.octets + like.octets // 16 + 4096
            self.at = <member_change *>malloc(self.room * sizeof(member_change))
            self.copied = <uint8_t *>malloc(self.octets_room)
            if self.at is NULL or self.copied is NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.at)
        free(self.copied)

    cdef void settle(self) noexcept:
        """Offsets in `copied` become addresses: it moves no more."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.at[i].entries = self.copied + <uintptr_t>self.at[i].entries

    cdef int add(self, const uint8_t *key, const uint8_t *entries, uint32_t octets) except -1:
        cdef member_change *more
        cdef member_change *row
        cdef uint8_t *longer
        cdef uint32_t slot = (<uint32_t>key[6] << 8) | key[7]
        if self.count == self.room:
            more = <member_change *>realloc(self.at, (2 * self.room + 1024) * sizeof(member_change))
            if more is NULL:
                raise MemoryError
            self.at, self.room = more, 2 * self.room + 1024
        if slot >= BLOCK or not as_whole(entries, octets):
            raise ValueError(PyBytes_FromStringAndSize(<const char *>key, 8))
        if self.octets + octets > self.octets_room:
            longer = <uint8_t *>realloc(self.copied, 2 * (self.octets + octets) + 4096)
            if longer is NULL:
                raise MemoryError
            self.copied, self.octets_room = longer, 2 * (self.octets + octets) + 4096
        memcpy(self.copied + self.octets, entries, octets)
        row = self.at + self.count
        row.entries, row.octets = <const uint8_t *><uintptr_t>self.octets, octets
        row.block, row.slot, row.zero = big_u32(key + 2), slot, 0
        self.count += 1
        self.octets += octets
        return 0


cdef int walk(Rows rows, record, bytes prefix, Py_ssize_t page_octets) except -2:
    """Every row of the table whose key begins with `prefix`; -1 where a page is not as expected: rows are not all."""
    cdef Py_buffer place
    cdef leaf_walk w
    cdef leaf_row row
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(prefix)
    cdef uint32_t length = <uint32_t>len(prefix)
    cdef int found
    PyObject_GetBuffer(record, &place, PyBUF_SIMPLE)
    found = lw_seek(&w, <const uint8_t *>place.buf, page_octets, begin, length) if place.len == LW_RECORD else -1
    PyBuffer_Release(&place)  # the memory is the snapshot's, and stays
    while found == 0:
        found = lw_next(&w, &row)
        if found <= 0 or row.key_octets < length or memcmp(row.key, begin, length):
            break
        if row.key_octets != 8:
            raise ValueError(PyBytes_FromStringAndSize(<const char *>row.key, row.key_octets))
        rows.add(row.key, row.value, row.octets)
        found = 0
    return -1 if found < 0 else 0


def changed_rows(table, bytes prefix not None, Py_ssize_t page_octets, Rows before):
    """(rows, numbers, came) of the delta rows whose keys begin with `prefix` (the tenant's two octets).

    table: a list of (key, value); or, of an immutable snapshot, the table's record where it lies in the map and the
    store's page_octets: None when a page does not look as expected. numbers: member_no u32, filled up to whole blocks. before: rows of an earlier time,
    or None; came says by member where it stood there with the same row, AS_NEW: nowhere. Raises ValueError(key) on a key
    or row that is none.
    """
    cdef Rows rows = Rows(before)
    if isinstance(table, list):
        for key, row in table:
            if len(key) != 8:
                raise ValueError(bytes(key))
            rows.add(<const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(row), <uint32_t>len(row))
    elif walk(rows, table, prefix, page_octets):
        return None
    rows.settle()
    cdef Py_ssize_t count = rows.count, i, n = 0, had = 0
    cdef bytearray numbers = bytearray(4 * ((count + BLOCK - 1) // BLOCK * BLOCK))
    cdef bytearray came = None
    cdef const member_change *to = rows.at
    cdef const member_change *old = NULL
    cdef uint32_t *number = <uint32_t *>PyByteArray_AS_STRING(numbers)
    cdef uint32_t *from_ = NULL
    cdef uint64_t mine
    if before is not None:
        came = bytearray(4 * count)
        from_ = <uint32_t *>PyByteArray_AS_STRING(came)
        old, had = before.at, before.count
    with nogil:
        for i in range(count):
            mine = <uint64_t>to[i].block * BLOCK + to[i].slot
            number[i] = <uint32_t>mine
            if from_ is NULL:
                continue
            while n < had and <uint64_t>old[n].block * BLOCK + old[n].slot < mine:
                n += 1
            from_[i] = AS_NEW
            if n < had and <uint64_t>old[n].block * BLOCK + old[n].slot == mine and old[n].octets == to[i].octets:
                if memcmp(old[n].entries, to[i].entries, to[i].octets) == 0:
                    from_[i] = <uint32_t>n
    return rows, numbers, came


def gathered(bytearray rows not None, int kind, int64_t id, bint given, Rows changes not None, bytearray came, bytes old):
    """(records, values, memory): the changed members' values of one column, as records of blocks of their own.

    rows: the column's records. id: field << 8 | part, or -1. given: rows are of one plane. came, old: of the delta before,
    what it gave as `values`, or None. Keep `memory` as long as the records. Raises ValueError on what is damaged.
    """
    cdef as_column c
    cdef Py_ssize_t count = changes.count, n
    cdef Py_ssize_t blocks = (count + BLOCK - 1) // BLOCK
    cdef bytearray records = bytearray(blocks * sizeof(column_block))
    cdef column_block *to = <column_block *>PyByteArray_AS_STRING(records)
    cdef bytes values, memory
    cdef uint8_t *out
    cdef uint8_t *turned
    cdef int result
    c.rows = <const column_block *>PyByteArray_AS_STRING(rows)
    c.row_count = PyByteArray_GET_SIZE(rows) // <Py_ssize_t>sizeof(column_block)
    c.changes, c.count = changes.at, count
    c.came, c.old, c.id = NULL, NULL, id
    c.kind, c.width, c.planes = kind, WIDTHS[kind], 1 if given else 8
    if kind == AS_TEXT:
        memory = texts(&c, blocks, to)
        return records, b"", memory
    if came is not None and old is not None:
        c.came, c.old = <const uint32_t *>PyByteArray_AS_STRING(came), <const uint8_t *>PyBytes_AS_STRING(old)
    cdef int width = c.width
    values = PyBytes_FromStringAndSize(NULL, blocks * BLOCK * width)
    out = <uint8_t *>PyBytes_AS_STRING(values)
    memory = values
    turned = out
    if kind == AS_PLANES:
        memory = PyBytes_FromStringAndSize(NULL, blocks * BLOCK)
        turned = <uint8_t *>PyBytes_AS_STRING(memory)
    with nogil:
        memset(out + count * width, 0, (blocks * BLOCK - count) * width)
        result = as_values(&c, out)
        for n in range(blocks):
            if kind == AS_PLANES:
                as_turn(out + n * BLOCK, BLOCK, turned + n * BLOCK)
            to[n].data, to[n].octets, to[n].slots = turned + n * BLOCK * width, BLOCK * width, BLOCK
    if result < 0:
        raise ValueError("a delta row is not one of its columns")
    return records, values, memory


cdef bytes texts(as_column *c, Py_ssize_t blocks, column_block *to):
    cdef Py_ssize_t n, k, i, head = 4 * (BLOCK + 1)
    cdef int64_t octets, all_octets = 0
    cdef const uint8_t *text
    cdef bytes memory
    cdef uint8_t *out
    cdef uint32_t end
    for n in range(c.count):
        octets = as_text(c, n, &text)
        if octets < 0:
            raise ValueError("a delta row or a text block is damaged")
        all_octets += octets
    memory = PyBytes_FromStringAndSize(NULL, all_octets + blocks * head)
    out = <uint8_t *>PyBytes_AS_STRING(memory)
    for k in range(blocks):
        to[k].data, to[k].slots = out, BLOCK
        end = 0
        for i in range(BLOCK):
            n = k * BLOCK + i
            memcpy(out + 4 * i, &end, 4)
            if n < c.count:
                octets = as_text(c, n, &text)
                if octets:
                    memcpy(out + head + end, text, octets)
                end += <uint32_t>octets
        memcpy(out + 4 * BLOCK, &end, 4)
        to[k].octets = head + end
        out += head + end
    return memory
