"""A value of the outcome log as several of bounded length, each whole by itself; the GIL released while it is cut.

Rests on: records/outcome_log.h.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from dispatcher.records.layouts cimport LOG_MAGIC, LOG_RUNS, log_header, log_record, log_record_octets, log_run


cdef enum:
    SEEN = 4096 // 8        # LOG_RUNS bits

cdef struct cut:
    size_t at, octets       # of its records in the value
    uint32_t records, runs

if LOG_RUNS != 8 * SEEN:
    raise ImportError(f"_log_values knows {8 * SEEN} runs, outcome_log.h has {LOG_RUNS}")


def split(value, size_t most):
    """The values that `value` becomes: as many records in each as fit into `most` octets with what its runs need, at
    least one; in order, of the same moment and endpoint. Itself where it is no longer. ValueError for octets that are no
    value."""
    cdef const uint8_t[::1] octets = value
    cdef size_t length = octets.shape[0], at = sizeof(log_header), end
    cdef const uint8_t *p
    cdef const log_header *h
    cdef uint8_t[SEEN] seen
    cdef cut c
    if length <= most:
        return [value]
    p = &octets[0]
    h = <const log_header *>p
    end = at + h.octets
    if h.magic != LOG_MAGIC or end + h.runs * sizeof(log_run) > length:
        raise ValueError(f"no value of the outcome log: {length} octets, magic {h.magic:#06x}")
    found = []
    while at < end:
        with nogil:
            next_cut(p, at, end, most, seen, &c)
        if c.records == 0:
            raise ValueError(f"a record of the outcome log is cut off at octet {at}")
        found.append(cut_out(p, &c, seen))
        at += c.octets
    return found


cdef void next_cut(const uint8_t *p, size_t at, size_t end, size_t most, uint8_t *seen, cut *c) noexcept nogil:
    """How far the records from `at` on fit; seen: the bits of their runs"""
    cdef size_t size
    cdef uint32_t run, new
    c.at, c.octets, c.records, c.runs = at, 0, 0, 0
    memset(seen, 0, SEEN)
    while at < end:
        size = log_record_octets(p + at, end - at)
        run = (<const log_record *>(p + at)).run % (8 * SEEN)
        new = not seen[run >> 3] >> (run & 7) & 1
        if size == 0 or c.records and sizeof(log_header) + c.octets + size + (c.runs + new) * sizeof(log_run) > most:
            return
        seen[run >> 3] |= 1 << (run & 7)
        c.octets += size
        c.records += 1
        c.runs += new
        at += size


cdef bytearray cut_out(const uint8_t *p, const cut *c, const uint8_t *seen):
    """A value of these records alone, with the runs that they name"""
    cdef const log_header *h = <const log_header *>p
    cdef const log_run *run = <const log_run *>(p + sizeof(log_header) + h.octets)
    cdef uint32_t i, runs = 0
    cdef bytearray out = PyByteArray_FromStringAndSize(
        NULL, sizeof(log_header) + c.octets + c.runs * sizeof(log_run)
    )
    cdef uint8_t *q = <uint8_t *>PyByteArray_AS_STRING(out)
    cdef log_header *mine = <log_header *>q
    mine[0] = h[0]
    mine.records, mine.octets = c.records, <uint32_t>c.octets
    q += sizeof(log_header)
    memcpy(q, p + c.at, c.octets)
    q += c.octets
    for i in range(h.runs):
        if runs < c.runs and seen[run[i].run % (8 * SEEN) >> 3] >> (run[i].run & 7) & 1:
            memcpy(q, &run[i], sizeof(log_run))
            q += sizeof(log_run)
            runs += 1
    mine.runs = runs
    del out[sizeof(log_header) + c.octets + runs * sizeof(log_run):]
    return out
