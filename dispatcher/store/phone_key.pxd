# A number's key in the tables of numbers (layout.py), big-endian: tenant:2 number:8.
from libc.stdint cimport uint8_t, uint16_t, uint64_t


cdef enum:
    KEY = 10


cdef inline void put_phone_key(uint8_t *to, uint16_t tenant, uint64_t number) noexcept nogil:
    cdef int i
    to[0], to[1] = tenant >> 8, tenant
    for i in range(8):
        to[2 + i] = <uint8_t>(number >> (56 - 8 * i))
