"""Texts to short_message octets and the cuts of long ones, compiled: see octets.h; meaning in tests/reference/octets.py."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from dispatcher.text.alphabet import DATA_CODING_GSM7, DATA_CODING_UCS2, GSM7


cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    const void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    uint32_t PyUnicode_READ(int kind, const void *data, Py_ssize_t index) nogil


cdef extern from "octets.h" nogil:
    enum: MAX_PARTS
    void gsm_clear()
    int gsm_set(uint32_t code, uint16_t value)
    int gsm_put(uint32_t code, uint8_t *w)
    int ucs2_put(uint32_t code, uint8_t *w)
    uint32_t cut_parts(const uint8_t *text, uint32_t octets, int ucs2, uint32_t max, uint32_t *ends)


cdef extern from "crc32.h" nogil:
    void crc32_init()
    uint32_t crc32_update(uint32_t register, const uint8_t *p, size_t n)


gsm_clear()
crc32_init()
for _character, _octets in GSM7.items():
    if gsm_set(ord(_character), int.from_bytes(_octets)):
        raise ImportError(f"the kernel's table has no room for {_character!r}")


def encode(str text not None):
    """(data_coding, octets)."""
    cdef int kind = PyUnicode_KIND(text)
    cdef const void *data = PyUnicode_DATA(text)
    cdef Py_ssize_t n = PyUnicode_GET_LENGTH(text), i, at = 0
    cdef int octets
    cdef bytes out = PyBytes_FromStringAndSize(NULL, 2 * n)
    cdef uint8_t *w = <uint8_t *>PyBytes_AS_STRING(out)
    with nogil:
        for i in range(n):
            octets = gsm_put(PyUnicode_READ(kind, data, i), w + at)
            if octets < 0:
                break
            at += octets
        else:
            octets = 0
    if octets >= 0:
        return DATA_CODING_GSM7, out[:at]
    out = PyBytes_FromStringAndSize(NULL, 4 * n)
    w = <uint8_t *>PyBytes_AS_STRING(out)
    at = 0
    with nogil:
        for i in range(n):
            at += ucs2_put(PyUnicode_READ(kind, data, i), w + at)
    return DATA_CODING_UCS2, out[:at]


def cuts(const uint8_t[::1] octets, bint ucs2, uint32_t max_parts=MAX_PARTS):
    """Where each part ends; empty when there are more than `max_parts`."""
    cdef uint32_t ends[MAX_PARTS]
    cdef uint8_t nothing = 0
    cdef const uint8_t *text = &octets[0] if octets.shape[0] else &nothing
    cdef uint32_t i, parts
    if octets.shape[0] > 0x7FFFFFFF or (ucs2 and octets.shape[0] % 2):
        raise ValueError(f"{octets.shape[0]} octets are no encoded text")
    parts = cut_parts(text, <uint32_t>octets.shape[0], ucs2, min(max_parts, <uint32_t>MAX_PARTS), ends)
    return [ends[i] for i in range(parts)]


def crc32(const uint8_t[::1] octets):
    """As zlib.crc32."""
    if not octets.shape[0]:
        return 0
    return ~crc32_update(0xFFFFFFFF, &octets[0], octets.shape[0]) & 0xFFFFFFFF
