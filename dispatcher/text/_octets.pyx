"""Texts to short_message octets and the cuts of long ones, compiled: see octets.h; meaning in tests/reference/coding.py."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset


cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    const void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    uint32_t PyUnicode_READ(int kind, const void *data, Py_ssize_t index) nogil


cdef extern from "octets.h" nogil:
    enum: MAX_PARTS, EXPANDED, EXPANSIONS, NONE_OF_IT, CODES, BREAKS
    ctypedef struct expansion:
        uint8_t octets
        uint8_t *text
    ctypedef struct alphabet:
        uint16_t *codes
        uint16_t feff
        uint8_t *plain
        uint8_t **classes
        const expansion *expansions
        const uint8_t *breaks
        uint32_t alone, each
        uint8_t ucs2, data_coding, elements, packed
        uint8_t *element
    ctypedef struct coder:
        const alphabet *of
        const alphabet *plain
        uint32_t count
        uint8_t told
    int table_put(const alphabet *a, uint32_t code, uint8_t *w, uint64_t *met)
    int ucs2_put(uint32_t code, uint8_t *w)
    uint32_t cut_parts(const alphabet *a, const uint8_t *text, uint32_t octets, uint32_t max, uint32_t *ends)
    uint32_t units_of(const alphabet *a, const uint8_t *text, uint32_t octets)
    uint32_t pack_septets(uint8_t *w, const uint8_t *septets, uint32_t n, uint32_t bits)
    uint32_t fill_bits(uint32_t udh_octets)
    uint32_t put_udh(const alphabet *a, int told, uint8_t *w, uint16_t reference, uint32_t parts, uint32_t part)


cdef extern from "crc32.h" nogil:
    void crc32_init()
    uint32_t crc32_update(uint32_t register, const uint8_t *p, size_t n)


crc32_init()


cdef class Coder:
    """Alphabets in the order they are tried, UCS-2 last where it is taken, and how parts are told.

    Each is (data_coding, {character: octets} or None for UCS-2, {character: octets that stand for it}, elements of a UDH,
    octets a part holds alone, and among others, whether septets are packed).
    """
    cdef coder c
    cdef alphabet *alphabets
    cdef expansion *expansions
    cdef readonly tuple look_alikes     # the characters that stand-ins are for, by their bit in `met`
    cdef bytes breaks

    def __cinit__(self, list alphabets, int told, bytes breaks):
        cdef Py_ssize_t i
        if len(breaks) != BREAKS or not alphabets:
            raise ValueError("alphabets, and a class for each character")
        self.alphabets = <alphabet *>calloc(len(alphabets) + 1, sizeof(alphabet))
        self.expansions = <expansion *>calloc(EXPANSIONS, sizeof(expansion))
        if self.alphabets == NULL or self.expansions == NULL:
            raise MemoryError
        self.breaks, self.look_alikes = breaks, ()
        self.c.of, self.c.count, self.c.told = self.alphabets, len(alphabets), told
        self.c.plain = &self.alphabets[len(alphabets)]
        for i, (data_coding, table, look_alikes, elements, alone, each, packed) in enumerate(alphabets):
            a = &self.alphabets[i]
            a.packed = packed
            a.breaks = <const uint8_t *><const char *>breaks
            a.data_coding, a.alone, a.each = data_coding, alone, each
            if len(elements) > 8:
                raise ValueError("elements: at most 8 octets")
            a.elements = len(elements)
            memcpy(a.element, <const uint8_t *><const char *><bytes>elements, len(elements))
            a.ucs2 = table is None
            if table is not None:
                self._fill(a, table)
                if look_alikes:
                    memcpy(&self.alphabets[len(alphabets)], a, sizeof(alphabet))
                    self._expand(a, look_alikes)

    cdef int _fill(self, alphabet *a, dict table) except -1:
        cdef uint32_t code
        cdef uint16_t value
        memset(a.codes, 0xFF, CODES * 2)
        memset(a.plain, 0x80, 256)
        a.feff = NONE_OF_IT
        for character, octets in table.items():
            code, value = ord(character), int.from_bytes(octets)
            if len(octets) > 2 or (len(octets) == 2 and octets[0] != 0x1B):
                raise ValueError(f"{character!r} is one octet, or a pair with ESC")
            if code >= CODES:
                raise ValueError(f"the kernel's table has no room for {character!r}")
            a.codes[code] = value
            if code < 0x80 and value < 0x80:
                a.plain[code] = <uint8_t>value
            a.classes[len(octets) - 1][octets[len(octets) - 1]] = self.breaks[code]
        for code in (0, 0x1B):
            a.codes[code], a.plain[code] = a.codes[0x20], a.plain[0x20]
        return 0

    cdef int _expand(self, alphabet *a, dict look_alikes) except -1:
        cdef uint32_t code, i
        if len(look_alikes) > EXPANSIONS or self.look_alikes:
            raise ValueError("one table of look-alikes, of a certain size")
        self.look_alikes = tuple(look_alikes)
        a.expansions = self.expansions
        for i, (character, octets) in enumerate(look_alikes.items()):
            code = ord(character)
            if (code >= CODES and code != 0xFEFF) or len(octets) > 4:
                raise ValueError(f"the kernel's table has no room for {character!r}")
            self.expansions[i].octets = len(octets)
            memcpy(self.expansions[i].text, <const uint8_t *><const char *><bytes>octets, len(octets))
            if code < CODES:
                a.codes[code] = EXPANDED | i
                if code < 0x80:
                    a.plain[code] = 0x80
            else:
                a.feff = EXPANDED | i
        return 0

    @property
    def pointer(self):
        """For kernels of other rooms, as long as they hold this object."""
        return PyCapsule_New(&self.c, "volley.coder", NULL)

    def __dealloc__(self):
        free(self.alphabets)
        free(self.expansions)

    def encode(self, str text not None, uint32_t first=0):
        """(which alphabet, from `first` on, octets); None where none has all of it."""
        cdef int kind = PyUnicode_KIND(text)
        cdef const void *data = PyUnicode_DATA(text)
        cdef Py_ssize_t n = PyUnicode_GET_LENGTH(text), i, at = 0
        cdef int octets = 0
        cdef uint32_t no
        cdef const alphabet *a
        cdef bytes out = PyBytes_FromStringAndSize(NULL, 4 * n + 8)
        cdef uint8_t *w = <uint8_t *>PyBytes_AS_STRING(out)
        for no in range(first, self.c.count):
            a, at, octets = &self.c.of[no], 0, 0
            with nogil:
                for i in range(n):
                    octets = ucs2_put(PyUnicode_READ(kind, data, i), w + at) if a.ucs2 else table_put(a, PyUnicode_READ(kind, data, i), w + at, NULL)
                    if octets < 0:
                        break
                    at += octets
            if octets >= 0:
                return no, out[:at]
        return None

    def cuts(self, uint32_t which, const uint8_t[::1] octets, uint32_t max_parts=MAX_PARTS):
        """Where each part of a text in the alphabet `which` ends; empty when there are more than `max_parts`."""
        cdef uint32_t ends[MAX_PARTS]
        cdef uint8_t nothing = 0
        cdef const uint8_t *text = &octets[0] if octets.shape[0] else &nothing
        cdef uint32_t i, parts
        if which >= self.c.count or octets.shape[0] > 0x7FFFFFFF or (self.alphabets[which].ucs2 and octets.shape[0] % 2):
            raise ValueError(f"{octets.shape[0]} octets are no encoded text")
        parts = cut_parts(&self.alphabets[which], text, <uint32_t>octets.shape[0], min(max_parts, <uint32_t>MAX_PARTS), ends)
        return [ends[i] for i in range(parts)]

    def units(self, uint32_t which, const uint8_t[::1] octets):
        """Characters of a text in the alphabet `which`, as UTF-16 units."""
        if which >= self.c.count:
            raise ValueError("no such alphabet")
        return units_of(&self.alphabets[which], &octets[0], <uint32_t>octets.shape[0]) if octets.shape[0] else 0

    def udh(self, uint32_t which, uint16_t reference, uint32_t parts, uint32_t part):
        """The user data header of a part (from 1)."""
        cdef uint8_t header[16]
        if which >= self.c.count:
            raise ValueError("no such alphabet")
        cdef uint32_t n = put_udh(&self.alphabets[which], self.c.told, header, reference, parts, part)
        return (<const char *>header)[:n]

    def body(self, uint32_t which, const uint8_t[::1] octets, uint32_t udh_octets=0):
        """What a part carries of a text in the alphabet `which`: the octets, or their septets packed behind a header."""
        if which >= self.c.count:
            raise ValueError("no such alphabet")
        if not self.alphabets[which].packed or not octets.shape[0]:
            return bytes(octets)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, octets.shape[0] + 8)
        return out[:pack_septets(<uint8_t *>PyBytes_AS_STRING(out), &octets[0], <uint32_t>octets.shape[0], fill_bits(udh_octets))]


def crc32(const uint8_t[::1] octets):
    """As zlib.crc32."""
    if not octets.shape[0]:
        return 0
    return ~crc32_update(0xFFFFFFFF, &octets[0], octets.shape[0]) & 0xFFFFFFFF
