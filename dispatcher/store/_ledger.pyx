"""The ledger read, compiled: bitmaps and arrays by rank, and the records of a log value as tuples."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from dispatcher.records.layouts cimport (
    K_CLAIM, K_HELD, LOG_MAGIC, LOG_RUNS, PAD8, log_claim, log_header, log_record, log_record_octets, log_run,
)


def todo_bitmap(const uint8_t[::1] audience, const uint8_t[::1] decision, uint8_t[::1] out):
    """Of a block's audience words, the slots whose rank has decision 0. decision: of the block's ranks in order, may be
    shorter (the rest is undecided). Returns how many."""
    cdef uint32_t words = audience.shape[0] // 8, w, rank = 0, n = 0
    cdef uint64_t a, rest, bit, keep
    if out.shape[0] < audience.shape[0]:
        raise ValueError("out too short")
    for w in range(words):
        memcpy(&a, &audience[8 * w], 8)
        keep = 0
        rest = a
        while rest:
            bit = rest & (~rest + 1)
            if rank >= decision.shape[0] or decision[rank] == 0:
                keep |= bit
                n += 1
            rank += 1
            rest ^= bit
        memcpy(&out[8 * w], &keep, 8)
    return n


def ranks_in_state(const uint8_t[::1] states, int wanted, uint32_t first_rank):
    """Ranks of one chunk whose state (or decision) octet is `wanted`, as a list."""
    cdef Py_ssize_t i
    out = []
    for i in range(states.shape[0]):
        if states[i] == wanted:
            out.append(first_rank + i)
    return out


def slots_of_ranks(const uint8_t[::1] audience, list ranks):
    """Slots of the given ranks within the block (0 = the block's first recipient), ascending ranks."""
    cdef uint32_t words = audience.shape[0] // 8, w, rank = 0, want
    cdef uint64_t a
    cdef Py_ssize_t k = 0, n = len(ranks)
    out = []
    if n == 0:
        return out
    want = ranks[0]
    for w in range(words):
        memcpy(&a, &audience[8 * w], 8)
        while a:
            if rank == want:
                out.append(64 * w + _trailing(a))
                k += 1
                if k == n:
                    return out
                want = ranks[k]
            rank += 1
            a &= a - 1
    return out


def popcount(const uint8_t[::1] words):
    """Bits set in whole u64 words."""
    cdef Py_ssize_t i, n = words.shape[0] // 8
    cdef uint64_t a, c = 0
    for i in range(n):
        memcpy(&a, &words[8 * i], 8)
        while a:
            a &= a - 1
            c += 1
    return c


cdef inline int _trailing(uint64_t a) noexcept nogil:
    cdef int n = 0
    while not a & 1:
        a >>= 1
        n += 1
    return n


def records(const uint8_t[::1] value, *, bint claims_only=False):
    """Every record of one log value as tuples, for recovery, verify and tests:
    ("claim", run id, pool, first_rank, claim_no, parts-or-skip octets, at_ms, again) or
    (kind, run id, rank, part, state, status, id, at_ms, octet), where a held one has run id None and its number for rank."""
    cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
    cdef const log_header *h = <const log_header *>p
    cdef size_t at = sizeof(log_header), end, size
    cdef const log_record *x
    cdef const log_claim *c
    cdef const log_run *t
    cdef uint64_t number
    cdef uint32_t i
    if value.shape[0] < <Py_ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC:
        raise ValueError("not a value of the outcome log")
    end = sizeof(log_header) + h.octets
    if end + h.runs * sizeof(log_run) > <size_t>value.shape[0]:
        raise ValueError("not a value of the outcome log")
    t = <const log_run *>(p + end)
    ids = {t[i].run: t[i].id for i in range(h.runs)}
    out = []
    while at < end:
        size = log_record_octets(p + at, end - at)
        if size == 0:
            raise ValueError(f"a record of the outcome log is cut off at octet {at}")
        x = <const log_record *>(p + at)
        if x.kind == K_CLAIM:
            c = <const log_claim *>x
            out.append(("claim", ids.get(c.run), c.pool, c.first_rank, c.claim_no, (<const char *>c + sizeof(log_claim))[:c.count],
                        h.base_ms + c.delta_ms, c.again))
        elif not claims_only:
            number = 0
            if x.kind == K_HELD:
                memcpy(&number, p + at + sizeof(log_record) + PAD8(x.id_octets), 8)
            out.append((x.kind, ids.get(x.run), number if x.kind == K_HELD else x.rank, x.part, x.state, x.status,
                        (<const char *>x + sizeof(log_record))[:x.id_octets], h.base_ms + x.delta_ms, at))
        at += size
    return out


def rank_spans(const uint8_t[::1] value):
    """[(id of campaign or batch, lowest rank, highest rank)] that one log value speaks of."""
    cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
    cdef const log_header *h = <const log_header *>p
    cdef size_t at = sizeof(log_header), end, size
    cdef const log_record *x
    cdef const log_run *t
    cdef uint32_t[LOG_RUNS] low, high
    cdef uint32_t i, last
    if value.shape[0] < <Py_ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC:
        raise ValueError("not a value of the outcome log")
    end = sizeof(log_header) + h.octets
    if end + h.runs * sizeof(log_run) > <size_t>value.shape[0]:
        raise ValueError("not a value of the outcome log")
    with nogil:
        memset(low, 0xFF, sizeof(low))
        memset(high, 0, sizeof(high))
        while at < end:
            size = log_record_octets(p + at, end - at)
            if size == 0:
                break
            x = <const log_record *>(p + at)
            if x.kind != K_HELD and x.run < LOG_RUNS:
                last = x.rank
                if x.kind == K_CLAIM and (<const log_claim *>x).count:
                    last += (<const log_claim *>x).count - 1
                low[x.run] = min(low[x.run], x.rank)
                high[x.run] = max(high[x.run], last)
            at += size
    if at < end:
        raise ValueError(f"a record of the outcome log is cut off at octet {at}")
    t = <const log_run *>(p + end)
    return [(t[i].id, low[t[i].run], high[t[i].run]) for i in range(h.runs)
            if t[i].run < LOG_RUNS and low[t[i].run] <= high[t[i].run]]
