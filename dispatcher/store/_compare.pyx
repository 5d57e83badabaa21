# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The loops of store/compare.py: delta rows against what members hold, and short seals of what they held.

Meaning: tests/reference/compare.py. Touches: the buffers it is given; every length is checked before it is used.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef enum:
    U8 = 1
    U16 = 2
    PLANES = 6
    TEXT = 7
    MOST_COLUMNS = 512
    MOST_ENTRIES = 512
    ROW_MAX = 1 << 20
    SEAL = 4  # octets of a seal before those of its entries

cdef packed struct entry_head:
    uint16_t field
    uint8_t part
    uint8_t kind
    uint16_t octets

cdef struct held_column:
    uint16_t field
    uint8_t part, kind
    bint yes_no
    Py_ssize_t group  # the field's first column
    Py_ssize_t have  # slots of the array; the value of a slot past it is unknown
    const uint8_t *data  # numbers and planes; of text where each begins
    const uint8_t *ends
    const uint8_t *heap
    Py_ssize_t heap_octets

cdef struct value:
    const uint8_t *octets
    Py_ssize_t count
    uint64_t number  # of fixed widths, and of planes the bits

cdef uint8_t *WIDTHS = [0, 1, 2, 4, 8, 8, 1, 0]


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    x ^= x >> 30
    x *= <uint64_t>0xBF58476D1CE4E5B9
    x ^= x >> 27
    x *= <uint64_t>0x94D049BB133111EB
    return x ^ x >> 31


cdef inline uint64_t seal_of(uint16_t field, uint8_t part, uint8_t kind, value *v, uint8_t mask) noexcept nogil:
    cdef uint64_t h = mix((<uint64_t>field << 8 | part) + <uint64_t>0x9E3779B97F4A7C15), chunk
    cdef Py_ssize_t at
    if kind == PLANES:
        return mix(h ^ (<uint64_t>mask << 8 | (v.number & mask)))
    if kind != TEXT:
        return mix(h ^ v.number)
    for at in range(0, v.count, 8):
        chunk = 0
        memcpy(&chunk, v.octets + at, min(8, v.count - at))
        h = mix(h ^ chunk)
    return mix(h ^ <uint64_t>v.count)


cdef uint64_t unknown_of(uint8_t kind) noexcept nogil:
    return <uint64_t>0x80000000 if kind == 3 else <uint64_t>0x8000000000000000 if kind == 4 else 0


cdef class Columns:
    """Columns of one block, ready for the loops below. Holds the buffers until it is dropped."""

    cdef held_column items[MOST_COLUMNS]
    cdef Py_buffer buffers[3 * MOST_COLUMNS]
    cdef Py_ssize_t count, held

    def __cinit__(self, list columns, list arrays):
        """columns: (field, part, kind, group, yes_no); arrays: (slots, array) each, or None: unknown throughout.

        The array of a text column is (starts, ends, heap).
        """
        cdef Py_ssize_t i
        cdef held_column *c
        self.count, self.held = 0, 0
        if len(columns) > MOST_COLUMNS or len(arrays) != len(columns):
            raise ValueError(f"{len(columns)} columns, {len(arrays)} arrays, at most {MOST_COLUMNS}")
        for i in range(len(columns)):
            c = &self.items[i]
            c.field, c.part, c.kind, c.group, c.yes_no = columns[i]
            c.have = 0
            if not 1 <= c.kind <= TEXT or not 0 <= c.group <= i:
                raise ValueError(f"column {columns[i]!r}")
            if arrays[i] is None:
                continue
            have, array = arrays[i]
            c.have = have
            if c.kind == TEXT:
                starts, ends, heap = array
                c.data, c.ends = self.hold(starts, 4 * c.have), self.hold(ends, 4 * c.have)
                c.heap = self.hold(heap, 0)
                c.heap_octets = self.buffers[self.held - 1].len
            else:
                c.data = self.hold(array, c.have * WIDTHS[c.kind])
        self.count = len(columns)

    cdef const uint8_t *hold(self, buffer, Py_ssize_t least) except? NULL:
        PyObject_GetBuffer(buffer, &self.buffers[self.held], PyBUF_SIMPLE)
        self.held += 1
        if self.buffers[self.held - 1].len < least:
            raise ValueError("an array shorter than its slots")
        return <const uint8_t *>self.buffers[self.held - 1].buf

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.held):
            PyBuffer_Release(&self.buffers[i])


cdef Py_ssize_t column_of(Columns columns, entry_head *head, Py_ssize_t hint) noexcept nogil:
    """The column an entry is of, -1: none. `hint` is where the one before it was found."""
    cdef Py_ssize_t i, at
    cdef held_column *c
    for i in range(columns.count):
        at = hint + 1 + i
        if at >= columns.count:
            at -= columns.count
        c = &columns.items[at]
        if c.field == head.field and c.part == head.part:
            if c.kind == head.kind or (c.kind | head.kind) == 3:
                return at
            return -1
    return -1


cdef int stored(held_column *c, Py_ssize_t slot, value *v) except -1:
    """The value of a slot in the array."""
    cdef uint32_t a, b
    cdef int bit
    v.octets, v.count, v.number = NULL, 0, unknown_of(c.kind)
    if slot >= c.have:
        return 0
    if c.kind == TEXT:
        memcpy(&a, c.data + 4 * slot, 4)
        memcpy(&b, c.ends + 4 * slot, 4)
        if a > b or b > c.heap_octets:
            raise ValueError("a text outside its heap")
        v.octets, v.count = c.heap + a, b - a
    elif c.kind == PLANES:
        v.number = 0
        for bit in range(8):
            v.number |= <uint64_t>(c.data[bit * (c.have >> 3) + (slot >> 3)] >> (slot & 7) & 1) << bit
    else:
        v.number = 0
        memcpy(&v.number, c.data + slot * WIDTHS[c.kind], WIDTHS[c.kind])
    return 0


cdef int read_entry(const uint8_t *row, Py_ssize_t length, Py_ssize_t at, entry_head *head, value *v) except -1:
    """One entry of a delta row, checked; planes: number is the bits, octets[0] the mask."""
    if length - at < <Py_ssize_t>sizeof(entry_head):
        raise ValueError("a row cut short")
    memcpy(head, row + at, sizeof(entry_head))
    at += sizeof(entry_head)
    if head.octets > length - at or not 1 <= head.kind <= TEXT:
        raise ValueError("a row that is no row")
    if head.kind != TEXT and head.octets != (2 if head.kind == PLANES else WIDTHS[head.kind]):
        raise ValueError("a row that is no row")
    v.octets, v.count, v.number = row + at, head.octets, 0
    if head.kind == PLANES:
        v.number = row[at + 1]
    elif head.kind != TEXT:
        memcpy(&v.number, row + at, head.octets)
    return 0


cdef int held_now(held_column *c, Py_ssize_t slot, bytes overlay, value *v) except -1:
    """The value of a slot with a delta row over it (b"": none)."""
    cdef const uint8_t *row = <const uint8_t *>PyBytes_AS_STRING(overlay)
    cdef Py_ssize_t at = 0, length = PyBytes_GET_SIZE(overlay)
    cdef entry_head head
    cdef value over
    stored(c, slot, v)
    while at < length:
        read_entry(row, length, at, &head, &over)
        at += sizeof(entry_head) + head.octets
        if head.field == c.field and head.part == c.part:
            if c.kind == PLANES:
                v.number = (v.number & ~<uint64_t>over.octets[0]) | (over.number & over.octets[0])
            else:
                v[0] = over
    return 0


def compare(list rows, const uint16_t[::1] slots, list overlays, Columns columns, uint64_t[::1] changed,
            uint64_t[::1] lost):
    """(after, before, seals) of each delta row: the entries that would change something, what stands there now, and a
    seal of `after`. All three b"" for a row that changes nothing.

    overlays: each slot's stored delta row, b"" for none. changed and lost: one counter a column; a row adds 1 for a
    field it changes, at the field's first column; lost: it takes a tag away, or turns a yes into a no.
    """
    cdef Py_ssize_t count = len(rows), i, at, length, room, n, found, to, back
    cdef entry_head head
    cdef value new, old
    cdef const uint8_t *row
    cdef uint8_t *after = NULL
    cdef uint8_t *before = NULL
    cdef uint8_t *more
    cdef uint8_t seal[SEAL + MOST_ENTRIES]
    cdef uint64_t h, total
    cdef uint8_t mask
    cdef int64_t counted, counted_lost
    cdef bint same, loses
    cdef held_column *c
    cdef Py_ssize_t size
    cdef list afters = [], befores = [], seals = []
    if slots.shape[0] < count or len(overlays) != count:
        raise ValueError("compare: lists differ in length")
    if min(changed.shape[0], lost.shape[0]) < columns.count:
        raise ValueError("compare: a counter a column")
    room = 4_096
    after, before = <uint8_t *>malloc(room), <uint8_t *>malloc(room)
    try:
        if after == NULL or before == NULL:
            raise MemoryError
        for i in range(count):
            row, length = <const uint8_t *>PyBytes_AS_STRING(rows[i]), PyBytes_GET_SIZE(rows[i])
            at, to, back, n, total, found = 0, 0, 0, 0, 0, -1
            counted, counted_lost = -1, -1
            while at < length:
                read_entry(row, length, at, &head, &new)
                found = column_of(columns, &head, found)
                if found < 0:
                    raise ValueError(f"field {head.field}, part {head.part}: not a column, or of another kind")
                c = &columns.items[found]
                held_now(c, slots[i], overlays[i], &old)
                mask, loses = 0, False
                if head.kind == PLANES:
                    mask = new.octets[0]
                    same = (old.number & mask) == (new.number & mask)
                    loses = (old.number & mask & ~new.number) != 0
                elif head.kind == TEXT:
                    same = old.count == new.count and (not new.count or not memcmp(old.octets, new.octets, new.count))
                else:
                    same = old.number == new.number
                    loses = c.yes_no and old.number == 2 and new.number == 1
                size = sizeof(entry_head) + head.octets
                if not same:
                    if n == MOST_ENTRIES:
                        raise ValueError(f"a row of more than {MOST_ENTRIES} entries")
                    if max(to, back) + size + sizeof(entry_head) + old.count + 8 > room:
                        room = 2 * (max(to, back) + size + sizeof(entry_head) + old.count + 8)
                        if room > ROW_MAX:
                            raise ValueError("a row that is too long")
                        more = grown(after, to, room)
                        after = more
                        more = grown(before, back, room)
                        before = more
                    memcpy(after + to, row + at, size)
                    to += size
                    back += put_value(before + back, c, &old, mask)
                    h = seal_of(head.field, head.part, head.kind, &new, mask)
                    seal[SEAL + n] = <uint8_t>(h >> 56)
                    total += h
                    n += 1
                    if counted != c.group:
                        counted = c.group
                        changed[c.group] += 1
                    if loses and counted_lost != c.group:
                        counted_lost = c.group
                        lost[c.group] += 1
                at += size
            afters.append(PyBytes_FromStringAndSize(<char *>after, to))
            befores.append(PyBytes_FromStringAndSize(<char *>before, back))
            put_total(seal, total)
            seals.append(PyBytes_FromStringAndSize(<char *>seal, SEAL + n if n else 0))
    finally:
        free(after)
        free(before)
    return afters, befores, seals


cdef uint8_t *grown(uint8_t *old, Py_ssize_t used, Py_ssize_t room) except NULL:
    cdef uint8_t *more = <uint8_t *>malloc(room)
    if more == NULL:
        raise MemoryError
    memcpy(more, old, used)
    free(old)
    return more


cdef inline void put_total(uint8_t *seal, uint64_t total) noexcept nogil:
    cdef uint32_t top = <uint32_t>(mix(total) >> 32)
    memcpy(seal, &top, SEAL)


cdef Py_ssize_t put_value(uint8_t *to, held_column *c, value *v, uint8_t mask) noexcept nogil:
    """An entry of a delta row; its octets."""
    cdef entry_head head
    head.field, head.part, head.kind = c.field, c.part, c.kind
    if c.kind == PLANES:
        head.octets = 2
        to[sizeof(entry_head)] = mask
        to[sizeof(entry_head) + 1] = <uint8_t>v.number & mask
    elif c.kind == TEXT:
        head.octets = <uint16_t>v.count
        if v.count:
            memcpy(to + sizeof(entry_head), v.octets, v.count)
    else:
        head.octets = WIDTHS[c.kind]
        memcpy(to + sizeof(entry_head), &v.number, head.octets)
    memcpy(to, &head, sizeof(entry_head))
    return sizeof(entry_head) + head.octets


def seals_of(list rows, const uint16_t[::1] slots, Columns columns):
    """The seal of what each slot holds now in the columns (and of planes under the masks) that its row names."""
    cdef Py_ssize_t i, at, length, n, found
    cdef entry_head head
    cdef value named, old
    cdef const uint8_t *row
    cdef uint8_t seal[SEAL + MOST_ENTRIES]
    cdef uint64_t h, total
    cdef list seals = []
    if slots.shape[0] < len(rows):
        raise ValueError("seals_of: lists differ in length")
    for i in range(len(rows)):
        row, length = <const uint8_t *>PyBytes_AS_STRING(rows[i]), PyBytes_GET_SIZE(rows[i])
        at, n, total, found = 0, 0, 0, -1
        while at < length:
            read_entry(row, length, at, &head, &named)
            found = column_of(columns, &head, found)
            if found < 0 or n == MOST_ENTRIES:
                raise ValueError(f"field {head.field}, part {head.part}: not a column, or of another kind")
            stored(&columns.items[found], slots[i], &old)
            h = seal_of(head.field, head.part, columns.items[found].kind, &old,
                        named.octets[0] if head.kind == PLANES else 0)
            seal[SEAL + n] = <uint8_t>(h >> 56)
            total += h
            n += 1
            at += sizeof(entry_head) + head.octets
        put_total(seal, total)
        seals.append(PyBytes_FromStringAndSize(<char *>seal, SEAL + n if n else 0))
    return seals


def seals_between(Columns columns, Py_ssize_t slot, Py_ssize_t count):
    """The seals of all columns of `count` slots from `slot`, 4 octets and one a column each, end to end."""
    cdef Py_ssize_t i, j, width = SEAL + columns.count
    cdef bytes out = PyBytes_FromStringAndSize(NULL, width * count)
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
    cdef uint64_t *totals
    if slot < 0 or count < 0:
        raise ValueError("seals_between: outside the block")
    totals = <uint64_t *>calloc(count + 1, sizeof(uint64_t))
    if totals == NULL:
        raise MemoryError
    try:
        for j in range(columns.count):
            seal_column(&columns.items[j], slot, count, totals, to + SEAL + j, width)
        for i in range(count):
            put_total(to + i * width, totals[i])
    finally:
        free(totals)
    return out


cdef int seal_column(held_column *c, Py_ssize_t slot, Py_ssize_t count, uint64_t *totals, uint8_t *to,
                     Py_ssize_t width) except -1:
    """Add one column's hashes to the totals, and put the octet of each."""
    cdef uint64_t first = mix((<uint64_t>c.field << 8 | c.part) + <uint64_t>0x9E3779B97F4A7C15), h
    cdef Py_ssize_t i, stored_count = max(0, min(count, c.have - slot)), octets = WIDTHS[c.kind]
    cdef uint64_t number
    cdef value v
    if c.kind in (TEXT, PLANES):
        for i in range(count):
            stored(c, slot + i, &v)
            h = seal_of(c.field, c.part, c.kind, &v, 0xFF)
            totals[i] += h
            to[i * width] = <uint8_t>(h >> 56)
        return 0
    with nogil:
        for i in range(stored_count):
            number = 0
            if octets == 8:
                memcpy(&number, c.data + 8 * (slot + i), 8)
            elif octets == 4:
                memcpy(&number, c.data + 4 * (slot + i), 4)
            elif octets == 2:
                memcpy(&number, c.data + 2 * (slot + i), 2)
            else:
                number = c.data[slot + i]
            h = mix(first ^ number)
            totals[i] += h
            to[i * width] = <uint8_t>(h >> 56)
        h = mix(first ^ unknown_of(c.kind))
        for i in range(stored_count, count):
            totals[i] += h
            to[i * width] = <uint8_t>(h >> 56)
    return 0
