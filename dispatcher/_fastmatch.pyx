"""Matching compiled, GIL released: the loops are in fastmatch*.h, the names and promises in fastmatch.py."""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset


cdef extern from "fastmatch_scan.h" nogil:
    enum:
        FM_SLOTS_MAX, FM_WORDS_MAX, FM_BAD_PROGRAM, FM_BAD_ARRAY, FM_BAD_TEXT, FM_BAD_CHANGE, FM_OK, FM_TEXT
    ctypedef struct column_block:
        pass
    ctypedef struct fm_array:
        const uint8_t *data
        int64_t octets
        uint32_t slots
    ctypedef struct fm_use:
        uint8_t kind
    ctypedef struct fm_program:
        fm_use *uses
        int64_t count, columns, tallies
    ctypedef struct fm_loops:
        const char *name
        int64_t (*popcount)(const uint64_t *a, int words) noexcept nogil
        int64_t (*members)(const uint64_t *a, int words, uint32_t base, uint32_t *out) noexcept nogil
    ctypedef struct fs_scan:
        const fm_loops *loops
        const fm_program *program
        const column_block **blocks
        const column_block **aside
        const uint8_t **edges
        const int64_t *edge_counts
        const uint32_t *numbers
        int64_t changed
        uint64_t *tallies
        uint64_t *zoned
    const fm_loops *fm_best()
    const fm_loops *fm_named(const char *name)
    int fm_open(const uint8_t *octets, int64_t length, fm_program *p)
    void fm_close(fm_program *p)
    int64_t fm_run(const fm_loops *loops, const uint8_t *program, int64_t octets, const fm_array *arrays, int64_t array_count,
                   int slots, uint32_t first, uint8_t *out, uint64_t *tallies, int64_t tally_count)
    int64_t fs_run(const fs_scan *s, uint32_t first, uint32_t end, uint8_t *bitmaps)
    const uint8_t *fs_unknown(int kind)
    uint64_t fm_mix64(uint64_t x)
    uint64_t fm_bits(uint64_t x)

cdef const fm_loops *loops = fm_best()
fs_unknown(0)  # written once, before any thread reads it


def use_isa(str name):
    global loops
    cdef bytes wanted = name.encode()
    cdef const fm_loops *found = fm_named(wanted)
    if found is NULL:
        raise ValueError(f"this machine has no instruction set {name!r} to match with")
    before = loops.name.decode()
    loops = found
    return before


if os.environ.get("VOLLEY_ISA"):
    use_isa(os.environ["VOLLEY_ISA"])


def mix64(uint64_t x):
    return fm_mix64(x)


cdef object complain(int64_t result):
    if result == FM_BAD_PROGRAM:
        return ValueError("the program is not one that fastmatch.Assembler makes")
    if result == FM_BAD_ARRAY:
        return ValueError("an array is missing or shorter than the slots ask for")
    if result == FM_BAD_TEXT:
        return ValueError("a text column's offsets point outside its heap")
    if result == FM_BAD_CHANGE:
        return ValueError("a delta row is not one of its columns")
    return MemoryError()


cdef class Held:
    """Buffers held for the length of a call."""

    cdef Py_buffer *buffers
    cdef Py_ssize_t count, room

    def __cinit__(self, Py_ssize_t room):
        self.buffers = <Py_buffer *>calloc(room + 1, sizeof(Py_buffer))
        self.room = room
        if self.buffers is NULL:
            raise MemoryError

    cdef Py_buffer *hold(self, thing, int flags=PyBUF_SIMPLE) except NULL:
        assert self.count < self.room
        PyObject_GetBuffer(thing, &self.buffers[self.count], flags)
        self.count += 1
        return &self.buffers[self.count - 1]

    def __dealloc__(self):
        while self.count:
            self.count -= 1
            PyBuffer_Release(&self.buffers[self.count])
        free(self.buffers)


cdef uint64_t *counters(Held held, thing, int64_t *count) except? NULL:
    count[0] = 0
    if thing is None:
        return NULL
    cdef Py_buffer *buffer = held.hold(thing, PyBUF_WRITABLE)
    if <size_t>buffer.buf % sizeof(uint64_t):
        raise ValueError("counters are not aligned to 8 octets: use array('Q')")
    count[0] = buffer.len // 8
    return <uint64_t *>buffer.buf


def match_block(bytes program not None, list arrays not None, Py_ssize_t slots, out, tallies, uint32_t first):
    cdef Py_ssize_t count = len(arrays), i
    cdef Held held = Held(count + 2)
    cdef Py_buffer *buffer
    cdef fm_array *columns
    cdef int64_t result = 0, octets = len(program), tally_count = 0
    cdef const uint8_t *code = program
    cdef uint64_t *tally
    cdef uint8_t *bitmap
    if slots < 0 or slots > FM_SLOTS_MAX or slots % 64:
        raise ValueError(f"slots {slots}: a multiple of 64 up to {FM_SLOTS_MAX}")
    buffer = held.hold(out, PyBUF_WRITABLE)
    if buffer.len < FM_WORDS_MAX * 8:
        raise ValueError(f"out has {buffer.len} octets, {FM_WORDS_MAX * 8} are needed")
    bitmap = <uint8_t *>buffer.buf
    tally = counters(held, tallies, &tally_count)
    columns = <fm_array *>calloc(count + 1, sizeof(fm_array))
    if columns is NULL:
        raise MemoryError
    try:
        for i in range(count):
            buffer = held.hold(arrays[i])
            columns[i].data = <const uint8_t *>buffer.buf
            columns[i].octets = buffer.len
            columns[i].slots = <uint32_t>slots
        with nogil:
            result = fm_run(loops, code, octets, columns, count, <int>slots, first, bitmap, tally, tally_count)
    finally:
        free(columns)
    if result < 0:
        raise complain(result)
    return result


cdef int records_of(Held held, list columns, const fm_program *opened, Py_ssize_t wanted, const column_block **to) except -1:
    """The columns' records by position; 0 when one that the program reads is missing or shorter than `wanted`."""
    cdef Py_ssize_t i
    cdef Py_buffer *buffer
    for i in range(len(columns)):
        if columns[i] is not None:
            buffer = held.hold(columns[i])
            if buffer.len < wanted * <Py_ssize_t>sizeof(column_block):
                return 0
            to[i] = <const column_block *>buffer.buf
        elif i < opened.columns and opened.uses[i].kind:
            return 0
    return 1


def match_blocks(bytes program not None, list columns not None, list edges not None, list aside not None, numbers, int64_t changed,
                 uint32_t first, uint32_t end, bitmaps, tallies, zoned):
    cdef Py_ssize_t count = len(columns), i
    cdef Held held = Held(3 * count + 5)
    cdef fs_scan scan
    cdef fm_program opened
    cdef Py_buffer *buffer
    cdef int64_t result, tally_count = 0, zoned_count = 0, octets = len(program)
    cdef const uint8_t *code = program
    cdef uint8_t *out = NULL
    cdef const column_block **blocks = <const column_block **>calloc(2 * count + 1, sizeof(column_block *))
    cdef const uint8_t **at_edges = <const uint8_t **>calloc(count + 1, sizeof(uint8_t *))
    cdef int64_t *edge_counts = <int64_t *>calloc(count + 1, sizeof(int64_t))
    memset(&scan, 0, sizeof(scan))
    result = fm_open(code, octets, &opened)
    try:
        if blocks is NULL or at_edges is NULL or edge_counts is NULL:
            raise MemoryError
        if len(edges) != count or len(aside) != count or end < first or changed < 0:
            raise ValueError("edges, aside and columns differ in number, or the range ends before it begins")
        scan.tallies = counters(held, tallies, &tally_count)
        scan.zoned = counters(held, zoned, &zoned_count)
        if result == FM_OK and (opened.tallies > tally_count or (zoned is not None and zoned_count < opened.count)):
            result = FM_BAD_PROGRAM
        if result == FM_OK and (opened.columns > count or not records_of(held, columns, &opened, end, blocks)):
            result = FM_BAD_ARRAY
        for i in range(count):
            if edges[i] is not None:
                buffer = held.hold(edges[i])
                at_edges[i], edge_counts[i] = <const uint8_t *>buffer.buf, buffer.len // 8
        if changed and result == FM_OK:
            i = (changed + FM_SLOTS_MAX - 1) // FM_SLOTS_MAX
            if not records_of(held, aside, &opened, i, blocks + count):
                result = FM_BAD_ARRAY
            buffer = held.hold(numbers)
            if buffer.len < 4 * i * FM_SLOTS_MAX:
                result = FM_BAD_ARRAY
            scan.numbers, scan.changed = <const uint32_t *>buffer.buf, changed
        if bitmaps is not None:
            buffer = held.hold(bitmaps, PyBUF_WRITABLE)
            if buffer.len < (end - first) * <Py_ssize_t>(FM_WORDS_MAX * 8):
                raise ValueError(f"bitmaps of {buffer.len} octets for {end - first} blocks")
            out = <uint8_t *>buffer.buf
        if result == FM_OK:
            scan.loops = loops
            scan.program = &opened
            scan.blocks = blocks
            scan.aside = blocks + count
            scan.edges = at_edges
            scan.edge_counts = edge_counts
            with nogil:
                result = fs_run(&scan, first, end, out)
    finally:
        fm_close(&opened)
        free(blocks)
        free(at_edges)
        free(edge_counts)
    if result < 0:
        raise complain(result)
    return result


def uses(bytes program not None):
    cdef fm_program opened
    cdef int64_t result = fm_open(program, len(program), &opened), i
    try:
        if result < 0:
            raise complain(result)
        return [opened.uses[i].kind for i in range(opened.columns)]
    finally:
        fm_close(&opened)


def count_bits(bitmap):
    cdef Py_buffer buffer
    cdef uint64_t bits
    cdef Py_ssize_t i, words
    PyObject_GetBuffer(bitmap, &buffer, PyBUF_SIMPLE)
    try:
        words = buffer.len // 8
        bits = 0
        for i in range(8 * words, buffer.len):
            bits += fm_bits((<const uint8_t *>buffer.buf)[i])
        with nogil:
            bits += <uint64_t>loops.popcount(<const uint64_t *>buffer.buf, <int>words)
    finally:
        PyBuffer_Release(&buffer)
    return bits


def members_of(bitmaps, uint32_t first_no, out):
    cdef Held held = Held(2)
    cdef Py_buffer *source = held.hold(bitmaps)
    cdef Py_buffer *to = held.hold(out, PyBUF_WRITABLE)
    cdef int words = <int>(source.len // 8)
    cdef int64_t count
    cdef const uint64_t *bits = <const uint64_t *>source.buf
    cdef uint32_t *numbers = <uint32_t *>to.buf
    with nogil:
        count = loops.popcount(bits, words)
    if to.len < 4 * (count + 16):
        raise ValueError(f"{to.len} octets for {count} members and 16 more")
    with nogil:
        count = loops.members(bits, words, first_no, numbers)
    return count
