"""What a campaign's arrays add up to, compiled: GIL released, a chunk of ranks a call. tests/reference/report.py means it.

Arrays are those of the ledger by rank, as octets: decision and state one each, error, submit_s and final_s four, little-
endian; one that is shorter than the decisions is 0 from there on.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from dispatcher.records.layouts cimport (
    K_ACCEPTED, K_RECEIPT, K_REFUSED, K_RETRY, K_UNCERTAIN, LOG_MAGIC, log_header, log_record, log_record_octets, log_run,
)

cdef enum:
    SENT = 1
    DELIVERED = 4
    EXPIRED = 5
    FAILED = 6
    EXACT_S = 3600        # delays of a second each up to here, then of a minute
    ERRORS = 1024         # slots of a table of errors; the last is of those that find no other
    LOOKED = 64
    OTHER = 0xFFFFFFFF


cdef inline uint32_t _u32(const uint8_t[::1] array, Py_ssize_t rank) noexcept nogil:
    cdef uint32_t v
    if 4 * rank + 4 > array.shape[0]:
        return 0
    memcpy(&v, &array[4 * rank], 4)
    return v


def span(const uint8_t[::1] decision, const uint8_t[::1] submit, const uint8_t[::1] final_):
    """(first submit, last submit, last final) in seconds of those sent; (0, 0, 0) for nobody."""
    cdef Py_ssize_t r, n = decision.shape[0]
    cdef uint32_t s, f, low = 0xFFFFFFFFU, high = 0, last = 0
    with nogil:
        for r in range(n):
            if decision[r] != SENT:
                continue
            s = _u32(submit, r)
            f = _u32(final_, r)
            if s and s < low:
                low = s
            if s > high:
                high = s
            if f > last:
                last = f
    return (low if high else 0, high, last)


def tally(
    const uint8_t[::1] decision, const uint8_t[::1] state, const uint8_t[::1] error, const uint8_t[::1] submit,
    const uint8_t[::1] final_, uint32_t begin_s, uint32_t bucket_s, uint32_t[:, ::1] line, uint64_t[::1] delays,
    uint64_t[:, ::1] errors, uint32_t since_s,
):
    """Of those sent. line[bucket] += 1 of [sent, delivered, failed] by their times from begin_s on, the last bucket for
    all later; delays of the delivered; errors[slot] = (1 << 63 | state << 32 | error, count), the last slot for all that
    find no other. Returns how many became final at since_s or later."""
    cdef Py_ssize_t r, n = decision.shape[0], buckets = line.shape[0]
    cdef uint32_t s, f, e, d, changed = 0
    cdef uint8_t st
    if bucket_s == 0 or line.shape[1] != 3 or errors.shape[0] != ERRORS or errors.shape[1] != 2 or delays.shape[0] <= EXACT_S:
        raise ValueError("line: 3 a bucket; errors: 1,024 pairs")
    with nogil:
        for r in range(n):
            if decision[r] != SENT:
                continue
            st = state[r] if r < state.shape[0] else 0
            s = _u32(submit, r)
            f = _u32(final_, r)
            e = _u32(error, r)
            line[_bucket(s, begin_s, bucket_s, buckets), 0] += 1
            if f and f >= since_s:
                changed += 1
            if st == DELIVERED:
                line[_bucket(f, begin_s, bucket_s, buckets), 1] += 1
                d = f - s if f > s else 0
                if d >= EXACT_S:
                    d = EXACT_S + (d - EXACT_S) // 60
                delays[d if d < delays.shape[0] else delays.shape[0] - 1] += 1
            elif st == EXPIRED or st == FAILED:
                line[_bucket(f if f else s, begin_s, bucket_s, buckets), 2] += 1
            if e:
                _put(errors, <uint64_t>1 << 63 | <uint64_t>st << 32 | e)
    return changed


cdef inline Py_ssize_t _bucket(uint32_t at, uint32_t begin, uint32_t step, Py_ssize_t buckets) noexcept nogil:
    cdef Py_ssize_t b = (at - begin) // step if at > begin else 0
    return b if b < buckets else buckets - 1


cdef void _put(uint64_t[:, ::1] table, uint64_t key) noexcept nogil:
    """count a key; one that meets LOOKED others first, in the last slot, with all such"""
    cdef uint32_t at = <uint32_t>((key * <uint64_t>0x9E3779B97F4A7C15) >> 40) % (ERRORS - 1), looked = 0
    while table[at, 0] and table[at, 0] != key:
        at = at + 1 if at + 2 < ERRORS else 0
        looked += 1
        if looked == LOOKED:
            at, key = ERRORS - 1, <uint64_t>1 << 63 | <uint64_t>OTHER
            break
    table[at, 0] = key
    table[at, 1] += 1


def day(
    const uint8_t[::1] decision, const uint8_t[::1] state, const uint8_t[::1] parts, const uint8_t[::1] submit,
    const uint8_t[::1] final_, uint32_t begin_s, uint32_t end_s, uint32_t since_s, uint64_t[::1] counts,
):
    """Those sent whose last submit lies in [begin_s, end_s): counts[state] += 1, [16] parts, [17] final at end_s or
    later, [18] final at since_s or later; returns the last final time of them."""
    cdef Py_ssize_t r, n = decision.shape[0]
    cdef uint32_t s, f, last = 0
    if counts.shape[0] < 19:
        raise ValueError("19 counts")
    with nogil:
        for r in range(n):
            if decision[r] != SENT:
                continue
            s = _u32(submit, r)
            if s < begin_s or s >= end_s:
                continue
            f = _u32(final_, r)
            counts[(state[r] if r < state.shape[0] else 0) & 15] += 1
            counts[16] += parts[r] if r < parts.shape[0] else 0
            if f >= end_s:
                counts[17] += 1
            if f and f >= since_s:
                counts[18] += 1
            if f > last:
                last = f
    return last


def answers(const uint8_t[::1] value, uint64_t campaign, uint64_t[:, ::1] table):
    """What a log value says of a campaign, by kind: table[slot] = (1 << 63 | kind << 40 | state << 32 | status, count)
    like errors above, for accepted, refused, refused for now, uncertain and receipts; status is an error's, else 0."""
    cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
    cdef const log_header *h = <const log_header *>p
    cdef const log_record *x
    cdef const log_run *t
    cdef size_t at = sizeof(log_header), end, size
    cdef int run = -1
    cdef uint32_t i, status
    if value.shape[0] < <Py_ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC:
        raise ValueError("not a value of the outcome log")
    end = sizeof(log_header) + h.octets
    if end + h.runs * sizeof(log_run) > <size_t>value.shape[0]:
        raise ValueError("not a value of the outcome log")
    if table.shape[0] != ERRORS or table.shape[1] != 2:
        raise ValueError("1,024 pairs")
    t = <const log_run *>(p + end)
    for i in range(h.runs):
        if t[i].id == campaign:
            run = t[i].run
    if run < 0:
        return
    with nogil:
        while at < end:
            size = log_record_octets(p + at, end - at)
            if size == 0:
                break
            x = <const log_record *>(p + at)
            if x.run == run and x.kind in (K_ACCEPTED, K_REFUSED, K_RETRY, K_UNCERTAIN, K_RECEIPT):
                status = 0 if x.kind == K_ACCEPTED else x.status & 0xFFFFFF if x.kind == K_RECEIPT else x.status
                _put(table, <uint64_t>1 << 63 | <uint64_t>x.kind << 40
                     | <uint64_t>(x.state if x.kind in (K_RECEIPT, K_UNCERTAIN) else 0) << 32 | status)
            at += size
