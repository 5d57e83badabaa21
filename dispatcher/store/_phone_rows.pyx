# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Rows of the tables of numbers, as a bulk load puts them: keys of a run, and rows made while they are walked.

Meaning: tests/reference/gather.py. Weak spot: a row that nobody else holds is written over in place, its hash with it;
that rests on CPython's reference counts (the interpreter with the GIL) and on `bytes` keeping its octets and hash inline.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from dispatcher.store.phone_key cimport KEY, put_phone_key

cdef extern from *:
    """
    static inline int unshared(PyObject *pair) {
        return Py_REFCNT(PyTuple_GET_ITEM(pair, 0)) == 1 && Py_REFCNT(PyTuple_GET_ITEM(pair, 1)) == 1;
    }
    static inline uint8_t *octets_of(PyObject *bytes) { return (uint8_t *)PyBytes_AS_STRING(bytes); }
    static inline void forget_hash(PyObject *bytes) {
        _Py_COMP_DIAG_PUSH _Py_COMP_DIAG_IGNORE_DEPR_DECLS
        ((PyBytesObject *)bytes)->ob_shash = -1;
        _Py_COMP_DIAG_POP
    }
    """
    bint unshared(PyObject *)
    uint8_t *octets_of(PyObject *)
    void forget_hash(PyObject *)

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void *)
    Py_ssize_t Py_REFCNT(PyObject *)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)


def phone_keys(uint16_t tenant, const uint64_t[::1] ordered, Py_ssize_t start, Py_ssize_t end):
    """Keys of table `phones` for the distinct numbers of ordered[start:end]."""
    cdef Py_ssize_t i
    cdef bytes key
    cdef list keys = []
    if not 0 <= start <= end <= ordered.shape[0]:
        raise ValueError("phone_keys: outside the run")
    for i in range(start, end):
        if i > start and ordered[i] == ordered[i - 1]:
            continue
        key = PyBytes_FromStringAndSize(NULL, KEY)
        put_phone_key(<uint8_t *>PyBytes_AS_STRING(key), tenant, ordered[i])
        keys.append(key)
    return keys


cdef class PhoneItems:
    """Rows of table `phones`, made one at a time as they are walked: numbers[i] belongs to member first_no + i.
    `owner` is whoever puts them (store/phones.py Sole)."""

    cdef readonly object owner
    cdef bytes _numbers
    cdef Py_ssize_t _count
    cdef uint16_t _tenant
    cdef uint32_t _first_no

    def __init__(self, uint16_t tenant, const uint64_t[::1] numbers, Py_ssize_t count, uint32_t first_no, owner=None):
        if not 0 <= count <= numbers.shape[0]:
            raise ValueError("phone_items: more than there are")
        self._numbers = PyBytes_FromStringAndSize(<const char *>&numbers[0] if count else NULL, 8 * count)
        self._tenant, self._count, self._first_no, self.owner = tenant, count, first_no, owner

    def __len__(self):
        return self._count

    def __iter__(self):
        cdef PhoneWalk walk = PhoneWalk.__new__(PhoneWalk)
        walk.items = self
        return walk


cdef class PhoneWalk:
    """A walk over PhoneItems. A row that nobody holds any more is written over by the next, as CPython's zip does."""

    cdef PhoneItems items
    cdef Py_ssize_t at
    cdef tuple item

    def __iter__(self):
        return self

    def __next__(self):
        cdef PhoneItems items = self.items
        cdef PyObject *held = <PyObject *>self.item
        cdef PyObject *key
        cdef PyObject *value
        cdef uint32_t member_no
        if self.at == items._count:
            raise StopIteration
        if self.at == 0 or Py_REFCNT(held) > 1 or not unshared(held):
            self.item = (PyBytes_FromStringAndSize(NULL, KEY), PyBytes_FromStringAndSize(NULL, 4))
            PyObject_GC_UnTrack(<void *>self.item)  # no cycle can go through it
            held = <PyObject *>self.item
        key, value = PyTuple_GET_ITEM(held, 0), PyTuple_GET_ITEM(held, 1)
        forget_hash(key)
        forget_hash(value)
        member_no = items._first_no + <uint32_t>self.at
        put_phone_key(octets_of(key), items._tenant, (<const uint64_t *>PyBytes_AS_STRING(items._numbers))[self.at])
        memcpy(octets_of(value), &member_no, 4)
        self.at += 1
        return self.item
