"""What happened to one message, out of a value of the outcome log, compiled: GIL released while it looks.

Rests on: records/outcome_log.h; the meaning is that of ledger.records(), kept to one rank of one campaign.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dispatcher.records.layouts cimport (
    K_ACCEPTED, K_CLAIM, K_HELD, LOG_MAGIC, log_claim, log_header, log_record, log_record_octets, log_run,
)

cdef enum:
    FOUND_MAX = 256  # records of one message in one value: a message of 100 parts has its claim, answers and receipts


def trail(const uint8_t[::1] value, uint64_t campaign, uint32_t rank):
    """Its records as (kind, part, state, status, id, at_ms), in log order. Of a claim: part is the bits of the parts
    claimed, 0 for all; state the number of parts, or 128 + the decision that skips."""
    cdef size_t at = sizeof(log_header), end = _end_of(value), size
    cdef const uint8_t *p = &value[0]
    cdef const log_header *h = <const log_header *>p
    cdef const log_record *x
    cdef const log_claim *c
    cdef uint32_t i, found = 0
    cdef int run = _run_of(p, end, campaign)
    cdef size_t[FOUND_MAX] where
    if run < 0:
        return []
    with nogil:
        while at < end and found < FOUND_MAX:
            size = log_record_octets(p + at, end - at)
            if size == 0:
                break
            x = <const log_record *>(p + at)
            if x.run == run:
                if x.kind == K_CLAIM:
                    c = <const log_claim *>x
                    if rank >= c.first_rank and rank - c.first_rank < c.count:
                        where[found] = at
                        found += 1
                elif x.rank == rank and x.kind != K_HELD:
                    where[found] = at
                    found += 1
            at += size
    if at < end and found < FOUND_MAX:
        raise ValueError(f"a record of the outcome log is cut off at octet {at}")
    out = []
    for i in range(found):
        x = <const log_record *>(p + where[i])
        if x.kind == K_CLAIM:
            c = <const log_claim *>x
            out.append((
                x.kind, c.again if rank == c.first_rank + c.count - 1 else 0,
                (<const uint8_t *>c)[sizeof(log_claim) + rank - c.first_rank], 0, b"", h.base_ms + c.delta_ms,
            ))
        else:
            out.append((
                x.kind, x.part, x.state, x.status, (<const char *>x + sizeof(log_record))[:x.id_octets],
                h.base_ms + x.delta_ms,
            ))
    return out


def of_kind(const uint8_t[::1] value, int kind):
    """Every record of one kind, for kinds that are few: (campaign, rank, part, state, status, at_ms), in log order."""
    cdef size_t at = sizeof(log_header), end = _end_of(value)
    cdef const uint8_t *p = &value[0]
    cdef const log_header *h = <const log_header *>p
    cdef const log_record *x
    cdef const log_run *t
    cdef uint32_t i
    out = []
    ids = None
    while at < end:
        at = _next_of(p, at, end, kind, -1, 0)
        if at >= end:
            break
        x = <const log_record *>(p + at)
        if ids is None:
            t = <const log_run *>(p + end)
            ids = {t[i].run: t[i].id for i in range(h.runs)}
        out.append((ids.get(x.run), x.rank, x.part, x.state, x.status, h.base_ms + x.delta_ms))
        at += log_record_octets(p + at, end - at)
    return out


def later_ids(const uint8_t[::1] value, uint64_t campaign):
    """message_ids of the parts after the first of a campaign's messages: (rank, part, id), in log order."""
    cdef size_t at = sizeof(log_header), end = _end_of(value)
    cdef const uint8_t *p = &value[0]
    cdef const log_record *x
    cdef int run = _run_of(p, end, campaign)
    out = []
    if run < 0:
        return out
    while at < end:
        at = _next_of(p, at, end, K_ACCEPTED, run, 1)
        if at < end:
            x = <const log_record *>(p + at)
            out.append((x.rank, x.part, (<const char *>x + sizeof(log_record))[:x.id_octets]))
            at += log_record_octets(p + at, end - at)
    return out


cdef size_t _next_of(const uint8_t *p, size_t at, size_t end, int kind, int run, int part) noexcept:
    """Where the next record of a kind is, of one run (-1: of any), of this part or a later one; `end`: there is none."""
    cdef const log_record *x
    cdef size_t size
    with nogil:
        while at < end:
            size = log_record_octets(p + at, end - at)
            if size == 0:
                return end
            x = <const log_record *>(p + at)
            if x.kind == kind and x.part >= part and (run < 0 or x.run == run):
                return at
            at += size
    return end


cdef size_t _end_of(const uint8_t[::1] value) except 0:
    """Where the records of a value end. Raises ValueError for octets that are no value."""
    cdef const log_header *h
    cdef size_t end
    if value.shape[0] >= <Py_ssize_t>sizeof(log_header):
        h = <const log_header *>&value[0]
        end = sizeof(log_header) + h.octets
        if h.magic == LOG_MAGIC and end + h.runs * sizeof(log_run) <= <size_t>value.shape[0]:
            return end
    raise ValueError("not a value of the outcome log")


cdef int _run_of(const uint8_t *p, size_t end, uint64_t campaign) noexcept:
    """A campaign's number in a value; -1: nothing in it is its."""
    cdef const log_run *t = <const log_run *>(p + end)
    cdef uint32_t i
    cdef int run = -1
    for i in range((<const log_header *>p).runs):
        if t[i].id == campaign:
            run = t[i].run
    return run
