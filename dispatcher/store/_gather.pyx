# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The loops of bulk loading: rows of a column file, in another order, into blocks and delta rows.

Meaning: tests/reference/gather.py. `rows` are u32 indexes into the column files of one import run, checked
against their length here. Files are little-endian as written; nothing is kept between calls.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    RADIX = 2048
    MOST_COLUMNS = 64
    PLANES = 6
    TEXT = 7
    ENTRY = 6  # octets of a delta entry's head: field u16, part u8, kind u8, octets u16


def sort_rows(const uint64_t[::1] numbers, uint64_t[::1] ordered, uint32_t[::1] rows):
    """`numbers` ascending into `ordered`, and the row each came from; equal numbers keep their order.

    Radix sort, least digit first; digits that all numbers share are skipped.
    """
    cdef Py_ssize_t n = numbers.shape[0], i, at
    cdef uint64_t both = 0, least = ~<uint64_t>0, digit
    cdef uint64_t *from_n = NULL
    cdef uint64_t *to_n = NULL
    cdef uint32_t *from_r = NULL
    cdef uint32_t *to_r = NULL
    cdef uint64_t *spare_n = NULL
    cdef uint32_t *spare_r = NULL
    cdef size_t starts[RADIX]
    cdef size_t count, total
    cdef int shift
    if ordered.shape[0] != n or rows.shape[0] != n:
        raise ValueError("sort_rows: arrays differ in length")
    if n == 0:
        return
    spare_n = <uint64_t *>malloc(8 * n)
    spare_r = <uint32_t *>malloc(4 * n)
    if spare_n == NULL or spare_r == NULL:
        free(spare_n)
        free(spare_r)
        raise MemoryError
    with nogil:
        from_n, from_r, to_n, to_r = &ordered[0], &rows[0], spare_n, spare_r
        for i in range(n):
            from_n[i], from_r[i] = numbers[i], <uint32_t>i
            both |= numbers[i]
            least &= numbers[i]
        for shift in range(0, 64, 11):  # 11 bits = RADIX
            if not (both ^ least) >> shift & (RADIX - 1):
                continue
            memset(starts, 0, sizeof(starts))
            for i in range(n):
                starts[from_n[i] >> shift & (RADIX - 1)] += 1
            total = 0
            for i in range(RADIX):
                count, starts[i] = starts[i], total
                total += count
            for i in range(n):
                digit = from_n[i] >> shift & (RADIX - 1)
                at = starts[digit]
                starts[digit] += 1
                to_n[at], to_r[at] = from_n[i], from_r[i]
            from_n, to_n, from_r, to_r = to_n, from_n, to_r, from_r
        if from_n != &ordered[0]:
            memcpy(&ordered[0], from_n, 8 * n)
            memcpy(&rows[0], from_r, 4 * n)
    free(spare_n)
    free(spare_r)


def assign(const uint64_t[::1] ordered, const uint32_t[::1] order, Py_ssize_t start, Py_ssize_t end,
           const int64_t[::1] found, uint32_t next_no, Py_ssize_t most_new, Py_ssize_t most_updates,
           bint creates, bint updates, uint32_t[::1] new_rows, uint64_t[::1] new_numbers,
           uint32_t[::1] changed_rows, uint32_t[::1] changed_nos, uint32_t[::1] refused_rows):
    """What each row of order[start:end] does: creates a member, changes one, or is refused by the mode.

    found: for each distinct number of the window the member_no that has it, or -1. New members get
    next_no, next_no + 1, ... in the order of their numbers; further rows of a new number change it.
    Stops before `most_new` or `most_updates` is passed. Returns (stopped at, new, changed, refused).
    """
    cdef Py_ssize_t i, group = -1, new = 0, changed = 0, refused = 0, window = end - start
    cdef int64_t member_no = -1
    if not 0 <= start <= end <= ordered.shape[0] or order.shape[0] < end:
        raise ValueError("assign: outside the run")
    if min(changed_rows.shape[0], changed_nos.shape[0], refused_rows.shape[0]) < window:
        raise ValueError("assign: an array shorter than the window")
    if min(new_rows.shape[0], new_numbers.shape[0]) < min(window, most_new):
        raise ValueError("assign: an array shorter than the window")
    with nogil:
        for i in range(start, end):
            if i == start or ordered[i] != ordered[i - 1]:
                group += 1
                if group >= found.shape[0]:
                    break
                member_no = found[group]
            if member_no < 0 and creates:
                if new == most_new:
                    break
                new_rows[new], new_numbers[new] = order[i], ordered[i]
                member_no = next_no + new
                new += 1
            elif member_no >= 0 and updates:
                if changed == most_updates:
                    break
                changed_rows[changed], changed_nos[changed] = order[i], <uint32_t>member_no
                changed += 1
            else:
                refused_rows[refused] = order[i]
                refused += 1
        else:
            i = end
    return i, new, changed, refused


def seen(const uint64_t[::1] ordered, Py_ssize_t start, Py_ssize_t end, const uint64_t[::1] earlier,
         uint8_t[::1] marks):
    """Mark each distinct number of ordered[start:end] that stands in the sorted `earlier` too."""
    cdef Py_ssize_t i, group = -1, low = 0, high = earlier.shape[0], middle, at
    if not 0 <= start <= end <= ordered.shape[0]:
        raise ValueError("seen: outside the run")
    if start == end or not earlier.shape[0]:
        return
    with nogil:
        while low < high:
            middle = (low + high) >> 1
            if earlier[middle] < ordered[start]:
                low = middle + 1
            else:
                high = middle
        at = low
        for i in range(start, end):
            if i > start and ordered[i] == ordered[i - 1]:
                continue
            group += 1
            if group >= marks.shape[0]:
                break
            while at < earlier.shape[0] and earlier[at] < ordered[i]:
                at += 1
            if at < earlier.shape[0] and earlier[at] == ordered[i]:
                marks[group] = 1


def repeats(const uint64_t[::1] ordered, Py_ssize_t start, Py_ssize_t end, const uint8_t[::1] marks):
    """Rows of ordered[start:end] whose number came before: in the run, or where `marks` (see `seen`) says so."""
    cdef Py_ssize_t i, group = -1, found = 0
    if not 0 <= start <= end <= ordered.shape[0]:
        raise ValueError("repeats: outside the run")
    with nogil:
        for i in range(start, end):
            if i == start or ordered[i] != ordered[i - 1]:
                group += 1
            if i > 0 and ordered[i] == ordered[i - 1]:
                found += 1
            elif group < marks.shape[0] and marks[group]:
                found += 1
    return found


def count_given(const uint32_t[::1] rows, Py_ssize_t count, const uint64_t[::1] given, uint64_t mask):
    """How many of the rows give a cell of `mask`."""
    cdef Py_ssize_t i, found = 0
    check_rows(rows, 0, count, given.shape[0])
    for i in range(count):
        found += (given[rows[i]] & mask) != 0
    return found


def fixed(const uint8_t[::1] column, int width, const uint32_t[::1] rows, Py_ssize_t start, Py_ssize_t count,
          uint8_t[::1] array, Py_ssize_t slot):
    """array[slot + i] = column[rows[start + i]] for numbers of `width` octets."""
    cdef Py_ssize_t i
    check_rows(rows, start, count, column.shape[0] // width)
    if slot < 0 or (slot + count) * width > array.shape[0]:
        raise ValueError("fixed: outside the block")
    with nogil:
        if width == 1:
            for i in range(count):
                array[slot + i] = column[rows[start + i]]
        elif width == 2:
            for i in range(count):
                (<uint16_t *>&array[0])[slot + i] = (<const uint16_t *>&column[0])[rows[start + i]]
        elif width == 4:
            for i in range(count):
                (<uint32_t *>&array[0])[slot + i] = (<const uint32_t *>&column[0])[rows[start + i]]
        elif width == 8:
            for i in range(count):
                (<uint64_t *>&array[0])[slot + i] = (<const uint64_t *>&column[0])[rows[start + i]]


def recode(uint8_t[::1] array, int width, Py_ssize_t slot, Py_ssize_t count, const uint16_t[::1] codes):
    """Replace code c by codes[c] in `count` slots from `slot`; codes beyond the table become 0, unknown."""
    cdef Py_ssize_t i
    cdef uint16_t code
    if slot < 0 or (slot + count) * width > array.shape[0] or width not in (1, 2):
        raise ValueError("recode: outside the block")
    for i in range(slot, slot + count):
        code = array[i] if width == 1 else (<uint16_t *>&array[0])[i]
        code = codes[code] if code < codes.shape[0] else 0
        if width == 1:
            array[i] = <uint8_t>code
        else:
            (<uint16_t *>&array[0])[i] = code


def text(const uint32_t[::1] offsets, const uint8_t[::1] heap, const uint32_t[::1] rows, Py_ssize_t start,
         Py_ssize_t count, const uint8_t[::1] old, Py_ssize_t old_slots, Py_ssize_t slot, Py_ssize_t slots):
    """A text block of `slots`: the first `slot` texts of `old` (a text array), then the rows', then none."""
    cdef Py_ssize_t i, keep = 0, total = 0
    cdef uint32_t a, b, at = 0
    cdef const uint32_t *had = NULL
    cdef bytes out
    cdef uint32_t *to
    cdef uint8_t *body
    check_rows(rows, start, count, offsets.shape[0] - 1)
    if old_slots and (old.shape[0] < 4 * (old_slots + 1)):
        raise ValueError("text: old block cut short")
    if not 0 <= slot <= slot + count <= slots:
        raise ValueError("text: outside the block")
    keep = min(slot, old_slots)
    if keep:
        had = <const uint32_t *>&old[0]
        total = had[keep]
        if 4 * (old_slots + 1) + total > old.shape[0]:
            raise ValueError("text: old block's heap cut short")
        for i in range(keep):
            if had[i] > had[i + 1]:
                raise ValueError("text: old block's offsets fall")
    for i in range(count):
        a, b = offsets[rows[start + i]], offsets[rows[start + i] + 1]
        if a > b or b > heap.shape[0]:
            raise ValueError("text: a row lies outside its heap")
        total += b - a
    if total > 0xFFFFFFFF:
        raise ValueError("text: more than 4 GiB")
    out = PyBytes_FromStringAndSize(NULL, 4 * (slots + 1) + total)
    to = <uint32_t *>PyBytes_AS_STRING(out)
    body = <uint8_t *>(to + slots + 1)
    with nogil:
        if keep:
            at = had[keep]
            memcpy(to, had, 4 * keep)
            memcpy(body, &old[4 * (old_slots + 1)] if at else &old[0], at)
        for i in range(keep, slot):
            to[i] = at
        for i in range(count):
            a, b = offsets[rows[start + i]], offsets[rows[start + i] + 1]
            to[slot + i] = at
            if b > a:
                memcpy(body + at, &heap[a], b - a)
            at += b - a
        for i in range(slot + count, slots + 1):
            to[i] = at
    return out


def planes(const uint32_t[::1] offsets, const uint16_t[::1] codes, const uint32_t[::1] rows, Py_ssize_t start,
           Py_ssize_t count, int part, uint8_t[::1] array, Py_ssize_t slot, const uint16_t[::1] mapping):
    """Set the rows' tags of planes 8 * part .. + 7 in a PLANES array; a tag code is mapped unless `mapping` is empty."""
    cdef Py_ssize_t i, j, stride = array.shape[0] // 8
    cdef uint16_t code
    check_rows(rows, start, count, offsets.shape[0] - 1)
    if slot < 0 or slot + count > array.shape[0]:
        raise ValueError("planes: outside the block")
    for i in range(count):
        for j in range(offsets[rows[start + i]], min(<Py_ssize_t>offsets[rows[start + i] + 1], codes.shape[0])):
            code = codes[j]
            if mapping.shape[0]:
                code = mapping[code] if code < mapping.shape[0] else 0xFFFF
            if code >> 3 == part:
                array[(code & 7) * stride + (slot + i >> 3)] |= 1 << (slot + i & 7)


def set_bits(uint8_t[::1] array, int plane, Py_ssize_t slot, Py_ssize_t count):
    """Set `count` bits from `slot` in one of the 8 planes of a PLANES array."""
    cdef Py_ssize_t i, stride = array.shape[0] // 8
    if slot < 0 or slot + count > array.shape[0] or not 0 <= plane < 8:
        raise ValueError("set_bits: outside the block")
    for i in range(slot, slot + count):
        array[plane * stride + (i >> 3)] |= 1 << (i & 7)


cdef struct source:
    const uint8_t *data       # numbers; of text and planes the offsets
    const uint8_t *heap
    Py_ssize_t octets, heap_octets
    const uint16_t *codes     # mapping of codes, or NULL
    Py_ssize_t code_count
    uint64_t bit
    uint16_t field
    uint8_t kind, width, parts
    bint adds


def deltas(const uint32_t[::1] rows, Py_ssize_t count, const uint64_t[::1] given, list columns, uint64_t always=0):
    """Delta rows (store/delta.py) with the given cells of each row; b"" when a row gives none.

    columns: (bit, field, kind, width, parts, data, heap, mapping, adds): `parts` of a tags field's planes;
    mapping as in recode and planes, b"" for none; adds: a cell's tags join the others instead of taking their place.
    Columns whose bit is in `always` are given by every row.
    """
    cdef source sources[MOST_COLUMNS]
    cdef Py_buffer buffers[3 * MOST_COLUMNS]
    cdef Py_ssize_t held = 0, i, wanted = len(columns), size, least, room = 1
    cdef list out = []
    cdef uint8_t *row = NULL
    cdef source *s
    if wanted > MOST_COLUMNS:
        raise ValueError(f"{wanted} columns, at most {MOST_COLUMNS}")
    try:
        for i in range(wanted):
            s = &sources[i]
            bit, s.field, s.kind, s.width, s.parts, data, heap, mapping, s.adds = columns[i]
            s.bit = <uint64_t>1 << <int>bit
            for wanted_buffer in (data, heap, mapping):
                PyObject_GetBuffer(wanted_buffer, &buffers[held], PyBUF_SIMPLE)
                held += 1
            s.data, s.octets = <const uint8_t *>buffers[held - 3].buf, buffers[held - 3].len
            s.heap, s.heap_octets = <const uint8_t *>buffers[held - 2].buf, buffers[held - 2].len
            s.codes, s.code_count = <const uint16_t *>buffers[held - 1].buf, buffers[held - 1].len // 2
            least = s.octets // 4 - 1 if s.kind in (TEXT, PLANES) else s.octets // s.width
            check_rows(rows, 0, count, least)
            room += s.parts * (ENTRY + 2) if s.kind == PLANES else ENTRY + (0xFFFF if s.kind == TEXT else s.width)
        check_rows(rows, 0, count, given.shape[0])
        row = <uint8_t *>malloc(room)
        if row == NULL:
            raise MemoryError
        for i in range(count):
            size = delta_octets(sources, wanted, rows[i], given[rows[i]] | always, row)
            if size < 0:
                raise ValueError("deltas: a row lies outside its heap")
            out.append(PyBytes_FromStringAndSize(<char *>row, size))
    finally:
        free(row)
        for i in range(held):
            PyBuffer_Release(&buffers[i])
    return out


cdef Py_ssize_t delta_octets(source *sources, Py_ssize_t wanted, uint32_t row, uint64_t given,
                             uint8_t *to) noexcept nogil:
    """Write one delta row; its octets, -1 for a row outside its heap."""
    cdef Py_ssize_t i, j, at = 0
    cdef uint32_t a = 0, b = 0, part
    cdef uint16_t code, size
    cdef uint8_t bits
    cdef source *s
    for i in range(wanted):
        s = &sources[i]
        if not given & s.bit:
            continue
        if s.kind == TEXT or s.kind == PLANES:
            memcpy(&a, s.data + 4 * <size_t>row, 4)
            memcpy(&b, s.data + 4 * (<size_t>row + 1), 4)
            if a > b or (<Py_ssize_t>b * (2 if s.kind == PLANES else 1)) > s.heap_octets or b - a > 0xFFFF:
                return -1
        if s.kind == PLANES:
            for part in range(s.parts):
                bits = 0
                for j in range(a, b):
                    memcpy(&code, s.heap + 2 * j, 2)
                    if s.code_count:
                        code = s.codes[code] if code < s.code_count else 0xFFFF
                    if code >> 3 == part:
                        bits |= 1 << (code & 7)
                if s.adds and not bits:
                    continue
                head(to + at, s.field, part, PLANES, 2)
                to[at + ENTRY], to[at + ENTRY + 1] = bits if s.adds else 0xFF, bits
                at += ENTRY + 2
            continue
        size = <uint16_t>(b - a) if s.kind == TEXT else s.width
        head(to + at, s.field, 0, s.kind, size)
        if s.kind == TEXT:
            memcpy(to + at + ENTRY, s.heap + a, size)
        else:
            memcpy(to + at + ENTRY, s.data + <size_t>row * size, size)
            if s.code_count:
                code = 0
                memcpy(&code, to + at + ENTRY, size)
                code = s.codes[code] if code < s.code_count else 0
                memcpy(to + at + ENTRY, &code, size)
        at += ENTRY + size
    return at


cdef inline void head(uint8_t *to, uint16_t field, uint8_t part, uint8_t kind, uint16_t octets) noexcept nogil:
    memcpy(to, &field, 2)
    to[2], to[3] = part, kind
    memcpy(to + 4, &octets, 2)


cdef int check_rows(const uint32_t[::1] rows, Py_ssize_t start, Py_ssize_t count, Py_ssize_t length) except -1:
    cdef Py_ssize_t i
    if start < 0 or count < 0 or start + count > rows.shape[0]:
        raise ValueError("more rows than there are")
    for i in range(start, start + count):
        if rows[i] >= length:
            raise ValueError(f"row {rows[i]} of a column of {length}")
    return 0
