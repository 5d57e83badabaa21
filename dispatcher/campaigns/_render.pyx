"""A column block and a compiled template to rows and octets, GIL released: see render.h; names in render.py."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_Resize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef extern from "../text/octets.h" nogil:
    enum: MAX_PARTS, MET_WORDS
    ctypedef struct alphabet:
        pass
    ctypedef struct coder:
        const alphabet *of
        uint32_t count
    uint32_t limit_octets(const alphabet *a, uint32_t max)


cdef extern from "../text/crc32.h" nogil:
    ctypedef struct crc_leap:
        pass
    void crc32_init()
    void crc_leap_init(crc_leap *leap, const uint8_t *p, size_t n)


cdef extern from "../coupons/code.h" nogil:
    ctypedef struct coupon_key:
        pass
    coupon_key coupon_key_of(const uint8_t *octets)


cdef extern from "render.h" nogil:
    enum: NONE, LONGEST, BILLED
    enum: OP_LITERAL, OP_COUPON, OP_TEXT, OP_DICT8, OP_DICT16, OP_I32, OP_I64, OP_U64, OP_DATE, OP_MONTH_DAY, OP_MONEY
    ctypedef struct op:
        pass
    ctypedef struct piece:
        pass
    ctypedef struct part_row:
        pass
    ctypedef struct column:
        const uint8_t *data
        const uint8_t *ends
        const uint8_t *heap
        size_t heap_octets
    ctypedef struct job:
        const op *ops
        const piece *pieces
        const uint8_t *heap
        const crc_leap *leaps
        const column *columns
        const uint8_t *flags
        const uint8_t *msisdn
        uint32_t op_count, slots, max_parts, optout_plane, possible, bill_first, bill_more, first_member
        coupon_key coupon
        coder coder
        uint64_t *met
    ctypedef struct taken:
        uint32_t rows, members, octets
        int32_t last_slot
    ctypedef struct longest:
        uint32_t slot, parts, octets
    ctypedef struct histogram:
        uint32_t decisions[256]
        uint32_t *parts
        uint32_t *billed
        uint32_t ucs2, longest_count
        longest *longest
    void render_slots(const job *j, const uint8_t *todo, const uint8_t *audience, size_t words, uint32_t rank_base,
                      uint32_t seed, uint32_t max_rows, part_row *rows, uint8_t *octets, uint8_t *scratch, taken *t)
    void skip_slots(const uint8_t *skipped, const uint8_t *audience, size_t words, uint32_t rank_base,
                    uint32_t first_member, uint8_t decision, uint32_t max_rows, part_row *rows, taken *t)
    void count_slots(const job *j, const uint8_t *todo, size_t words, uint8_t *scratch, histogram *h)


crc32_init()

OPS = {
    "literal": OP_LITERAL, "coupon": OP_COUPON, "text": OP_TEXT, "dict8": OP_DICT8, "dict16": OP_DICT16, "i32": OP_I32, "i64": OP_I64,
    "u64": OP_U64, "date": OP_DATE, "month_day": OP_MONTH_DAY, "money": OP_MONEY,
}
NO_PIECE = <uint32_t>NONE
LONGEST_KEPT = LONGEST


def leaps_of(literals):
    """The CRC tables of each of `literals`, in order."""
    cdef bytearray out = PyByteArray_FromStringAndSize(NULL, len(literals) * <Py_ssize_t>sizeof(crc_leap))
    cdef crc_leap *leap = <crc_leap *>PyByteArray_AS_STRING(out)
    cdef bytes literal
    cdef Py_ssize_t i
    for i, literal in enumerate(literals):
        crc_leap_init(leap + i, <const uint8_t *><const char *>literal, len(literal))
    return bytes(out)


cdef class Held:
    """The buffers of one call and the job that points into them; released together."""
    cdef job j
    cdef Py_buffer *views
    cdef column *columns
    cdef uint8_t *scratch
    cdef Py_ssize_t held
    cdef tuple program
    cdef object coder
    cdef uint64_t met[MET_WORDS]

    def __cinit__(self, tuple program, object by, list buffers, bytes widths, uint32_t slots, uint32_t max_parts,
                  uint32_t optout_plane, uint32_t bill_first=0, uint32_t bill_more=0):
        cdef Py_ssize_t i, count = len(widths)
        cdef uint32_t most = 0
        self.views = <Py_buffer *>malloc((len(buffers) + 1) * sizeof(Py_buffer))
        self.columns = <column *>malloc((count + 1) * sizeof(column))
        self.j.coder = (<coder *>PyCapsule_GetPointer(by.pointer, "volley.coder"))[0]
        for i in range(self.j.coder.count):
            most = max(most, limit_octets(&self.j.coder.of[i], max_parts))
        self.scratch = <uint8_t *>malloc(most + 8)
        if self.views == NULL or self.columns == NULL or self.scratch == NULL:
            raise MemoryError
        for buffer in buffers:
            PyObject_GetBuffer(buffer, &self.views[self.held], PyBUF_SIMPLE)
            self.held += 1
        if self.held != 2 + 3 * count or slots % 64 or not 0 < max_parts <= MAX_PARTS:
            raise ValueError(f"{self.held} buffers for {count} columns, {slots} slots, {max_parts} parts")
        self.j.flags = self.at_least(0, slots)
        self.j.msisdn = self.at_least(1, 8 * slots)
        for i in range(count):
            self.columns[i].data = self.at_least(3 * i + 2, (widths[i] or 4) * slots)
            self.columns[i].ends = self.at_least(3 * i + 3, 0 if widths[i] else 4 * slots)
            self.columns[i].heap = self.at_least(3 * i + 4, 0)
            self.columns[i].heap_octets = self.views[3 * i + 4].len
        self.program, self.coder = program, by  # keep alive what the job points to
        ops, pieces, heap, leaps, possible, key = program
        self.j.ops = <const op *><const char *><bytes>ops
        self.j.op_count = len(ops) // sizeof(op)
        self.j.pieces = <const piece *><const char *><bytes>pieces
        self.j.heap = <const uint8_t *><const char *><bytes>heap
        self.j.leaps = <const crc_leap *><const char *><bytes>leaps
        self.j.possible = possible
        if key is not None:
            self.j.coupon = coupon_key_of(<const uint8_t *><const char *><bytes>key)
        self.j.met = self.met if by.look_alikes else NULL
        self.j.bill_first, self.j.bill_more = bill_first, bill_more
        self.j.columns = self.columns
        self.j.slots = slots
        self.j.max_parts = max_parts
        self.j.optout_plane = optout_plane

    cdef const uint8_t *at_least(self, Py_ssize_t index, Py_ssize_t octets) except? NULL:
        if self.views[index].len < octets:
            raise ValueError(f"buffer {index} has {self.views[index].len} octets, {octets} are needed")
        return <const uint8_t *>self.views[index].buf

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])
        free(self.views)
        free(self.columns)
        free(self.scratch)


def render(Held held not None, const uint8_t[::1] todo, const uint8_t[::1] audience, uint32_t rank_base,
           uint32_t first_member, uint32_t seed, uint32_t max_rows):
    """(rows, octets, count, last_slot, members)."""
    cdef Py_ssize_t words = min(todo.shape[0], audience.shape[0]) // 8
    cdef Py_ssize_t room = <Py_ssize_t>max_rows + held.j.max_parts
    cdef taken t
    if todo.shape[0] != audience.shape[0] or todo.shape[0] % 8 or not words or not 0 < max_rows <= 1 << 20:
        raise ValueError(f"todo {todo.shape[0]}, audience {audience.shape[0]} octets, {max_rows} rows")
    rows = PyByteArray_FromStringAndSize(NULL, room * <Py_ssize_t>sizeof(part_row))
    octets = PyByteArray_FromStringAndSize(NULL, room * 160 + 16)
    cdef part_row *row = <part_row *>PyByteArray_AS_STRING(rows)
    cdef uint8_t *out = <uint8_t *>PyByteArray_AS_STRING(octets)
    held.j.first_member = first_member
    with nogil:
        render_slots(&held.j, &todo[0], &audience[0], words, rank_base, seed, max_rows, row, out, held.scratch, &t)
    PyByteArray_Resize(rows, t.rows * <Py_ssize_t>sizeof(part_row))
    PyByteArray_Resize(octets, t.octets)
    return rows, octets, t.rows, t.last_slot, t.members


def skip(const uint8_t[::1] skipped, const uint8_t[::1] audience, uint32_t rank_base, uint32_t first_member,
         uint8_t decision, uint32_t max_rows):
    """(rows, count, last_slot)."""
    cdef Py_ssize_t words = audience.shape[0] // 8
    cdef taken t
    if skipped.shape[0] != audience.shape[0] or audience.shape[0] % 8 or not words or not 0 < max_rows <= 1 << 20:
        raise ValueError(f"skipped {skipped.shape[0]}, audience {audience.shape[0]} octets, {max_rows} rows")
    rows = PyByteArray_FromStringAndSize(NULL, min(<Py_ssize_t>max_rows, 64 * words) * <Py_ssize_t>sizeof(part_row))
    cdef part_row *row = <part_row *>PyByteArray_AS_STRING(rows)
    with nogil:
        skip_slots(&skipped[0], &audience[0], words, rank_base, first_member, decision, max_rows, row, &t)
    PyByteArray_Resize(rows, t.rows * <Py_ssize_t>sizeof(part_row))
    return rows, t.rows, t.last_slot


def count(Held held not None, const uint8_t[::1] todo):
    """(decisions {number: n}, parts {number: n}, billed {number: n}, ucs2, longest [(slot, parts, octets)], the look-alikes'
    characters met)."""
    cdef histogram h
    cdef Py_ssize_t words = todo.shape[0] // 8, i
    memset(&h, 0, sizeof(h))
    if todo.shape[0] % 8 or not words:
        raise ValueError(f"todo of {todo.shape[0]} octets")
    with nogil:
        count_slots(&held.j, &todo[0], words, held.scratch, &h)
    return (
        {i: h.decisions[i] for i in range(256) if h.decisions[i]},
        {i: h.parts[i] for i in range(MAX_PARTS + 1) if h.parts[i]},
        {i: h.billed[i] for i in range(BILLED + 1) if h.billed[i]},
        h.ucs2,
        [(h.longest[i].slot, h.longest[i].parts, h.longest[i].octets) for i in range(h.longest_count)],
        [character for i, character in enumerate(held.coder.look_alikes) if held.met[i >> 6] >> (i & 63) & 1],
    )
