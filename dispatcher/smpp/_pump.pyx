"""The SMPP pump compiled: one Book an endpoint, one Pump a bind; no Python object per message, GIL released.

Book   rings of claimed parts (a pool a lane), the journal that becomes the next outcome-log value (two buffers,
       swapped at a cut), the index message_id -> (run, rank, part), held receipts, the sliding log of the rate.
Pump   recv, scan, journal, fill, send in one call.

Touches: socket descriptors, the mapping of the marks. Policy stays outside: what a status means is a table handed in.
Rests on: DESIGN 6 to 8; SMPP_FACTS 1, 8, 10. One thread calls a Book and its Pumps (the trio thread); what a cut
froze belongs to the writer until `committed`.
Weak spots: an id is known by 64 bits of hash (a wrong match once in 10^12 receipts at 10 M live ids); final ids
are forgotten with their segment, later repeats of their receipts are then looked up in the log by the caller.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport abort, calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

cdef extern from "batch.h" nogil:
    ctypedef struct part_row:
        uint64_t destination
        uint32_t rank, octets_at, text_hash
        uint16_t octets
        uint8_t part, parts, esm_class, data_coding, decision, tries
        uint32_t slot
        uint8_t skip

cdef extern from "outcome_log.h" nogil:
    int LOG_MAGIC
    enum: K_CLAIM, K_ACCEPTED, K_REFUSED, K_RETRY, K_RELEASED, K_UNCERTAIN, K_RECEIPT, K_HELD, K_SKIPPED
    ctypedef struct log_header:
        uint16_t magic, runs
        uint32_t records
        uint64_t base_ms
        uint32_t octets, zero
    ctypedef struct log_run:
        uint64_t id
        uint16_t run, endpoint
        uint32_t zero
    ctypedef struct log_record:
        uint8_t kind, part, state, id_octets
        uint32_t rank
        uint16_t run, delta_ms
        uint32_t status
    ctypedef struct log_claim:
        uint8_t kind, pool
        uint16_t again
        uint32_t first_rank
        uint16_t run, delta_ms
        uint32_t count
        uint64_t claim_no
    size_t PAD8(size_t)
    size_t log_record_octets(const uint8_t *p, size_t left)

cdef extern from "pump.h" nogil:
    void put_u32(uint8_t *p, uint32_t v)
    uint32_t get_u32(const uint8_t *p)
    uint64_t monotonic_ns()
    uint64_t epoch_ms()
    int put_decimal(uint8_t *out, uint64_t v)
    uint64_t hash_octets(const uint8_t *p, size_t n, uint64_t seed)
    uint64_t hash_id(const uint8_t *id, size_t n, int from_hex, uint64_t seed)
    int receipt_state(const uint8_t *p, size_t n)
    int tlv_state(int v)
    ssize_t recv(int fd, void *b, size_t n, int flags)
    ssize_t send(int fd, const void *b, size_t n, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL, errno, EAGAIN, EWOULDBLOCK, EINTR

cdef extern from "string.h" nogil:
    void *memmem(const void *, size_t, const void *, size_t)    # Python.h asks for GNU's names

cdef enum:
    POOLS = 2               # 0 bulk, 1 replies; replies leave first
    MAX_RUNS = 4096         # campaigns and batches alive in one process
    JOURNAL = 4 << 20       # octets of one journal buffer: a commit stays below 4 MiB (DESIGN 2)
    JOURNAL_ROOM = 1 << 20  # kept free for what one receive buffer can make; past it only binds that end may grow it
    OUT = 1 << 16           # octets filled before a send
    IN = 1 << 17            # receive buffer; a PDU is at most MAX_PDU
    MAX_PDU = 65536 + 1024
    ANSWERS = 1 << 17       # deliver_sm waiting for their answer, a bind
    PDU_SLACK = 512
    OFF = 1 << 18           # raw PDUs off the fast path, waiting for Python
    HELD = 1 << 16
    SEGMENT = 1 << 20       # index entries a segment
    SEGMENTS = 64
    NO_RUN = 0xFFFF         # run of a record that is nobody's yet: a held receipt
    PARTS_MAX = 127         # of a message: a claim's octet from 128 on is a decision (outcome_log.h)
    STATUSES = 512          # command_status values with an action of their own
    PACE_NS = 1_005_000_000     # part n leaves not before part n - rate left + this (DESIGN 6)
    PACE_SPARE_NS = 5_000_000   # what of it a second does not need: how late a filled part may leave
    PACE_SLACK_NS = 50_000_000  # what a late wake-up may make up at once: no burst after an idle stretch

# flags of pull()
CLOSED, OFF_PATH, BROKEN, BLOCKED = 1, 2, 4, 8
cdef enum:                  # actions of a command_status: smpp/consts.py Action
    ACT_DONE, ACT_THROTTLED, ACT_LATER, ACT_BOUNDED, ACT_FAIL, ACT_CLOSE

cdef struct entry:          # a claimed part in a ring
    uint64_t destination, at
    uint32_t rank, slot
    uint16_t run, octets
    uint8_t part, parts, tries, group

cdef struct flying:         # a submit_sm without its answer; seq 0 = free
    uint64_t destination, sent_ns
    uint32_t seq, rank, slot
    uint16_t run
    uint8_t part, parts, tries, late

cdef struct given_back:     # to be decided on by Python: retry, released, uncertain
    uint64_t destination
    uint32_t rank, slot, status
    uint16_t run
    uint8_t part, parts, kind, tries

cdef struct known:          # index entry; key 0 = free
    uint64_t key
    uint32_t rank
    uint16_t run
    uint8_t part, state

cdef struct held_receipt:
    uint64_t key, number, at_ms
    uint32_t status
    uint8_t state

cdef struct run_head:
    uint64_t id
    uint16_t tenant, endpoint
    uint8_t used, receipts, honours_stop, stopped
    uint8_t in_journal[2]
    uint8_t head_octets, mid_octets
    uint64_t open               # parts claimed and not answered, timed out, given back or stopped
    uint8_t head[80]
    uint8_t mid[40]

cdef struct pool:
    entry *ring
    uint64_t size, made, committed, taken
    uint8_t *arena
    uint64_t arena_octets, arena_made, arena_taken


cdef struct int32_runs:
    int of[MAX_RUNS]

cdef uint64_t REVOKED_KEY = (<uint64_t>1 << 56) - 1

cdef inline uint64_t _revoked_key(uint16_t tenant, uint64_t number) noexcept nogil:
    """56 bits; the eight above hold the decision"""
    cdef uint64_t k = (number * <uint64_t>0x9E3779B97F4A7C15ULL) ^ (<uint64_t>tenant << 48) ^ tenant
    k = (k ^ k >> 31) & REVOKED_KEY
    return k if k else 1


cdef inline bint _better(int old, int new) noexcept nogil:
    """a receipt that may replace a final one: DELIVRD after EXPIRED or UNKNOWN (SMPP_FACTS 10)"""
    return new == 4 and (old == 5 or old == 7)


cdef inline uint32_t _message_end(const part_row *rows, uint32_t n, uint32_t i, uint32_t *group, uint16_t *again) noexcept nogil:
    """the row after the message at `i`; group: its parts to be sent; again: their bits when some are not (outcome_log.h)"""
    cdef uint32_t rank = rows[i].rank
    cdef uint16_t wanted = 0
    cdef bint partial = False
    group[0] = 0
    while i < n and rows[i].rank == rank:
        if rows[i].decision < 16:
            if rows[i].skip:
                partial = True
            else:
                group[0] += 1
                wanted |= <uint16_t>1 << (rows[i].part if rows[i].part < 15 else 15)
        i += 1
    again[0] = wanted if partial else 0
    return i


cdef class Settled:
    """A set of (run, rank, part) for rebuilding the index; grows by doubling."""

    cdef uint64_t *slots
    cdef uint64_t size
    cdef readonly uint64_t count

    def __cinit__(self):
        self.size = 1 << 16
        self.slots = <uint64_t *>calloc(self.size, 8)

    def __dealloc__(self):
        free(self.slots)

    cdef void add(self, uint64_t key) noexcept nogil:
        cdef uint64_t i, old_size
        cdef uint64_t *old
        key += 1
        if (self.count + 1) * 3 > self.size * 2:
            old, old_size = self.slots, self.size
            self.size *= 2
            self.slots = <uint64_t *>calloc(self.size, 8)
            self.count = 0
            for i in range(old_size):
                if old[i]:
                    self.add(old[i] - 1)
            free(old)
        i = ((key * <uint64_t>0x9E3779B97F4A7C15ULL) >> 20) & (self.size - 1)
        while self.slots[i]:
            if self.slots[i] == key:
                return
            i = (i + 1) & (self.size - 1)
        self.slots[i] = key
        self.count += 1

    def put(self, uint64_t key):
        self.add(key)

    cdef bint has(self, uint64_t key) noexcept nogil:
        cdef uint64_t i
        key += 1
        i = ((key * <uint64_t>0x9E3779B97F4A7C15ULL) >> 20) & (self.size - 1)
        while self.slots[i]:
            if self.slots[i] == key:
                return True
            i = (i + 1) & (self.size - 1)
        return False


cdef class Book:
    """What one endpoint's binds share. Sizes: `ring` parts a pool (a power of two), `credit` parts claimed and unsettled."""

    cdef pool pools[POOLS]
    cdef run_head *runs
    cdef uint32_t n_runs
    cdef uint8_t *journal[2]
    cdef size_t journal_octets[2]
    cdef size_t journal_size[2]
    cdef uint32_t journal_records[2]
    cdef uint64_t journal_settles[2]
    cdef uint64_t journal_base_ms[2]
    cdef int current
    cdef uint64_t frozen_made[POOLS]
    cdef bint is_cut
    cdef given_back *returned
    cdef size_t n_returned, returned_room
    cdef known *segments[SEGMENTS]
    cdef uint32_t segment_used[SEGMENTS]
    cdef uint32_t segment_live[SEGMENTS]
    cdef int n_segments, segments_kept
    cdef held_receipt *held
    cdef uint64_t[::1] marks
    cdef uint64_t *revoked
    cdef size_t n_revoked, revoked_room
    cdef uint64_t *pace
    cdef uint64_t pace_no
    cdef double pace_interval_ns, pace_due_ns   # the even spacing, and when the next part is due by it
    cdef readonly uint64_t rate
    cdef uint8_t actions[STATUSES]
    cdef uint32_t delivered         # deliver_sm taken by the fast path since the last cut
    cdef uint64_t aside[POOLS]      # parts out of their ring and not out of a Pump: carried, or filled and to be paced anew
    cdef uint8_t action_other
    cdef int hex_response, hex_receipt, tries_max
    cdef readonly uint64_t hold_until_ns, made_total, settled_total, max_open
    cdef public uint64_t credit
    cdef readonly uint64_t submits, accepted, refused, throttled, retried, released, uncertain, late, strange_responses
    cdef readonly uint64_t receipts, receipts_repeated, receipts_not_final, receipts_held, held_overflow, held_matched, stopped
    cdef readonly size_t n_held
    cdef readonly uint64_t index_live
    cdef public uint64_t retry_ns

    def __cinit__(self, uint64_t credit, marks, bytes actions, int action_other, *, uint64_t ring=65536,
                  uint64_t reply_ring=4096, str ids="same", int segments_kept=4, int tries_max=3):
        cdef int i
        cdef uint64_t sizes[POOLS]
        if ring & (ring - 1) or reply_ring & (reply_ring - 1):
            raise ValueError("ring sizes are powers of two")
        if not 256 <= len(actions) <= STATUSES:
            raise ValueError(f"actions: one octet for each command_status below 256, at most below {STATUSES}")
        self.marks = marks
        if self.marks.shape[0] < POOLS:
            raise ValueError("marks: 8 octets a pool")
        sizes[0], sizes[1] = ring, reply_ring
        for i in range(POOLS):
            self.pools[i].size = sizes[i]
            self.pools[i].ring = <entry *>calloc(sizes[i], sizeof(entry))
            self.pools[i].arena_octets = sizes[i] * 256
            self.pools[i].arena = <uint8_t *>malloc(self.pools[i].arena_octets)
            self.pools[i].made = self.pools[i].committed = self.pools[i].taken = self.marks[i]
        for i in range(2):
            self.journal[i] = <uint8_t *>malloc(JOURNAL)
            self.journal_size[i] = JOURNAL
            self.journal_octets[i] = sizeof(log_header)
        self.runs = <run_head *>calloc(MAX_RUNS, sizeof(run_head))
        self.returned_room = 4096
        self.returned = <given_back *>malloc(self.returned_room * sizeof(given_back))
        self.held = <held_receipt *>calloc(HELD, sizeof(held_receipt))
        self.revoked_room = 256
        self.revoked = <uint64_t *>calloc(self.revoked_room, 8)
        for i in range(STATUSES):
            self.actions[i] = actions[i] if i < len(actions) else action_other
        self.action_other = action_other
        self.credit = credit
        self.hex_response = ids == "hex_decimal"
        self.hex_receipt = ids == "decimal_hex"
        self.segments_kept = segments_kept
        self.tries_max = tries_max
        self.retry_ns = 1_000_000_000

    def __dealloc__(self):
        cdef int i
        for i in range(POOLS):
            free(self.pools[i].ring)
            free(self.pools[i].arena)
        for i in range(2):
            free(self.journal[i])
        for i in range(self.n_segments):
            free(self.segments[i])
        free(self.runs)
        free(self.returned)
        free(self.held)
        free(self.revoked)
        free(self.pace)

    # ---- runs

    def open_run(self, uint64_t id, int tenant, int endpoint, bytes head, bytes mid, *, bint receipts, bint honours_stop):
        """The run number of a campaign or batch. head: submit_sm from its header to dest_addr_npi; mid: protocol_id to
        replace_if_present_flag. The same id again gets its old number, with the new octets."""
        cdef uint32_t i
        if len(head) > 80 or len(mid) > 40:
            raise ValueError("head at most 80 octets, mid at most 40")
        for i in range(self.n_runs):
            if self.runs[i].id == id:
                break
        else:
            i = self.n_runs
            if i >= MAX_RUNS:
                raise ValueError(f"at most {MAX_RUNS} campaigns and batches at once")
            self.n_runs += 1
        cdef run_head *r = &self.runs[i]
        r.id, r.tenant, r.endpoint, r.used = id, tenant, endpoint, 1
        r.receipts, r.honours_stop, r.stopped = receipts, honours_stop, 0
        r.head_octets, r.mid_octets = len(head), len(mid)
        memcpy(r.head, <const uint8_t *>head, len(head))
        memcpy(r.mid, <const uint8_t *>mid, len(mid))
        return i

    def stop_run(self, uint32_t run, bint stopped):
        """While stopped, what is claimed and not handed to a socket is given back instead of sent."""
        if run < self.n_runs:
            self.runs[run].stopped = stopped

    def run_id(self, uint32_t run):
        return self.runs[run].id if run < self.n_runs else None

    def run_open(self, uint32_t run):
        """Parts of a run claimed and not yet answered, timed out, given back or stopped."""
        return self.runs[run].open if run < self.n_runs else 0

    def position(self, int which):
        """(claim numbers made, taken) of a pool: taken is its mark."""
        self._known_pool(which)
        return self.pools[which].made, self.pools[which].taken

    # ---- claims

    @property
    def open_parts(self):
        """Parts claimed and not durably settled."""
        return self.made_total - self.settled_total

    def room(self, int which):
        """Parts that may be claimed into a pool now: credit, ring, arena and journal. A large ring keeps one message of
        room beyond it, since whoever renders takes messages whole."""
        self._known_pool(which)
        cdef pool *p = &self.pools[which]
        cdef uint64_t taken = self.made_total - self.settled_total
        cdef uint64_t n = self.credit - taken if self.credit > taken else 0
        cdef uint64_t spare = PARTS_MAX if p.size >= 1024 else 0
        cdef uint64_t slots = p.size - (p.made - p.taken)
        cdef uint64_t frames = (p.arena_octets - (p.arena_made - p.arena_taken)) // PDU_SLACK
        if which == 1:
            n = max(n, 64)                          # a reply never waits for bulk's credit
        n = min(n, slots - spare if slots > spare else 0)
        n = min(n, frames - spare - 1 if frames > spare + 1 else 0)      # one is lost where the arena turns round
        cdef size_t left = JOURNAL - JOURNAL_ROOM // 2 - min(self.journal_octets[self.current], <size_t>(JOURNAL - JOURNAL_ROOM // 2))
        return min(n, left // 48)

    def queued(self, int which):
        """Parts claimed and not yet handed to a socket."""
        self._known_pool(which)
        return self.pools[which].made - self.pools[which].taken + self.aside[which]

    cdef int _known_pool(self, int which) except -1:
        if not 0 <= which < POOLS:
            raise ValueError(f"pool {which}: there are {POOLS}")
        return 0

    def claim(self, int which, uint32_t run, const uint8_t[::1] rows, uint32_t n, const uint8_t[::1] octets):
        """Put rendered rows (records/batch.h) into a pool and their claim into the journal. They may leave after `committed`.

        Rows of one message are consecutive. The caller has asked room(): more than that raises ValueError."""
        cdef size_t need = <size_t>n * sizeof(part_row)
        self._known_pool(which)
        if rows.shape[0] < need:
            raise ValueError("rows: fewer octets than rows")
        if n == 0:
            return
        if run >= self.n_runs:
            raise ValueError("unknown run")
        cdef const uint8_t *o = &octets[0] if octets.shape[0] else &rows[0]    # of no octets, memcpy still wants an address
        cdef const char *wrong
        with nogil:
            wrong = self._may_claim(which, <const part_row *>&rows[0], n, octets.shape[0])
            if wrong == NULL:
                self._claim(which, run, <const part_row *>&rows[0], n, o)
        if wrong != NULL:
            raise ValueError(wrong.decode())

    cdef const char *_may_claim(self, int which, const part_row *rows, uint32_t n, size_t n_octets) noexcept nogil:
        """what forbids a claim, before anything of it is done"""
        cdef pool *p = &self.pools[which]
        cdef uint64_t parts = 0, written = 0
        cdef uint32_t i
        for i in range(n):
            if rows[i].octets > 254 or <size_t>rows[i].octets_at + rows[i].octets > n_octets:
                return b"a row points outside its octets"
            if rows[i].decision >= 16:
                written += 1
            elif rows[i].parts > PARTS_MAX:
                return b"a message of more than 127 parts"
            elif not rows[i].skip:
                parts += 1
                written += 1
        if (p.made - p.taken + parts > p.size or self.journal_octets[self.current] + written * 48 > JOURNAL
                or p.arena_made - p.arena_taken + (parts + 1) * PDU_SLACK > p.arena_octets):
            return b"claim without room"
        return NULL

    cdef void _claim(self, int which, uint32_t run, const part_row *rows, uint32_t n, const uint8_t *octets) noexcept nogil:
        cdef pool *p = &self.pools[which]
        cdef uint32_t i = 0, j, ranks, first, group
        cdef uint64_t claim_no
        cdef uint16_t again
        while i < n:
            # one record for consecutive ranks; a partly repeated message is the last of its record
            first, ranks, claim_no, again = i, 0, p.made, 0
            while i < n and not again and rows[i].rank == rows[first].rank + ranks:
                j = _message_end(rows, n, i, &group, &again)
                if group == 0 and rows[i].decision < 16:      # every part is out already
                    break
                while i < j:
                    if rows[i].decision < 16 and not rows[i].skip:
                        self._enter(p, run, &rows[i], octets, group)
                        group -= 1
                    i += 1
                ranks += 1
            if ranks:
                self._claim_record(which, run, &rows[first], i - first, ranks, claim_no, again)
            else:
                i = j
        if self.made_total - self.settled_total > self.max_open:
            self.max_open = self.made_total - self.settled_total

    cdef void _enter(self, pool *p, uint32_t run, const part_row *row, const uint8_t *octets, uint32_t group) noexcept nogil:
        """one part into its ring, encoded but for the sequence_number; `group` parts of its message are still to come, with it"""
        cdef run_head *r = &self.runs[run]
        cdef entry *e = &p.ring[p.made & (p.size - 1)]
        cdef uint64_t at = p.arena_made
        if at % p.arena_octets + PDU_SLACK > p.arena_octets:
            at += p.arena_octets - at % p.arena_octets
        e.octets = self._submit_sm(r, row, octets, p.arena + at % p.arena_octets)
        e.destination, e.at, e.rank, e.slot, e.run = row.destination, at, row.rank, row.slot, run
        e.part, e.parts, e.tries, e.group = row.part, row.parts, row.tries, group
        p.arena_made = at + e.octets
        p.made += 1
        r.open += 1
        self.made_total += 1

    cdef void _claim_record(self, int which, uint32_t run, const part_row *rows, uint32_t n, uint32_t ranks, uint64_t claim_no,
                            uint16_t again) noexcept nogil:
        cdef log_claim *c
        cdef uint8_t *of
        cdef uint8_t *hashes
        cdef uint32_t j, k = 0, rank
        c = <log_claim *>self._record(sizeof(log_claim) + PAD8(ranks) + PAD8(4 * <size_t>ranks), run)
        c.kind, c.pool, c.first_rank, c.run, c.count, c.claim_no = K_CLAIM, which, rows[0].rank, run, ranks, claim_no
        c.again, c.delta_ms = again, self._delta()
        of = <uint8_t *>c + sizeof(log_claim)
        hashes = of + PAD8(ranks)
        for j in range(ranks):
            rank = rows[k].rank
            of[j] = rows[k].parts if rows[k].decision < 16 else 128 + rows[k].decision
            memcpy(hashes + 4 * j, &rows[k].text_hash, 4)
            while k < n and rows[k].rank == rank:
                k += 1

    cdef uint16_t _submit_sm(self, run_head *r, const part_row *row, const uint8_t *octets, uint8_t *q) noexcept nogil:
        cdef uint8_t *s = q
        memcpy(q, r.head, 80)
        q += r.head_octets
        q += put_decimal(q, row.destination)
        q[0] = 0
        q[1] = row.esm_class
        memcpy(q + 2, r.mid, 40)
        q += 2 + r.mid_octets
        q[0] = row.data_coding
        q[1] = 0
        q[2] = <uint8_t>row.octets
        memcpy(q + 3, octets + row.octets_at, row.octets)
        q += 3 + row.octets
        put_u32(s, <uint32_t>(q - s))
        return <uint16_t>(q - s)

    # ---- journal

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
        cdef int c = self.current, i
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
            h.magic, h.runs, h.records, h.base_ms, h.zero = LOG_MAGIC, runs, self.journal_records[c], self.journal_base_ms[c], 0
        else:
            n = 0
        for i in range(POOLS):
            self.frozen_made[i] = self.pools[i].made
        self.is_cut = True
        self.current = c ^ 1
        self.journal_octets[c ^ 1] = sizeof(log_header)
        records = self.journal_records[c]
        self.journal_records[c ^ 1] = 0
        self.journal_settles[c ^ 1] = 0
        self.delivered = 0
        return (<uint8_t[:self.journal_size[c]]>self.journal[c])[:n], records

    def committed(self):
        """What the last cut froze is on disk: its claims may leave, its settlements free their credit."""
        cdef int i
        if not self.is_cut:
            raise RuntimeError("committed without a cut")
        for i in range(POOLS):
            self.pools[i].committed = self.frozen_made[i]
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
        g.part, g.parts, g.kind, g.tries = f.part, f.parts, kind, f.tries

    def release_queued(self):
        """The end of a run: give back everything claimed and not handed to a socket. Returns how many parts. The marks
        stay: until that is on disk, a start finds these claims above them."""
        cdef pool *p
        cdef entry *x
        cdef flying f
        cdef int i
        cdef uint32_t n = 0
        with nogil:
            for i in range(POOLS):
                p = &self.pools[i]
                while p.taken < p.made and self.journal_octets[self.current] + 64 <= JOURNAL - JOURNAL_ROOM // 4:
                    x = &p.ring[p.taken & (p.size - 1)]
                    _flying_of(&f, x)
                    self._log(K_RELEASED, x.part, 0, x.rank, x.run, 0, NULL, 0, self._now())
                    self._give_back(&f, K_RELEASED, 0)
                    self.journal_settles[self.current] += 1
                    self.runs[x.run].open -= 1
                    p.arena_taken = x.at + x.octets
                    p.taken += 1
                    n += 1
            self.released += n
        return n

    def take_returned(self):
        """What waits for a decision since the last call: [(kind, run, rank, part, parts, slot, destination, status, tries)]."""
        cdef size_t i
        out = []
        for i in range(self.n_returned):
            g = self.returned[i]
            out.append((g.kind, g.run, g.rank, g.part, g.parts, g.slot, g.destination, g.status, g.tries))
        self.n_returned = 0
        return out

    # ---- index of message_ids

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
        self.segments[self.n_segments] = <known *>calloc(SEGMENT, sizeof(known))
        self.segment_used[self.n_segments] = self.segment_live[self.n_segments] = 0
        self.n_segments += 1

    cdef known *_find(self, uint64_t key, int *segment) noexcept nogil:
        cdef int s = self.n_segments - 1
        cdef uint64_t i
        while s >= 0:
            i = key & (SEGMENT - 1)
            while self.segments[s][i].key:
                if self.segments[s][i].key == key:
                    segment[0] = s
                    return &self.segments[s][i]
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

    def key_of(self, bytes id, *, bint receipt=False):
        """The hash under which a message_id is known (from a response, or from a receipt)."""
        cdef const uint8_t *p = id
        return hash_id(p, len(id), self.hex_receipt if receipt else self.hex_response, 0)

    def remember(self, bytes id, uint32_t run, uint32_t rank, int part, int state):
        """An accepted id found in the log at start; state: what is known of it."""
        cdef const uint8_t *p = id
        self._remember(hash_id(p, len(id), self.hex_response, 0), run, rank, part, state)

    def rebuild(self, const uint8_t[::1] value, dict run_of, set_settled):
        """Insert the accepted ids of one log value, newest value first. run_of: {id of campaign: run number, -1 = not wanted};
        set_settled: a Settled, which collects what has its final receipt already. Returns ids inserted."""
        cdef Settled settled = set_settled
        cdef size_t at = sizeof(log_header), end, left, n, size
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef int32_runs runs
        cdef uint32_t inserted = 0
        cdef uint64_t key
        cdef const log_record *x
        cdef int pass_
        if value.shape[0] < <ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC or sizeof(log_header) + h.octets + 16 * <size_t>h.runs > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        end = sizeof(log_header) + h.octets
        memset(&runs, 0xFF, sizeof(int32_runs))
        cdef const log_run *t = <const log_run *>(p + end)
        cdef uint32_t i
        for i in range(h.runs):
            if t[i].run < MAX_RUNS:
                runs.of[t[i].run] = run_of.get(t[i].id, -1)
        with nogil:
            for pass_ in range(2):
                at = sizeof(log_header)
                while at < end:
                    size = log_record_octets(p + at, end - at)
                    if size == 0:
                        break
                    x = <const log_record *>(p + at)
                    if x.kind != K_CLAIM and x.kind != K_HELD and x.run < MAX_RUNS and runs.of[x.run] >= 0:
                        key = (<uint64_t>runs.of[x.run] << 40 | x.rank) << 8 | x.part
                        if pass_ == 0 and x.kind == K_RECEIPT:
                            settled.add(key)
                        elif pass_ == 1 and x.kind == K_ACCEPTED and x.id_octets and not settled.has(key):
                            self._remember(hash_id(p + at + sizeof(log_record), x.id_octets, self.hex_response, 0), runs.of[x.run], x.rank, x.part, 3)
                            inserted += 1
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
        x = <log_record *>self._record(sizeof(log_record) + PAD8(n) + 8, MAX_RUNS)
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

    def receipt(self, bytes id, int state, uint32_t status, uint64_t number):
        """A receipt that Python read (off the fast path)."""
        cdef const uint8_t *p = id
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

    # ---- opt-outs in mid-send

    def revoke(self, int tenant, uint64_t number, int decision=20):
        """From now on nothing of the purposes that honour STOP leaves from this tenant to this number; what was claimed
        gets this Decision (20: opted out)."""
        if (self.n_revoked + 1) * 2 > self.revoked_room:
            old = [self.revoked[i] for i in range(self.revoked_room) if self.revoked[i]]
            self.revoked_room *= 2
            free(self.revoked)
            self.revoked = <uint64_t *>calloc(self.revoked_room, 8)
            self.n_revoked = 0
            for key in old:
                self._revoke(key)
        self._revoke(_revoked_key(tenant, number) | <uint64_t>decision << 56)

    cdef void _revoke(self, uint64_t key) noexcept:
        cdef size_t i = key & (self.revoked_room - 1)
        while self.revoked[i] and (self.revoked[i] ^ key) & REVOKED_KEY:
            i = (i + 1) & (self.revoked_room - 1)
        if self.revoked[i] == 0:
            self.n_revoked += 1
        self.revoked[i] = key

    cdef int _is_revoked(self, uint16_t tenant, uint64_t number) noexcept nogil:
        """the decision, 0 for none"""
        cdef uint64_t key = _revoked_key(tenant, number)
        cdef size_t i = key & (self.revoked_room - 1)
        while self.revoked[i]:
            if not (self.revoked[i] ^ key) & REVOKED_KEY:
                return <int>(self.revoked[i] >> 56)
            i = (i + 1) & (self.revoked_room - 1)
        return 0

    def forget_revoked(self):
        """Drop the set; right when nothing claimed before the opt-outs' commit is left in a ring."""
        memset(self.revoked, 0, self.revoked_room * 8)
        self.n_revoked = 0

    @property
    def revoked_count(self):
        return self.n_revoked

    # ---- rate

    def set_rate(self, uint64_t rate, uint64_t now_ns):
        """Parts in any sliding 1.005 s; 0 = no limit. The first second after a change is empty and the log evenly spread."""
        cdef uint64_t i
        free(self.pace)
        self.pace = NULL
        self.rate = rate
        self.pace_no = 0
        self.pace_due_ns = 0
        if rate:
            self.pace_interval_ns = 1e9 / rate
            self.pace = <uint64_t *>malloc(rate * 8)
            for i in range(rate):
                self.pace[i] = now_ns + i * 1_000_000_000 // rate

    def hold_until(self, uint64_t ns):
        """Nothing of the bulk pool leaves before this monotonic instant (throttled, disk full)."""
        self.hold_until_ns = ns

    @property
    def next_send_ns(self):
        """The monotonic instant before which pace or a hold lets nothing leave; 0 = now."""
        cdef uint64_t t = self.hold_until_ns
        if self.rate:
            t = max(t, self.pace[self.pace_no % self.rate] + PACE_NS)
            t = max(t, <uint64_t>max(0.0, self.pace_due_ns - PACE_SLACK_NS))
        return t


cdef class Pump:
    """One bind: its window, its buffers, its socket. pull() and push() do everything that a wake-up asks for."""

    cdef Book book
    cdef int fd
    cdef uint8_t *out
    cdef uint8_t *inb
    cdef uint8_t *off
    cdef uint8_t *raw
    cdef size_t out_octets, out_at, in_octets, off_octets, raw_octets, raw_room
    cdef flying *window_table
    cdef uint32_t mask, seq
    cdef uint32_t *answers          # deliver_sm sequence numbers: head .. ready may be answered, ready .. cut in a commit
    cdef uint64_t a_head, a_ready, a_cut, a_tail
    cdef uint8_t *carry             # the rest of a message with more parts than the window is wide
    cdef size_t carry_octets, carry_at
    cdef flying *carry_meta
    cdef int carry_n, carry_i, carry_pool
    cdef uint64_t fill_ns           # when the out buffer was filled, and how many submit_sm are in it
    cdef uint32_t fill_parts
    cdef bint repacing              # the socket took them too late for their places in the pace
    cdef size_t stat_at             # where the last receipt had its stat:, tried first
    cdef readonly uint32_t window, in_flight
    cdef readonly bint blocked, closed, broken, stalled
    cdef readonly int last_errno
    cdef readonly uint64_t submits, responses, delivers, enquire_links, timeouts, timeouts_in_row, last_received_ns, last_status
    cdef readonly uint64_t octets_in, octets_out, rtt_sum_ns, rtt_count
    cdef public bint draining       # submit nothing more; answers still leave

    def __cinit__(self, Book book, int fd, uint32_t window, *, uint32_t first_seq=2):
        if not 1 <= window <= 10_000:
            raise ValueError("window: 1 to 10,000")
        self.book, self.fd, self.window = book, fd, window
        self.mask = 16
        while self.mask < 4 * window:
            self.mask *= 2
        self.window_table = <flying *>calloc(self.mask, sizeof(flying))
        self.mask -= 1
        self.out = <uint8_t *>malloc(OUT + 2 * PDU_SLACK)
        self.inb = <uint8_t *>malloc(IN)
        self.off = <uint8_t *>malloc(OFF)
        self.raw_room = 4096
        self.raw = <uint8_t *>malloc(self.raw_room)
        self.answers = <uint32_t *>malloc(ANSWERS * 4)
        self.seq = first_seq
        self.last_received_ns = monotonic_ns()

    def __dealloc__(self):
        free(self.window_table)
        free(self.out)
        free(self.inb)
        free(self.off)
        free(self.raw)
        free(self.answers)
        free(self.carry)
        free(self.carry_meta)

    def __repr__(self):
        return f"<Pump fd={self.fd} in_flight={self.in_flight}/{self.window} seq={self.seq} blocked={self.blocked} closed={self.closed}>"

    @property
    def full(self):
        """Reading must wait: too much is unanswered or unwritten."""
        return (self.a_tail - self.a_head > ANSWERS - IN // 17 or self.off_octets > OFF // 2 or self.raw_octets > OUT
                or self.book.journal_octets[self.book.current] > JOURNAL - JOURNAL_ROOM)

    @property
    def idle(self):
        return (self.a_head == self.a_tail and self.out_octets == self.out_at and self.raw_octets == 0
                and self.in_flight == 0 and self.carry_i == self.carry_n)

    @property
    def waiting_answers(self):
        """deliver_sm received whose content is not durable yet or whose answer has not left."""
        return self.a_tail - self.a_head

    def cut(self):
        self.a_cut = self.a_tail

    def committed(self):
        self.a_ready = self.a_cut

    def queue(self, bytes octets):
        """Octets of Python's making (answers, enquire_link, unbind), sent before anything else."""
        cdef size_t n = len(octets)
        if self.raw_octets + n > self.raw_room:
            self.raw_room = 2 * (self.raw_octets + n)
            self.raw = <uint8_t *>realloc(self.raw, self.raw_room)
        memcpy(self.raw + self.raw_octets, <const uint8_t *>octets, n)
        self.raw_octets += n

    def next_sequence_number(self):
        """One for a request of Python's making."""
        cdef uint32_t s = self.seq
        self.seq = 1 if self.seq == 0x7FFFFFFF else self.seq + 1
        return s

    def take_off(self):
        """The raw PDUs that are not on the fast path, oldest first; reading goes on after this."""
        cdef size_t at = 0, n
        out = []
        while at < self.off_octets:
            n = get_u32(self.off + at)
            out.append((<char *>self.off + at)[:n])
            at += n
        self.off_octets = 0
        return out

    def pull(self):
        """Receive, scan, fill, send. Returns flags: CLOSED, OFF_PATH, BROKEN, BLOCKED."""
        cdef Book b = self.book
        cdef ssize_t n
        if self.full:                       # answers may leave, nothing more is read
            with nogil:
                self._push(b)
            return self._flags()
        with nogil:
            if self.stalled:                # octets kept back while `off` was full
                self.stalled = False
                self._eat(b)
            n = recv(self.fd, self.inb + self.in_octets, IN - self.in_octets, MSG_DONTWAIT)
            if n > 0:
                self.in_octets += n
                self.octets_in += n
                self.last_received_ns = monotonic_ns()
                self._eat(b)
            elif n == 0:
                self.closed = True
            elif errno != EAGAIN and errno != EWOULDBLOCK and errno != EINTR:
                self.closed = True
                self.last_errno = errno
            if not self.closed and not self.broken:
                self._push(b)
        return self._flags()

    def push(self):
        """Fill and send what window, pace and pool allow."""
        cdef Book b = self.book
        if not self.closed:
            with nogil:
                self._push(b)
        return self._flags()

    cdef int _flags(self):
        return ((CLOSED if self.closed else 0) | (OFF_PATH if self.off_octets else 0)
                | (BROKEN if self.broken else 0) | (BLOCKED if self.blocked else 0))

    # ---- out

    cdef void _push(self, Book b) noexcept nogil:
        cdef ssize_t n
        self.blocked = False
        while True:
            if self.out_at == self.out_octets:
                self.out_octets = self._fill(b)
                self.out_at = 0
                b.marks[0] = b.pools[0].taken
                b.marks[1] = b.pools[1].taken
                if self.out_octets == 0:
                    return
            elif self.fill_parts and not self._repaced(b):
                return
            n = send(self.fd, self.out + self.out_at, self.out_octets - self.out_at, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n < 0:
                if errno == EAGAIN or errno == EWOULDBLOCK:
                    self.blocked = True
                elif errno != EINTR:
                    self.closed = True
                    self.last_errno = errno
                return
            self.out_at += n
            self.octets_out += n

    cdef bint _repaced(self, Book b) noexcept nogil:
        """Octets that the socket did not take when they were filled leave now: past the slack they need new places in the
        pace, or a second would see more than the rate. Their old places stay used."""
        cdef uint64_t now = monotonic_ns()
        cdef uint32_t i
        if now < self.fill_ns + PACE_SPARE_NS:
            return True
        if b.rate and not self._pace_allows(b, now, self.fill_parts):
            if not self.repacing:
                self.repacing = True
                b.aside[0] += 1
            return False
        if self.repacing:
            self.repacing = False
            b.aside[0] -= 1
        if b.rate:
            for i in range(self.fill_parts):
                self._pace_left(b, now)
        self.fill_ns = now
        return True

    cdef size_t _fill(self, Book b) noexcept nogil:
        """Python's octets, answers to committed deliver_sm, then claimed parts: replies before bulk, as far as window,
        pace and the 64 KiB of a send allow. A message leaves whole, on one bind, in order."""
        cdef uint8_t *q = self.out
        cdef uint8_t *e = self.out + OUT
        cdef uint64_t now
        cdef size_t n = 0
        self.fill_parts = 0
        if self.raw_octets:
            while n < self.raw_octets and n + get_u32(self.raw + n) <= OUT:       # whole PDUs: close() walks the buffer
                n += get_u32(self.raw + n)
            memcpy(q, self.raw, n)
            memmove(self.raw, self.raw + n, self.raw_octets - n)
            self.raw_octets -= n
            q += n
            if self.raw_octets:
                return n
        while self.a_head < self.a_ready and q < e:
            put_u32(q, 17)
            put_u32(q + 4, 0x80000005U)
            put_u32(q + 8, 0)
            put_u32(q + 12, self.answers[self.a_head & (ANSWERS - 1)])
            q[16] = 0
            q += 17
            self.a_head += 1
        if self.draining:
            return q - self.out
        now = monotonic_ns()
        self.fill_ns = now
        q = self._fill_carry(b, q, e, now)
        if self.carry_i < self.carry_n:
            return q - self.out
        q = self._fill_pool(b, 1, q, e, now)
        # while a reply waits for window or pace, bulk does not take what is there
        if self.carry_i == self.carry_n and now >= b.hold_until_ns and b.pools[1].taken == b.pools[1].committed:
            q = self._fill_pool(b, 0, q, e, now)
        q = self._fill_carry(b, q, e, now)
        return q - self.out

    cdef uint8_t *_fill_carry(self, Book b, uint8_t *q, uint8_t *e, uint64_t now) noexcept nogil:
        """the rest of a message that window or pace cannot take at once, part by part"""
        cdef size_t n
        while (self.carry_i < self.carry_n and self.in_flight < self.window and q < e and self._pace_allows(b, now, 1)
               and (self.carry_pool == 1 or now >= b.hold_until_ns)):
            n = get_u32(self.carry + self.carry_at)
            memcpy(q, self.carry + self.carry_at, n)
            self._fly(b, q, &self.carry_meta[self.carry_i], now)
            q += n
            self.carry_at += n
            self.carry_i += 1
            b.aside[self.carry_pool] -= 1
        return q

    cdef inline bint _pace_allows(self, Book b, uint64_t now, int parts) noexcept nogil:
        """the last of `parts` may leave now"""
        if b.rate == 0:
            return True
        if <uint64_t>parts > b.rate:
            parts = <int>b.rate
        return (now >= b.pace[(b.pace_no + parts - 1) % b.rate] + PACE_NS
                and <double>now + PACE_SLACK_NS >= b.pace_due_ns)

    cdef inline void _pace_left(self, Book b, uint64_t now) noexcept nogil:
        b.pace[b.pace_no % b.rate] = now
        b.pace_no += 1
        b.pace_due_ns = (b.pace_due_ns if b.pace_due_ns > <double>now else <double>now) + b.pace_interval_ns

    cdef uint8_t *_fill_pool(self, Book b, int which, uint8_t *q, uint8_t *e, uint64_t now) noexcept nogil:
        cdef pool *p = &b.pools[which]
        cdef entry *x
        cdef flying f
        cdef int i, n, why
        cdef bint piecemeal
        while p.taken < p.committed and q < e:
            x = &p.ring[p.taken & (p.size - 1)]
            n = x.group
            why = b._is_revoked(b.runs[x.run].tenant, x.destination) if b.n_revoked and b.runs[x.run].honours_stop else 0
            if b.runs[x.run].stopped or why:
                for i in range(n):
                    x = &p.ring[p.taken & (p.size - 1)]
                    _flying_of(&f, x)
                    if b.runs[x.run].stopped:
                        b._log(K_RELEASED, x.part, 0, x.rank, x.run, 0, NULL, 0, b._now())
                        b._give_back(&f, K_RELEASED, 0)
                        b.released += 1
                    else:
                        b._log(K_SKIPPED, x.part, why, x.rank, x.run, n, NULL, 0, b._now())
                        b._give_back(&f, K_SKIPPED, why)
                        b.stopped += 1
                    b.journal_settles[b.current] += 1
                    b.runs[x.run].open -= 1
                    p.arena_taken = x.at + x.octets
                    p.taken += 1
                if b.journal_octets[b.current] > JOURNAL - JOURNAL_ROOM // 2:
                    break
                continue
            if self.in_flight + n > self.window and (self.in_flight or n <= <int>self.window):
                break
            piecemeal = self.in_flight + n > self.window or (b.rate and <uint64_t>n > b.rate)
            if not self._pace_allows(b, now, 1 if piecemeal else n):
                break
            if piecemeal:
                self._carry_message(b, which, n)
                return q
            for i in range(n):
                x = &p.ring[p.taken & (p.size - 1)]
                memcpy(q, p.arena + x.at % p.arena_octets, x.octets)
                _flying_of(&f, x)
                self._fly(b, q, &f, now)
                q += x.octets
                p.arena_taken = x.at + x.octets
                p.taken += 1
                if q >= e + PDU_SLACK:              # a long message: what follows goes through the carry
                    if i + 1 < n:
                        self._carry_message(b, which, n - i - 1)
                    return q
        return q

    cdef void _carry_message(self, Book b, int which, int n) noexcept nogil:
        cdef pool *p = &b.pools[which]
        cdef int i
        cdef size_t octets = 0
        cdef entry *x
        for i in range(n):
            octets += p.ring[(p.taken + i) & (p.size - 1)].octets
        self.carry = <uint8_t *>realloc(self.carry, octets)
        self.carry_meta = <flying *>realloc(self.carry_meta, n * sizeof(flying))
        self.carry_octets, self.carry_at, self.carry_n, self.carry_i, self.carry_pool = octets, 0, n, 0, which
        b.aside[which] += n
        octets = 0
        for i in range(n):
            x = &p.ring[p.taken & (p.size - 1)]
            memcpy(self.carry + octets, p.arena + x.at % p.arena_octets, x.octets)
            octets += x.octets
            _flying_of(&self.carry_meta[i], x)
            p.arena_taken = x.at + x.octets
            p.taken += 1

    cdef void _fly(self, Book b, uint8_t *pdu, const flying *f, uint64_t now) noexcept nogil:
        """give it the next free sequence number and enter it in the window"""
        cdef flying *w = &self.window_table[self.seq & self.mask]
        while w.seq and not w.late:
            self.seq = 1 if self.seq == 0x7FFFFFFF else self.seq + 1
            w = &self.window_table[self.seq & self.mask]
        w[0] = f[0]
        w.seq, w.sent_ns, w.late = self.seq, now, 0
        put_u32(pdu + 12, self.seq)
        self.seq = 1 if self.seq == 0x7FFFFFFF else self.seq + 1
        self.in_flight += 1
        self.fill_parts += 1
        self.submits += 1
        b.submits += 1
        if b.rate:
            self._pace_left(b, now)

    # ---- in

    cdef void _eat(self, Book b) noexcept nogil:
        cdef uint8_t *p = self.inb
        cdef uint8_t *e = p + self.in_octets
        cdef uint32_t n, id
        cdef uint16_t delta
        cdef uint64_t now = monotonic_ns()
        delta = b._now()
        while e - p >= 16:
            n = get_u32(p)
            if n < 16 or n > MAX_PDU:
                self.broken = True
                break
            if <size_t>(e - p) < n:
                break
            id = get_u32(p + 4)
            if id == 0x80000004U:
                self._response(b, p, n, delta, now)
            elif id == 5 and self._deliver(b, p, n, delta):
                self.delivers += 1
                b.delivered += 1
                self.answers[self.a_tail & (ANSWERS - 1)] = get_u32(p + 12)
                self.a_tail += 1
            elif id == 0x00000015:
                if self.raw_octets + 16 > self.raw_room:
                    self.raw_room = 2 * self.raw_room
                    self.raw = <uint8_t *>realloc(self.raw, self.raw_room)
                put_u32(self.raw + self.raw_octets, 16)
                put_u32(self.raw + self.raw_octets + 4, 0x80000015U)
                put_u32(self.raw + self.raw_octets + 8, 0)
                memcpy(self.raw + self.raw_octets + 12, p + 12, 4)
                self.raw_octets += 16
                self.enquire_links += 1
            elif id == 0x80000015U:
                pass
            else:
                if self.off_octets + n > OFF:
                    self.stalled = True
                    break
                memcpy(self.off + self.off_octets, p, n)
                self.off_octets += n
                if id == 0x80000000U:                # a generic_nack to one of ours is its answer
                    self._response(b, p, n, delta, now)
            p += n
        self.in_octets = e - p
        if self.in_octets and p != self.inb:
            memmove(self.inb, p, self.in_octets)

    cdef void _response(self, Book b, const uint8_t *p, uint32_t n, uint16_t delta, uint64_t now) noexcept nogil:
        cdef uint32_t seq = get_u32(p + 12), status = get_u32(p + 8)
        cdef flying *w = &self.window_table[seq & self.mask]
        cdef const uint8_t *z
        cdef size_t k = 0
        cdef int action, state
        cdef bint again, free_
        cdef uint64_t key
        if w.seq != seq or seq == 0:
            b.strange_responses += 1
            return
        if status == 0 and get_u32(p + 4) != 0x80000004U:
            status = 0xFF                            # a generic_nack without a status
        self.responses += 1
        self.timeouts_in_row = 0
        self.rtt_sum_ns += now - w.sent_ns
        self.rtt_count += 1
        if status == 0:
            if n > 16:
                z = <const uint8_t *>memchr(p + 16, 0, n - 16)
                k = z - (p + 16) if z != NULL else n - 16
            b._log(K_ACCEPTED, w.part, 0, w.rank, w.run, 0, p + 16, k, delta)
            b.accepted += 1
            if k and b.runs[w.run].receipts:
                key = hash_id(p + 16, k, b.hex_response, 0)
                state = b._match_held(key, w.run, w.rank, w.part, delta) if b.n_held else 0
                if state == 0 and b.n_held and b.hex_receipt != b.hex_response:
                    state = b._match_held(hash_id(p + 16, k, b.hex_receipt, 0), w.run, w.rank, w.part, delta)
                b._remember(key, w.run, w.rank, w.part, state if state else 3)
        else:
            self.last_status = status
            action = b.actions[status] if status < STATUSES else b.action_other
            again = action == ACT_THROTTLED or action == ACT_LATER
            free_ = again                                # no attempt is used up
            if (action == ACT_BOUNDED or action == ACT_CLOSE) and w.tries + 1 < b.tries_max:
                again = True
            if not again:
                b._log(K_REFUSED, w.part, w.late, w.rank, w.run, status, NULL, 0, delta)
                b.refused += 1
            elif not w.late:                             # a late one stays uncertain: its purpose may have sent it again
                b._log(K_RETRY, w.part, free_, w.rank, w.run, status, NULL, 0, delta)
                b._give_back(w, K_RETRY, status)
            if action == ACT_THROTTLED:
                b.throttled += 1
                b.hold_until_ns = now + b.retry_ns
            elif again:
                b.retried += 1
            if action == ACT_CLOSE:
                self.broken = True
        if w.late:
            b.late += 1
        else:
            self.in_flight -= 1
            b.journal_settles[b.current] += 1
            b.runs[w.run].open -= 1
        w.seq = 0
        w.late = 0

    cdef bint _deliver(self, Book b, const uint8_t *p, uint32_t n, uint16_t delta) noexcept nogil:
        """a receipt in the common form: True when it is journalled; anything else is left to the full codec"""
        cdef const uint8_t *e = p + n
        cdef const uint8_t *q = p + 16
        cdef const uint8_t *z
        cdef const uint8_t *sm
        cdef const uint8_t *id = NULL
        cdef size_t k = 0, sm_octets, i
        cdef int state = -2, tag, length, esm, data_coding, t, s = 0
        cdef uint64_t number = 0
        cdef uint32_t err = 0
        z = <const uint8_t *>memchr(q, 0, 6 if e - q > 6 else e - q)
        if z == NULL or e - z < 4:
            return False
        q = z + 3                                                     # source_addr, after ton and npi
        z = <const uint8_t *>memchr(q, 0, 21 if e - q > 21 else e - q)
        if z == NULL:
            return False
        while q < z:
            if 48 <= q[0] <= 57:
                number = number * 10 + (q[0] - 48)
            elif q[0] != 43:
                number = 0
                break
            q += 1
        q = z + 3
        if q >= e:
            return False
        z = <const uint8_t *>memchr(q, 0, 21 if e - q > 21 else e - q)
        if z == NULL or e - z < 12:
            return False
        esm = z[1]
        if (esm & 0x3C) != 0x04 or esm & 0x40:
            return False
        if z[4] or z[5]:                                              # times: not the common form
            return False
        data_coding = z[8]
        sm_octets = z[10]
        sm = z + 11
        if data_coding == 8 or <size_t>(e - sm) < sm_octets:
            return False
        q = sm + sm_octets
        while e - q >= 4:
            tag = q[0] << 8 | q[1]
            length = q[2] << 8 | q[3]
            if e - q - 4 < length:
                return False
            if tag == 0x001E and length:
                id = q + 4
                z = <const uint8_t *>memchr(id, 0, length)
                k = z - id if z != NULL else length
            elif tag == 0x0427 and length:
                t = tlv_state(q[4])
                if t < 0:
                    return False
                state = t
            elif tag == 0x0424:
                return False
            q += 4 + length
        if q != e:
            return False
        if sm_octets:
            if sm_octets < 4 or memcmp(sm, b"id:", 3):
                return False                                          # another order or case
            q = sm + 3
            z = <const uint8_t *>memchr(q, 32, sm_octets - 3)
            length = <int>((z if z != NULL else sm + sm_octets) - q)
            # the TLV's id first, then the text's (SMPP_FACTS 10)
            if k == 0 or (k <= 64 and 0 < length <= 64 and b._lookup(id, k, &s) == NULL and b._lookup(q, length, &s) != NULL):
                id, k = q, length
            i = self.stat_at
            if i + 13 > sm_octets or memcmp(sm + i, b" stat:", 6):
                z = <const uint8_t *>memmem(sm, sm_octets, b" stat:", 6)
                i = z - sm if z != NULL else sm_octets
                if z != NULL and memmem(sm, i, b"ext:", 4) != NULL:
                    return False                                      # all after `text:` is text
            if i < sm_octets:
                self.stat_at = i
                q = sm + i + 6
                z = <const uint8_t *>memchr(q, 32, sm + sm_octets - q)
                if z == NULL:
                    z = sm + sm_octets
                if state == -2:
                    state = receipt_state(q, z - q)
                    if state < 0:
                        return False
                if sm + sm_octets - z >= 5 and not memcmp(z, b" err:", 5):
                    z += 5
                    q = z
                    while z < sm + sm_octets and 48 <= z[0] <= 57:
                        err = err * 10 + (z[0] - 48)
                        z += 1
                    if not 0 < z - q < 7:
                        return False
                if z < sm + sm_octets and (sm + sm_octets - z < 6 or memcmp(z + 2, b"ext:", 4)):
                    return False                                      # something between stat, err and text
        if id == NULL or k == 0 or k > 64 or state == -2:
            return False
        b._receipt(id, k, state, err, number, delta)
        return True

    # ---- time and the end

    def tick(self, uint64_t now_ns, uint64_t response_timeout_ns):
        """Submits unanswered for the response timeout become uncertain; a late answer still settles them. Returns how many."""
        cdef Book b = self.book
        cdef uint32_t i
        cdef uint32_t n = 0
        with nogil:
            for i in range(self.mask + 1):
                if self.window_table[i].seq and not self.window_table[i].late and self.window_table[i].sent_ns + response_timeout_ns <= now_ns:
                    if b.journal_octets[b.current] > JOURNAL - JOURNAL_ROOM // 2:
                        break
                    self._lose(b, &self.window_table[i], 1)
                    self.window_table[i].late = 1
                    n += 1
            self.timeouts += n
            self.timeouts_in_row += n
        return n

    cdef void _lose(self, Book b, flying *w, int reason) noexcept nogil:
        b._log(K_UNCERTAIN, w.part, reason, w.rank, w.run, 0, NULL, 0, b._now())
        b._give_back(w, K_UNCERTAIN, reason)
        b.uncertain += 1
        b.journal_settles[b.current] += 1
        b.runs[w.run].open -= 1
        self.in_flight -= 1

    def flying_to(self, uint64_t number):
        """Submits to this number that are handed over and unanswered on this bind."""
        cdef uint32_t i, n = 0
        for i in range(self.mask + 1):
            if self.window_table[i].seq and not self.window_table[i].late and self.window_table[i].destination == number:
                n += 1
        for i in range(self.carry_i, self.carry_n):
            if self.carry_meta[i].destination == number:
                n += 1
        return n

    def close(self):
        """The connection ended: what never reached the socket is given back, what did and is unanswered is uncertain."""
        cdef Book b = self.book
        cdef size_t at = 0, n
        cdef uint32_t i, seq
        cdef flying *w
        self.closed = True
        while at < self.out_octets:                # PDUs of the out buffer that the socket never took whole
            n = get_u32(self.out + at)
            if n < 16:
                break
            if at + n > self.out_at and get_u32(self.out + at + 4) == 0x00000004:
                seq = get_u32(self.out + at + 12)
                w = &self.window_table[seq & self.mask]
                if w.seq == seq and not w.late:
                    self._release(b, w)
                    w.seq = 0
                    self.in_flight -= 1
            at += n
        for i in range(self.carry_i, self.carry_n):
            self._release(b, &self.carry_meta[i])
            b.aside[self.carry_pool] -= 1
        self.carry_i = self.carry_n
        if self.repacing:
            self.repacing = False
            b.aside[0] -= 1
        for i in range(self.mask + 1):
            w = &self.window_table[i]
            if w.seq:
                if not w.late:
                    self._lose(b, w, 2)
                w.seq = 0
        self.out_octets = self.out_at = 0

    cdef void _release(self, Book b, flying *w) noexcept:
        b._log(K_RELEASED, w.part, 0, w.rank, w.run, 0, NULL, 0, b._now())
        b._give_back(w, K_RELEASED, 0)
        b.released += 1
        b.journal_settles[b.current] += 1
        b.runs[w.run].open -= 1


cdef inline void _flying_of(flying *f, const entry *x) noexcept nogil:
    f.destination, f.rank, f.slot, f.run, f.part, f.parts, f.tries = x.destination, x.rank, x.slot, x.run, x.part, x.parts, x.tries
    f.seq, f.sent_ns, f.late = 0, 0, 0
