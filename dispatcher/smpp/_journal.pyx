"""The journal that becomes the next value of the outcome log, the runs it speaks of, and what is given back.

Two buffers, swapped at a cut: what a cut froze belongs to the writer until `committed`. Base of the index and the Book.
Rests on: records/outcome_log.h; DESIGN 6 and 8.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport abort, calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from dispatcher.records.layouts cimport LOG_MAGIC, LOG_RUNS, PAD8, log_header, log_record, log_run
from dispatcher.smpp._pace cimport Pace
from dispatcher.smpp._wire cimport epoch_ms


cdef class Journal:
    """Runs are campaigns and batches alive in one process, by number; a number is given again once its run is closed and
    nothing in memory speaks of it (Index.close_run)."""

    def __cinit__(self, *_, uint32_t endpoint=0, **__):
        cdef int i
        self.endpoint = endpoint
        for i in range(2):
            self.journal[i] = <uint8_t *>malloc(JOURNAL)
            self.journal_size[i] = JOURNAL
            self.journal_octets[i] = sizeof(log_header)
        self.runs = <run_head *>calloc(LOG_RUNS, sizeof(run_head))
        self.run_paces = {}
        self.returned_room = 4096
        self.returned = <given_back *>malloc(self.returned_room * sizeof(given_back))

    def __dealloc__(self):
        cdef int i
        for i in range(2):
            free(self.journal[i])
        free(self.runs)
        free(self.returned)

    # ---- runs

    def open_run(self, uint64_t id, int tenant, int endpoint, bytes head, bytes mid, *, bint receipts, bint honours_stop, paces=()):
        """The run number of a campaign or batch. head: submit_sm from its header to dest_addr_npi; mid: protocol_id to
        replace_if_present_flag. The same id again gets its old number, with the new octets and paces."""
        cdef uint32_t i
        if len(head) > 80 or len(mid) > 40:
            raise ValueError("head at most 80 octets, mid at most 40")
        cdef uint32_t free_ = LOG_RUNS
        for i in range(self.n_runs):
            if self.runs[i].use == RUN_OPEN and self.runs[i].id == id:
                break
            if self.runs[i].use == RUN_FREE and free_ == LOG_RUNS:
                free_ = i
        else:
            i = free_ if free_ < LOG_RUNS else self.n_runs
            if i >= LOG_RUNS:
                raise ValueError(f"at most {LOG_RUNS} campaigns and batches at once")
            self.n_runs = max(self.n_runs, i + 1)
            self.runs_used += 1
        cdef run_head *r = &self.runs[i]
        r.id, r.tenant, r.endpoint, r.use = id, tenant, endpoint, RUN_OPEN
        r.receipts, r.honours_stop, r.stopped = receipts, honours_stop, 0
        r.answers, r.telling = 0, 0
        r.head_octets, r.mid_octets = len(head), len(mid)
        memcpy(r.head, <const uint8_t *>head, len(head))
        memcpy(r.mid, <const uint8_t *>mid, len(mid))
        self.set_paces(i, paces)
        return i

    def set_paces(self, uint32_t run, paces):
        """Which Paces hold a run beside the endpoint's and the bind's: its tenant's, its campaign's; at most 2. They may
        hold others too, of other Books too."""
        cdef run_head *r
        cdef Pace pace
        cdef int i
        kept = tuple(dict.fromkeys(paces))
        if run >= self.n_runs or self.runs[run].use == RUN_FREE:
            raise ValueError(f"run {run} is closed")
        if len(kept) > RUN_PACES:
            raise ValueError(f"a run has at most {RUN_PACES} paces of its own")
        r = &self.runs[run]
        for i in range(r.n_paces):
            r.paces[i].queued -= r.queued
        for i, pace in enumerate(kept):
            r.paces[i] = &pace.log
            pace.log.queued += r.queued
        r.n_paces = len(kept)
        self.run_paces[run] = kept

    def stop_run(self, uint32_t run, bint stopped):
        """While stopped, what is claimed and not handed to a socket is given back instead of sent."""
        if run < self.n_runs:
            self.runs[run].stopped = stopped

    @property
    def runs_free(self):
        """Campaigns and batches that may still be opened."""
        return LOG_RUNS - self.runs_used

    def run_id(self, uint32_t run):
        return self.runs[run].id if run < self.n_runs and self.runs[run].use != RUN_FREE else None

    def run_open(self, uint32_t run):
        """Parts of a run claimed and not yet answered, timed out, given back or stopped."""
        return self.runs[run].open if run < self.n_runs else 0

    def answers_of(self, uint32_t run):
        """(parts of a run answered since it was opened, of those refused with what tells of configuration)."""
        if run >= self.n_runs:
            return 0, 0
        return self.runs[run].answers, self.runs[run].telling

    # ---- records

    cdef uint8_t *_record(self, size_t size, uint32_t run) noexcept nogil:
        """room for a record. Binds stop reading and claims stop while the buffer is nearly full; it grows only where a
        disk is full and binds end meanwhile, a record a part of their windows"""
        cdef int c = self.current
        cdef uint8_t *q
        self._reserve(c, self.journal_octets[c] + size)
        q = self.journal[c] + self.journal_octets[c]
        if self.journal_records[c] == 0:
            self.journal_base_ms[c] = epoch_ms()
        memset(q, 0, size)
        self.journal_octets[c] += size
        self.journal_records[c] += 1
        if run < self.n_runs:
            self.runs[run].in_journal[c] = 1
        return q

    cdef void _reserve(self, int c, size_t octets) noexcept nogil:
        if octets > self.journal_size[c]:
            self.journal_size[c] = octets + JOURNAL // 4
            self.journal[c] = <uint8_t *>realloc(self.journal[c], self.journal_size[c])
            if self.journal[c] == NULL:
                abort()                                     # without a journal nothing true can be said any more

    cdef uint16_t _delta(self) noexcept nogil:
        """milliseconds since the journal's first record; 0 where the wall clock went back"""
        cdef uint64_t now = epoch_ms(), base = self.journal_base_ms[self.current]
        if now <= base:
            return 0
        return 65535 if now - base > 65535 else <uint16_t>(now - base)

    cdef uint16_t _now(self) noexcept nogil:
        """delta_ms of a record written now, be it the first"""
        return 0 if self.journal_records[self.current] == 0 else self._delta()

    cdef void _log(self, int kind, int part, int state, uint32_t rank, uint32_t run, uint32_t status, const uint8_t *id, size_t n, uint16_t delta) noexcept nogil:
        cdef log_record *x
        if n > 64:
            n = 64
        x = <log_record *>self._record(sizeof(log_record) + PAD8(n), run)
        x.kind, x.part, x.state, x.id_octets, x.rank, x.run, x.delta_ms, x.status = kind, part, state, n, rank, run, delta, status
        if n:
            memcpy(<uint8_t *>x + sizeof(log_record), id, n)

    def log(self, int kind, int part, int state, uint32_t rank, uint32_t run, uint32_t status):
        """One record from Python: settlements by number, by hand, by time; decisions at start."""
        if run < self.n_runs and self.runs[run].use == RUN_FREE:
            raise ValueError(f"run {run} is closed")
        self._log(kind, part, state, rank, run, status, NULL, 0, self._now())

    @property
    def journal_full(self):
        return self.journal_octets[self.current] > JOURNAL - JOURNAL_ROOM

    @property
    def journal_records_waiting(self):
        """What waits for the next commit: records, and deliver_sm to be answered after it (a repeat makes no record, but
        the first of it may not be on disk yet)."""
        return self.journal_records[self.current] + self.delivered

    def cut(self):
        """Freeze the journal: (value as a memoryview, records). The view stays valid until the next cut."""
        if self.is_cut:
            raise RuntimeError("cut before the last one was committed")
        cdef int c = self.current
        cdef uint32_t run, runs = 0
        cdef log_header *h
        cdef size_t n = self.journal_octets[c]
        cdef log_run *t
        if self.journal_records[c]:
            self._reserve(c, n + self.n_runs * sizeof(log_run))
            h = <log_header *>self.journal[c]
            h.octets = <uint32_t>(n - sizeof(log_header))
            for run in range(self.n_runs):
                if self.runs[run].in_journal[c]:
                    t = <log_run *>(self.journal[c] + n)
                    t.id, t.run, t.endpoint, t.zero = self.runs[run].id, run, self.runs[run].endpoint, 0
                    n += sizeof(log_run)
                    runs += 1
                    self.runs[run].in_journal[c] = 0
            h.magic, h.runs, h.records, h.base_ms = LOG_MAGIC, runs, self.journal_records[c], self.journal_base_ms[c]
            h.endpoint = self.endpoint
        else:
            n = 0
        self.is_cut = True
        self.current = c ^ 1
        self.journal_octets[c ^ 1] = sizeof(log_header)
        records = self.journal_records[c]
        self.journal_records[c ^ 1] = 0
        self.journal_settles[c ^ 1] = 0
        self.delivered = 0
        return (<uint8_t[:self.journal_size[c]]>self.journal[c])[:n], records

    def committed(self):
        """What the last cut froze is on disk: its settlements free their credit."""
        if not self.is_cut:
            raise RuntimeError("committed without a cut")
        self.settled_total += self.journal_settles[self.current ^ 1]
        self.is_cut = False

    # ---- given back

    cdef void _give_back(self, const flying *f, int kind, uint32_t status) noexcept nogil:
        cdef given_back *g
        if self.n_returned == self.returned_room:
            self.returned_room *= 2
            self.returned = <given_back *>realloc(self.returned, self.returned_room * sizeof(given_back))
        g = &self.returned[self.n_returned]
        self.n_returned += 1
        g.destination, g.rank, g.slot, g.status, g.run = f.destination, f.rank, f.slot, status, f.run
        g.part, g.parts, g.kind, g.tries, g.since_s = f.part, f.parts, kind, f.tries, f.since_s

    def take_returned(self):
        """What waits for a decision since the last call: [(kind, run, rank, part, parts, slot, destination, status, tries,
        since_s)]."""
        cdef size_t i
        out = []
        for i in range(self.n_returned):
            g = self.returned[i]
            out.append((g.kind, g.run, g.rank, g.part, g.parts, g.slot, g.destination, g.status, g.tries, g.since_s))
        self.n_returned = 0
        return out
