# cython: language_level=3, boundscheck=False, wraparound=False
"""The loops of store/columns.py: delta rows into arrays, text heaps made dense. Meaning: tests/reference/columns.py.

Touches: the buffers it is given; every length read from a row is checked before it is used.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

cdef enum:
    U8 = 1
    U16 = 2
    PLANES = 6
    TEXT = 7
    MOST_COLUMNS = 512

cdef packed struct entry_head:
    uint16_t field
    uint8_t part
    uint8_t kind
    uint16_t octets

cdef struct laid_entry:
    entry_head head
    const uint8_t *value
    uint8_t bits[2]  # of planes: mask, bits; `value` points here

cdef uint8_t *WIDTHS = [0, 1, 2, 4, 8, 8, 1, 0]


cdef inline uint32_t column_id(uint16_t field, uint8_t part) noexcept nogil:
    return (<uint32_t>field << 8) | part


def patch(rows, bytes prefix, list columns, list arrays, uint32_t slots):
    """Write the rows' entries into `arrays`, one an entry of `columns`; copies an array at its first touch.

    rows: (key, value) until a key does not begin with `prefix`; keys end in the slot (u16 big-endian). Takes
    one row at a time: a list of rows would cost ten times as much, in garbage collections. A text array is
    a tuple (starts, ends, heap) and becomes three bytearrays. Raises ValueError(key) on a row that is no row.
    """
    cdef Py_ssize_t wanted = len(columns), at, length, column
    cdef tuple pair
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(prefix)
    cdef uint32_t ids[MOST_COLUMNS]
    cdef uint8_t kinds[MOST_COLUMNS]
    cdef uint8_t *to[MOST_COLUMNS]
    cdef Py_buffer key, value
    cdef entry_head head
    cdef const uint8_t *row
    cdef uint32_t slot = 0
    cdef bint ours
    cdef uint8_t bit, mask
    cdef uint8_t *plane
    cdef Py_ssize_t stride = slots // 8
    cdef bytearray copy
    if wanted > MOST_COLUMNS:
        raise OverflowError(f"{wanted} columns, at most {MOST_COLUMNS}")
    for column in range(wanted):
        ids[column] = column_id(columns[column][0], columns[column][1])
        kinds[column] = columns[column][2]
        to[column] = NULL
    for pair in rows:
        PyObject_GetBuffer(pair[0], &key, PyBUF_SIMPLE)
        ours = key.len >= len(prefix) + 2 and memcmp(key.buf, begin, len(prefix)) == 0
        if ours:
            slot = ((<const uint8_t *>key.buf)[key.len - 2] << 8) | (<const uint8_t *>key.buf)[key.len - 1]
        PyBuffer_Release(&key)
        if not ours:
            return
        if slot >= slots:
            raise ValueError(bytes(pair[0]))
        PyObject_GetBuffer(pair[1], &value, PyBUF_SIMPLE)
        try:
            row = <const uint8_t *>value.buf
            at, length = 0, value.len
            while at < length:
                if length - at < <Py_ssize_t>sizeof(entry_head):
                    raise ValueError(bytes(pair[0]))
                memcpy(&head, row + at, sizeof(entry_head))
                at += sizeof(entry_head)
                if head.octets > length - at:
                    raise ValueError(bytes(pair[0]))
                for column in range(wanted):
                    if ids[column] == column_id(head.field, head.part):
                        break
                else:
                    at += head.octets
                    continue
                if head.kind != kinds[column] and not (head.kind | kinds[column] == 3 and head.octets == head.kind):
                    raise ValueError(bytes(pair[0]))
                if head.kind == TEXT:
                    if to[column] == NULL:
                        arrays[column] = (bytearray(arrays[column][0]), bytearray(arrays[column][1]),
                                          bytearray(arrays[column][2]))
                        to[column] = <uint8_t *>1
                    append_text(arrays[column], slot, row + at, head.octets)
                    at += head.octets
                    continue
                if to[column] == NULL:
                    copy = bytearray(arrays[column])
                    arrays[column] = copy
                    to[column] = <uint8_t *>PyByteArray_AS_STRING(copy)
                if head.kind == PLANES:
                    if head.octets != 2:
                        raise ValueError(bytes(pair[0]))
                    mask = <uint8_t>(1 << (slot & 7))
                    for bit in range(8):
                        if row[at] >> bit & 1:
                            plane = to[column] + bit * stride + (slot >> 3)
                            plane[0] = (plane[0] | mask) if row[at + 1] >> bit & 1 else (plane[0] & ~mask)
                elif head.kind != kinds[column]:  # a code of the other width: blocks.py, recoded
                    if head.kind == U8:
                        to[column][2 * <Py_ssize_t>slot] = row[at]
                        to[column][2 * <Py_ssize_t>slot + 1] = 0
                    else:
                        to[column][slot] = 0 if row[at + 1] else row[at]
                else:
                    if head.kind == 0 or head.kind > TEXT or head.octets != WIDTHS[head.kind]:
                        raise ValueError(bytes(pair[0]))
                    memcpy(to[column] + <Py_ssize_t>slot * head.octets, row + at, head.octets)
                at += head.octets
        finally:
            PyBuffer_Release(&value)


cdef int append_text(tuple text, uint32_t slot, const uint8_t *octets, uint16_t count) except -1:
    cdef bytearray starts = text[0], ends = text[1], heap = text[2]
    cdef uint32_t start = <uint32_t>PyByteArray_GET_SIZE(heap), end = start + count
    PyByteArray_Resize(heap, end)
    memcpy(PyByteArray_AS_STRING(heap) + start, octets, count)
    memcpy(PyByteArray_AS_STRING(starts) + 4 * <Py_ssize_t>slot, &start, 4)
    memcpy(PyByteArray_AS_STRING(ends) + 4 * <Py_ssize_t>slot, &end, 4)
    return 0


def touched(list rows):
    """The columns {(field, part): kind} that the rows name, the wider of two where a dictionary grew.

    Raises ValueError(key) on a row that is no row.
    """
    cdef dict found = {}
    cdef Py_buffer value
    cdef entry_head head
    cdef Py_ssize_t at
    cdef tuple pair
    cdef uint32_t last[8]
    cdef uint32_t this
    cdef int slot
    for slot in range(8):
        last[slot] = 0xFFFFFFFF
    for pair in rows:
        PyObject_GetBuffer(pair[1], &value, PyBUF_SIMPLE)
        try:
            at = 0
            while at < value.len:
                if value.len - at < <Py_ssize_t>sizeof(entry_head):
                    raise ValueError(bytes(pair[0]))
                memcpy(&head, <const uint8_t *>value.buf + at, sizeof(entry_head))
                at += sizeof(entry_head) + head.octets
                if at > value.len:
                    raise ValueError(bytes(pair[0]))
                this = (column_id(head.field, head.part) << 8) | head.kind
                if last[(this >> 8) & 7] != this:
                    last[(this >> 8) & 7] = this
                    if head.kind != U8 or found.get((head.field, head.part)) != U16:
                        found[head.field, head.part] = head.kind
        finally:
            PyBuffer_Release(&value)
    return found


def dense_text(starts, ends, heap, uint32_t slots):
    """(starts, ends, heap) as the array of a text block: offsets u32[slots + 1], then the heap without gaps."""
    cdef Py_buffer s, e, h
    cdef Py_ssize_t i = 0, total = 0
    cdef uint32_t a, b, offset = 0
    cdef bytes out
    cdef uint8_t *to
    cdef uint8_t *body
    PyObject_GetBuffer(starts, &s, PyBUF_SIMPLE)
    PyObject_GetBuffer(ends, &e, PyBUF_SIMPLE)
    PyObject_GetBuffer(heap, &h, PyBUF_SIMPLE)
    try:
        if s.len < 4 * <Py_ssize_t>slots or e.len < 4 * <Py_ssize_t>slots:
            raise ValueError("offsets shorter than slots")
        with nogil:
            for i in range(slots):
                memcpy(&a, <const uint8_t *>s.buf + 4 * i, 4)
                memcpy(&b, <const uint8_t *>e.buf + 4 * i, 4)
                if a > b or b > h.len:
                    total = -1
                    break
                total += b - a
        if total < 0 or total > 0xFFFFFFFF:
            raise ValueError(f"text of slot {i} lies outside its heap")
        out = PyBytes_FromStringAndSize(NULL, 4 * (<Py_ssize_t>slots + 1) + total)
        to = <uint8_t *>PyBytes_AS_STRING(out)
        with nogil:
            body = to + 4 * (<Py_ssize_t>slots + 1)
            for i in range(slots):
                memcpy(&a, <const uint8_t *>s.buf + 4 * i, 4)
                memcpy(&b, <const uint8_t *>e.buf + 4 * i, 4)
                memcpy(to + 4 * i, &offset, 4)
                memcpy(body + offset, <const uint8_t *>h.buf + a, b - a)
                offset += b - a
            memcpy(to + 4 * <Py_ssize_t>slots, &offset, 4)
        return out
    finally:
        PyBuffer_Release(&s)
        PyBuffer_Release(&e)
        PyBuffer_Release(&h)


def laid(row, entries not None):
    """A delta row with `entries` {(field, part, kind): value} laid over `row` (None: there is none), as bytes.

    An entry takes the place of the column's, whatever its kind was (a dictionary may have been widened between the two);
    of planes only the bits of its mask count. Raises ValueError on a row that is no row, OverflowError on a long value.
    """
    cdef Py_ssize_t count = len(entries), n = 0, at = 0, begin, length = 0, room = 0
    cdef Py_buffer old
    cdef entry_head head
    cdef const uint8_t *from_ = NULL
    cdef uint8_t *to
    cdef laid_entry *new = <laid_entry *>malloc((count + 1) * sizeof(laid_entry))
    cdef laid_entry *found
    cdef bytes out
    if new is NULL:
        raise MemoryError
    try:
        for column, value in entries.items():
            new[n].head.field, new[n].head.part, new[n].head.kind = column[0], column[1], column[2]
            if len(value) > 0xFFFF:
                raise OverflowError(f"a value of {len(value):,} octets: at most 65,535")
            new[n].head.octets = <uint16_t>len(value)
            new[n].value = <const uint8_t *>PyBytes_AS_STRING(<bytes?>value)
            if new[n].head.kind == PLANES and new[n].head.octets == 2:
                memcpy(new[n].bits, new[n].value, 2)
                new[n].value = new[n].bits
            room += sizeof(entry_head) + new[n].head.octets
            n += 1
        if row is not None:
            PyObject_GetBuffer(row, &old, PyBUF_SIMPLE)
            from_, length = <const uint8_t *>old.buf, old.len
            PyBuffer_Release(&old)  # the caller holds it
        out = PyBytes_FromStringAndSize(NULL, length + room)
        to = <uint8_t *>PyBytes_AS_STRING(out)
        room = 0
        while at < length:
            begin = at
            if length - at < <Py_ssize_t>sizeof(entry_head):
                raise ValueError("a delta row that is no row")
            memcpy(&head, from_ + at, sizeof(entry_head))
            at += sizeof(entry_head) + head.octets
            if at > length:
                raise ValueError("a delta row that is no row")
            found = NULL
            for n in range(count):
                if new[n].head.field == head.field and new[n].head.part == head.part:
                    found = &new[n]
                    break
            if found is NULL:
                memcpy(to + room, from_ + begin, at - begin)
                room += at - begin
            elif head.kind == PLANES and head.octets == 2 and found.value == found.bits:
                found.bits[1] = (from_[at - 1] & ~found.bits[0]) | (found.bits[1] & found.bits[0])
                found.bits[0] |= from_[at - 2]
        for n in range(count):
            memcpy(to + room, &new[n].head, sizeof(entry_head))
            memcpy(to + room + sizeof(entry_head), new[n].value, new[n].head.octets)
            room += sizeof(entry_head) + new[n].head.octets
    finally:
        free(new)
    return out if room == len(out) else out[:room]
