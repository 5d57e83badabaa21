"""Which message a receipt is of: message_id -> (run, rank, part), and receipts whose id nobody knows yet.

Segments of 2^20 entries in the order of acceptance, forgotten whole; a table of held receipts; each rebuilt from the
outcome log at a start. Rests on: DESIGN 8; SMPP_FACTS 10.
Weak spots: an id is known by 64 bits of hash (a wrong match once in 10^12 receipts at 10 M live ids); final ids are
forgotten with their segment, later repeats of their receipts are then looked up in the log by the caller.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from dispatcher.records.layouts cimport (
    K_ACCEPTED, K_CLAIM, K_HELD, K_RECEIPT, LOG_MAGIC, LOG_RUNS, PAD8, log_header, log_record, log_record_octets, log_run,
)
from dispatcher.smpp._journal cimport RUN_CLOSING, RUN_FREE, RUN_OPEN, RUN_SWEEPING, RUN_SWEPT
from dispatcher.smpp._settled cimport Settled
from dispatcher.smpp._wire cimport epoch_ms, hash_id

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)
cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *at, size_t octets, int advice)
    int MADV_HUGEPAGE
cdef extern from *:
    """
    #define prefetch(p) __builtin_prefetch(p, 1)
    """
    void prefetch(const void *p) noexcept nogil

cdef enum:
    HELD = 1 << 16
    SEGMENT = 1 << 20       # index entries a segment
    NO_RUN = 0xFFFF         # run of a record that is nobody's yet: a held receipt; of an entry whose run was closed
    FORGOTTEN = 0xFF        # state of such an entry: it only keeps its place, so that others are found behind it

cdef struct int32_runs:
    int of[LOG_RUNS]


cdef inline bint _better(int old, int new) noexcept nogil:
    """a receipt that may replace a final one: DELIVRD after EXPIRED or UNKNOWN (SMPP_FACTS 10)"""
    return new == 4 and (old == 5 or old == 7)


cdef class Index(Journal):
    """ids: how the endpoint writes message_ids in answers and in receipts (smpp/pump.py)."""

    def __cinit__(self, *_, str ids="same", int segments_kept=4, **__):
        self.held = <held_receipt *>calloc(HELD, sizeof(held_receipt))
        self.hex_response = ids == "hex_decimal"
        self.hex_receipt = ids == "decimal_hex"
        self.segments_kept = segments_kept

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_segments):
            free(self.segments[i])
        free(self.held)

    # ---- index of message_ids

    cdef void _remember_soon(self, uint64_t key, uint32_t run, uint32_t rank, int part, int state) noexcept nogil:
        """_remember, a few answers later: the place of an id is a cache miss of 100 ns and more when it is not asked for ahead"""
        cdef known *k = &self.soon[self.soon_tail & (SOON - 1)]
        if self.n_segments:
            prefetch(&self.segments[self.n_segments - 1][key & (SEGMENT - 1)])
        k.key, k.run, k.rank, k.part, k.state = key, run, rank, part, state
        self.soon_tail += 1
        if self.soon_tail - self.soon_head == SOON:
            self._remember_oldest()

    cdef void _remember_oldest(self) noexcept nogil:
        cdef known *k = &self.soon[self.soon_head & (SOON - 1)]
        self.soon_head += 1
        self._remember(k.key, k.run, k.rank, k.part, k.state)

    cdef void _remember_all(self) noexcept nogil:
        """before anything is looked up or told"""
        while self.soon_head != self.soon_tail:
            self._remember_oldest()

    cdef void _remember(self, uint64_t key, uint32_t run, uint32_t rank, int part, int state) noexcept nogil:
        cdef int s = self.n_segments - 1
        cdef known *k
        cdef uint64_t i
        if s < 0 or self.segment_used[s] >= SEGMENT // 4 * 3:
            self._new_segment()
            s = self.n_segments - 1
        i = key & (SEGMENT - 1)
        while self.segments[s][i].key:
            if self.segments[s][i].key == key:
                break
            i = (i + 1) & (SEGMENT - 1)
        k = &self.segments[s][i]
        if k.key == 0:
            self.segment_used[s] += 1
        elif k.state < 4:
            self.segment_live[s] -= 1
            self.index_live -= 1
        k.key, k.run, k.rank, k.part, k.state = key, run, rank, part, state
        if state < 4:
            self.segment_live[s] += 1
            self.index_live += 1

    cdef void _new_segment(self) noexcept nogil:
        cdef int i, j = 0
        # forget the oldest segments without live ids, beyond those kept for repeats
        for i in range(self.n_segments):
            if self.segment_live[i] == 0 and self.n_segments - (i - j) > self.segments_kept:
                free(self.segments[i])
                continue
            self.segments[j], self.segment_used[j], self.segment_live[j] = self.segments[i], self.segment_used[i], self.segment_live[i]
            j += 1
        self.n_segments = j
        if j == SEGMENTS:                          # 48 M live ids: the oldest are forgotten, their receipts go through the log
            self.index_live -= self.segment_live[0]
            free(self.segments[0])
            for i in range(1, j):
                self.segments[i - 1], self.segment_used[i - 1], self.segment_live[i - 1] = self.segments[i], self.segment_used[i], self.segment_live[i]
            self.n_segments -= 1
        self.segments[self.n_segments] = <known *>aligned_alloc(2 << 20, SEGMENT * sizeof(known))
        madvise(self.segments[self.n_segments], SEGMENT * sizeof(known), MADV_HUGEPAGE)
        memset(self.segments[self.n_segments], 0, SEGMENT * sizeof(known))
        self.segment_used[self.n_segments] = self.segment_live[self.n_segments] = 0
        self.n_segments += 1

    cdef known *_find(self, uint64_t key, int *segment) noexcept nogil:
        cdef int s
        cdef uint64_t i
        self._remember_all()
        s = self.n_segments - 1
        while s >= 0:
            i = key & (SEGMENT - 1)
            while self.segments[s][i].key:
                if self.segments[s][i].key == key:
                    segment[0] = s
                    return &self.segments[s][i] if self.segments[s][i].run != NO_RUN else NULL
                i = (i + 1) & (SEGMENT - 1)
            s -= 1
        return NULL

    cdef known *_lookup(self, const uint8_t *id, size_t n, int *segment) noexcept nogil:
        """by the id of a receipt: as the endpoint writes receipts, then as it writes responses (a TLV may differ from the
        text)"""
        cdef known *k = self._find(hash_id(id, n, self.hex_receipt, 0), segment)
        if k == NULL and self.hex_receipt != self.hex_response:
            k = self._find(hash_id(id, n, self.hex_response, 0), segment)
        return k

    # ---- runs that end

    def close_run(self, uint32_t run):
        """Let go of a run: what the index knows of it is forgotten by the next sweep, then its number may be given again.
        False, and nothing done, while something of it is in flight, may be answered late or waits to be taken."""
        cdef size_t i
        if run >= self.n_runs or self.runs[run].use != RUN_OPEN or self.runs[run].open or self.runs[run].late:
            return False
        for i in range(self.n_returned):
            if self.returned[i].run == run:
                return False
        self.runs[run].use = RUN_CLOSING
        return True

    def sweep_runs(self):
        """A step of the sweep, one segment of the index: milliseconds. True while there is more to do before the numbers of
        closed runs are free; what the journal says of them must be cut first."""
        cdef uint32_t run
        cdef bint more = False
        if not self.sweeping:
            for run in range(self.n_runs):
                if self.runs[run].use == RUN_CLOSING:
                    self.runs[run].use = RUN_SWEEPING
                    self.sweeping = True
            self.sweep_at = self.n_segments - 1
        if self.sweeping and self.sweep_at >= 0:
            # newest first: segments freed meanwhile move the unseen ones down, and new ones hold nothing of a closed run
            self.sweep_at = min(self.sweep_at, self.n_segments - 1)
            with nogil:
                self._forget_closed(self.sweep_at)
            self.sweep_at -= 1
        for run in range(self.n_runs):
            if self.runs[run].use == RUN_SWEEPING and self.sweep_at < 0:
                self.runs[run].use = RUN_SWEPT
            if self.runs[run].use == RUN_SWEPT and not (self.runs[run].in_journal[0] or self.runs[run].in_journal[1]):
                self.runs[run].use = RUN_FREE
                self.runs_used -= 1
            more |= self.runs[run].use != RUN_FREE and self.runs[run].use != RUN_OPEN
        self.sweeping = self.sweeping and self.sweep_at >= 0
        return more

    cdef void _forget_closed(self, int s) noexcept nogil:
        cdef known *k = self.segments[s]
        cdef known *e = k + SEGMENT
        while k < e:
            if k.key and k.run != NO_RUN and self.runs[k.run].use == RUN_SWEEPING:
                if k.state < 4:
                    self.segment_live[s] -= 1
                    self.index_live -= 1
                k.run, k.state = NO_RUN, FORGOTTEN
            k += 1

    def key_of(self, bytes id, *, bint receipt=False):
        """The hash under which a message_id is known (from a response, or from a receipt)."""
        cdef const uint8_t *p = id
        return hash_id(p, len(id), self.hex_receipt if receipt else self.hex_response, 0)

    def remember(self, bytes id, uint32_t run, uint32_t rank, int part, int state):
        """An accepted id found in the log at start; state: what is known of it."""
        cdef const uint8_t *p = id
        self._remember(hash_id(p, len(id), self.hex_response, 0), run, rank, part, state)

    def rebuild(self, const uint8_t[::1] value, dict run_of, set_settled, list misled=None):
        """Insert the accepted ids of one log value, newest value first. run_of: {id of campaign: run number, -1 = not wanted};
        set_settled: a Settled, which collects what has its final receipt already. With a list `misled` nothing is inserted:
        it gets (run, rank, part) of each id that is not found, or leads to another part. Returns how many ids it was."""
        cdef Settled settled = set_settled
        cdef size_t at = sizeof(log_header), end, left, n, size
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef int32_runs runs
        cdef uint32_t inserted = 0
        cdef uint64_t key
        cdef const log_record *x
        cdef const known *k
        cdef int pass_, segment = 0
        cdef bint looks = misled is not None
        if value.shape[0] < <ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC or sizeof(log_header) + h.octets + 16 * <size_t>h.runs > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        end = sizeof(log_header) + h.octets
        memset(&runs, 0xFF, sizeof(int32_runs))
        cdef const log_run *t = <const log_run *>(p + end)
        cdef uint32_t i
        for i in range(h.runs):
            if t[i].run < LOG_RUNS:
                runs.of[t[i].run] = run_of.get(t[i].id, -1)
        with nogil:
            for pass_ in range(2):
                at = sizeof(log_header)
                while at < end:
                    size = log_record_octets(p + at, end - at)
                    if size == 0:
                        break
                    x = <const log_record *>(p + at)
                    if x.kind != K_CLAIM and x.kind != K_HELD and x.run < LOG_RUNS and runs.of[x.run] >= 0:
                        key = (<uint64_t>runs.of[x.run] << 40 | x.rank) << 8 | x.part
                        if pass_ == 0 and x.kind == K_RECEIPT:
                            settled.add(key)
                        elif pass_ == 1 and x.kind == K_ACCEPTED and x.id_octets and not settled.has(key):
                            inserted += 1
                            key = hash_id(p + at + sizeof(log_record), x.id_octets, self.hex_response, 0)
                            if not looks:
                                self._remember(key, runs.of[x.run], x.rank, x.part, 3)
                            else:
                                k = self._find(key, &segment)
                                if k == NULL or k.run != <uint32_t>runs.of[x.run] or k.rank != x.rank or k.part != x.part:
                                    with gil:
                                        misled.append((runs.of[x.run], x.rank, x.part))
                    at += size
        return inserted

    def find_ids(self, const uint8_t[::1] value, Settled wanted):
        """Accepted records of one log value whose id's key is in `wanted`: [(key, campaign id, rank, part)]."""
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef size_t at = sizeof(log_header), end, size
        cdef const log_record *x
        cdef const log_run *t
        cdef uint64_t key
        cdef uint32_t i
        if value.shape[0] < <ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC or sizeof(log_header) + h.octets + 16 * <size_t>h.runs > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        end = sizeof(log_header) + h.octets
        t = <const log_run *>(p + end)
        found = []
        with nogil:
            while at < end:
                size = log_record_octets(p + at, end - at)
                if size == 0:
                    break
                x = <const log_record *>(p + at)
                if x.kind == K_ACCEPTED and x.id_octets:
                    key = hash_id(p + at + sizeof(log_record), x.id_octets, self.hex_response, 0)
                    if self.hex_receipt != self.hex_response and not wanted.has(key):
                        key = hash_id(p + at + sizeof(log_record), x.id_octets, self.hex_receipt, 0)
                    if wanted.has(key):
                        with gil:
                            for i in range(h.runs):
                                if t[i].run == x.run:
                                    found.append((key, t[i].id, x.rank, x.part))
                at += size
        return found

    # ---- receipts

    cdef void _receipt(self, const uint8_t *id, size_t n, int state, uint32_t status, uint64_t number, uint16_t delta) noexcept nogil:
        cdef int s = 0
        cdef known *k = self._lookup(id, n, &s)
        self.receipts += 1
        if state == 0:
            self.receipts_not_final += 1
            return
        if k != NULL:
            self._settle_known(k, s, state, status, delta)
            return
        self._hold(hash_id(id, n, self.hex_receipt, 0), id, n, state, status, number, delta)

    cdef void _settle_known(self, known *k, int s, int state, uint32_t status, uint16_t delta) noexcept nogil:
        if k.state >= 4 and not _better(k.state, state):
            self.receipts_repeated += 1
            return
        if k.state < 4:
            self.segment_live[s] -= 1
            self.index_live -= 1
        k.state = state
        self._log(K_RECEIPT, k.part, state, k.rank, k.run, status, NULL, 0, delta)

    cdef void _hold(self, uint64_t key, const uint8_t *id, size_t n, int state, uint32_t status, uint64_t number, uint16_t delta) noexcept nogil:
        cdef log_record *x
        cdef uint64_t i = key & (HELD - 1)
        if n > 64:
            n = 64
        while self.held[i].key and self.held[i].key != key:
            i = (i + 1) & (HELD - 1)
        if self.held[i].key and not _better(self.held[i].state, state):   # the same again before its response
            self.receipts_repeated += 1
            return
        x = <log_record *>self._record(sizeof(log_record) + PAD8(n) + 8, LOG_RUNS)
        x.kind, x.state, x.id_octets, x.run, x.delta_ms, x.status = K_HELD, state, n, NO_RUN, delta, status
        memcpy(<uint8_t *>x + sizeof(log_record), id, n)
        memcpy(<uint8_t *>x + sizeof(log_record) + PAD8(n), &number, 8)
        self.receipts_held += 1
        if self.held[i].key == 0 and self.n_held >= HELD // 4 * 3:
            self.held_overflow += 1
            return
        self._put_held(key, number, epoch_ms(), status, state)

    cdef void _put_held(self, uint64_t key, uint64_t number, uint64_t at_ms, uint32_t status, int state) noexcept nogil:
        cdef uint64_t i = key & (HELD - 1)
        while self.held[i].key and self.held[i].key != key:
            i = (i + 1) & (HELD - 1)
        if self.held[i].key == 0:
            self.n_held += 1
        elif not _better(self.held[i].state, state):
            return
        self.held[i].key, self.held[i].number, self.held[i].at_ms, self.held[i].status, self.held[i].state = key, number, at_ms, status, state

    cdef void _drop_held(self, uint64_t h) noexcept nogil:
        cdef uint64_t j = h
        while True:
            j = (j + 1) & (HELD - 1)
            if self.held[j].key == 0:
                break
            if ((j - self.held[j].key) & (HELD - 1)) >= ((j - h) & (HELD - 1)):
                self.held[h] = self.held[j]
                h = j
        self.held[h].key = 0
        self.n_held -= 1

    cdef int _match_held(self, uint64_t key, uint32_t run, uint32_t rank, int part, uint16_t delta) noexcept nogil:
        """the receipt of a response that comes only now: its state, or 0"""
        cdef uint64_t i = key & (HELD - 1)
        cdef int state
        while self.held[i].key:
            if self.held[i].key == key:
                state = self.held[i].state
                self._log(K_RECEIPT, part, state, rank, run, self.held[i].status, NULL, 0, delta)
                self._drop_held(i)
                self.held_matched += 1
                return state
            i = (i + 1) & (HELD - 1)
        return 0

    def receipt(self, bytes id, int state, uint32_t status, uint64_t number, bytes other=b""):
        """A receipt that Python read (off the fast path). `other`: its second id, which counts if nobody knows the first."""
        cdef const uint8_t *p = id
        cdef const uint8_t *q = other
        cdef int s = 0
        if other and self._lookup(p, len(id), &s) == NULL and self._lookup(q, len(other), &s) != NULL:
            p, id = q, other
        self._receipt(p, len(id), state, status, number, self._now())

    def hold(self, uint64_t key, uint64_t number, uint64_t at_ms, uint32_t status, int state):
        """A held receipt found in the log at start; one whose id is known by now is settled instead."""
        cdef int s = 0
        cdef known *k = self._find(key, &s)
        if k != NULL:
            self._settle_known(k, s, state, status, self._now())
        elif self.n_held < HELD // 4 * 3:
            self._put_held(key, number, at_ms, status, state)

    def held_in(self, const uint8_t[::1] value, uint64_t since_ms):
        """Held receipts of one log value that came at or after `since_ms`: [(key, number, at_ms, status, state)]."""
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef size_t at = sizeof(log_header), end, size
        cdef const log_record *x
        cdef uint64_t number
        out = []
        if value.shape[0] < <ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC or sizeof(log_header) + h.octets > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        end = sizeof(log_header) + h.octets
        if h.base_ms + 65536 < since_ms:
            return out
        while at < end:
            size = log_record_octets(p + at, end - at)
            if size == 0:
                break
            x = <const log_record *>(p + at)
            if x.kind == K_HELD and h.base_ms + x.delta_ms >= since_ms:
                memcpy(&number, p + at + sizeof(log_record) + PAD8(x.id_octets), 8)
                out.append((hash_id(p + at + sizeof(log_record), x.id_octets, self.hex_receipt, 0), number,
                            h.base_ms + x.delta_ms, x.status, x.state))
            at += size
        return out

    def take_held(self, uint64_t before_ms):
        """Remove and return the receipts held since before `before_ms`: [(key, number, state, status, at_ms)]."""
        cdef uint64_t i
        out = []
        for i in range(HELD):
            if self.held[i].key and self.held[i].at_ms < before_ms:
                h = self.held[i]
                out.append((h.key, h.number, h.state, h.status, h.at_ms))
        for key, *_ in out:
            i = <uint64_t>key & (HELD - 1)
            while self.held[i].key != <uint64_t>key:
                i = (i + 1) & (HELD - 1)
            self._drop_held(i)
        return out
