"""Matching compiled, GIL released: the loops are in fastmatch.h, the names and promises in fastmatch.py."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset


cdef extern from "fastmatch.h" nogil:
    enum:
        FM_SLOTS_MAX, FM_WORDS_MAX, FM_BAD_PROGRAM, FM_BAD_ARRAY, FM_BAD_TEXT
    ctypedef struct fm_array:
        const uint8_t *data
        int64_t octets
    int64_t fm_run(const uint8_t *program, int64_t octets, const fm_array *arrays, int64_t array_count, int slots,
                   uint8_t *out, uint64_t *tallies, int64_t tally_count)
    int64_t fm_popcount_octets(const uint8_t *data, int64_t octets)


def match_block(bytes program not None, list arrays not None, Py_ssize_t slots, out, tallies):
    cdef Py_ssize_t count = len(arrays), held = 0
    cdef Py_buffer out_buffer, tally_buffer
    cdef Py_buffer *buffers
    cdef fm_array *columns
    cdef int64_t result = 0, octets = len(program), tally_count = 0
    cdef const uint8_t *code = program
    cdef uint64_t *tally = NULL
    if slots < 0 or slots > FM_SLOTS_MAX or slots % 64:
        raise ValueError(f"slots {slots}: a multiple of 64 up to {FM_SLOTS_MAX}")
    buffers = <Py_buffer *>malloc((count + 1) * sizeof(Py_buffer))
    columns = <fm_array *>calloc(count + 1, sizeof(fm_array))
    if buffers is NULL or columns is NULL:
        free(buffers)
        free(columns)
        raise MemoryError
    memset(&out_buffer, 0, sizeof(Py_buffer))  # releasing an empty one does nothing
    memset(&tally_buffer, 0, sizeof(Py_buffer))
    try:
        PyObject_GetBuffer(out, &out_buffer, PyBUF_WRITABLE)
        if out_buffer.len < FM_WORDS_MAX * 8:
            raise ValueError(f"out has {out_buffer.len} octets, {FM_WORDS_MAX * 8} are needed")
        if tallies is not None:
            PyObject_GetBuffer(tallies, &tally_buffer, PyBUF_WRITABLE)
            if <size_t>tally_buffer.buf % sizeof(uint64_t):
                raise ValueError("tallies are not aligned to 8 octets: use array('Q')")
            tally = <uint64_t *>tally_buffer.buf
            tally_count = tally_buffer.len // 8
        while held < count:
            PyObject_GetBuffer(arrays[held], &buffers[held], PyBUF_SIMPLE)
            columns[held].data = <const uint8_t *>buffers[held].buf
            columns[held].octets = buffers[held].len
            held += 1
        with nogil:
            result = fm_run(code, octets, columns, count, <int>slots, <uint8_t *>out_buffer.buf, tally, tally_count)
    finally:
        while held:
            held -= 1
            PyBuffer_Release(&buffers[held])
        PyBuffer_Release(&out_buffer)
        PyBuffer_Release(&tally_buffer)
        free(buffers)
        free(columns)
    if result >= 0:
        return result
    if result == FM_BAD_PROGRAM:
        raise ValueError("the program is not one that fastmatch.Assembler makes")
    if result == FM_BAD_ARRAY:
        raise ValueError(f"an array is missing or shorter than {slots} slots ask for")
    if result == FM_BAD_TEXT:
        raise ValueError("a text column's offsets point outside its heap")
    raise MemoryError


def count_bits(bitmap):
    cdef Py_buffer buffer
    cdef int64_t bits
    PyObject_GetBuffer(bitmap, &buffer, PyBUF_SIMPLE)
    try:
        with nogil:
            bits = fm_popcount_octets(<const uint8_t *>buffer.buf, buffer.len)
    finally:
        PyBuffer_Release(&buffer)
    return bits
