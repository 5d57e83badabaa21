"""What one endpoint's binds share: rings of claimed parts, the journal and the index (its bases), opt-outs, the rate.

Touches: the mapping of the marks. Policy stays outside: what a status means is a table handed in.
Rests on: DESIGN 6 to 8; SMPP_FACTS 1. One thread calls a Book and its Pumps (the trio thread).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from dispatcher.records.layouts cimport K_CLAIM, K_RELEASED, PAD8, log_claim, part_row
from dispatcher.smpp._journal cimport JOURNAL, JOURNAL_ROOM, RUN_OPEN, Journal, flying, run_head, run_left, run_queued
from dispatcher.smpp._pace cimport Pace, pace_free_ns
from dispatcher.smpp._wire cimport put_decimal, put_u32

cdef enum:
    REPLIES_AHEAD = 64      # parts that may be claimed past the credit, a lane
    URGENT_AHEAD = 256
    TOLD_SAR = 1            # batch.h
    TOLD_PAYLOAD = 2
    TAG_SAR_MSG_REF_NUM = 0x020C
    TAG_SAR_TOTAL_SEGMENTS = 0x020E
    TAG_SAR_SEGMENT_SEQNUM = 0x020F
    TAG_MESSAGE_PAYLOAD = 0x0424
    PARTS_MAX = 127         # of a message: a claim's octet from 128 on is a decision (outcome_log.h)

cdef uint64_t REVOKED_KEY = (<uint64_t>1 << 56) - 1

cdef inline uint64_t _revoked_key(uint16_t tenant, uint64_t number) noexcept nogil:
    """56 bits; the eight above hold the decision"""
    cdef uint64_t k = (number * <uint64_t>0x9E3779B97F4A7C15ULL) ^ (<uint64_t>tenant << 48) ^ tenant
    k = (k ^ k >> 31) & REVOKED_KEY
    return k if k else 1

cdef inline uint64_t _pdu_room(const part_row *row) noexcept nogil:
    """what its submit_sm may take at most"""
    return PDU_HEAD + row.octets if row.octets > PDU_SLACK - PDU_HEAD else PDU_SLACK

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

cdef class Book(Index):
    """Sizes: `ring` parts a pool (a power of two), `credit` parts claimed and unsettled. See _journal.pyx and _index.pyx
    for the rest of what it does."""

    def __cinit__(self, uint64_t credit, marks, bytes actions, int action_other, *, uint64_t ring=65536,
                  uint64_t reply_ring=4096, str ids="same", int segments_kept=4, int tries_max=3,
                  uint32_t endpoint=0):
        cdef int i
        cdef uint64_t sizes[POOLS]
        if ring & (ring - 1) or reply_ring & (reply_ring - 1):
            raise ValueError("ring sizes are powers of two")
        if not 256 <= len(actions) <= STATUSES:
            raise ValueError(f"actions: one octet for each command_status below 256, at most below {STATUSES}")
        cdef uint64_t[::1] words = marks
        if words.shape[0] < POOLS:
            raise ValueError("marks: 8 octets a pool")
        self.marks, self.marks_of = &words[0], memoryview(marks)
        sizes[0], sizes[1], sizes[2] = ring, reply_ring, reply_ring
        for i in range(POOLS):
            self.pools[i].size = sizes[i]
            self.pools[i].ring = <entry *>calloc(sizes[i], sizeof(entry))
            self.pools[i].arena_octets = sizes[i] * 256
            self.pools[i].arena = <uint8_t *>malloc(self.pools[i].arena_octets)
            self.pools[i].made = self.pools[i].committed = self.pools[i].taken = self.marks[i]
        self.revoked_room = 256
        self.revoked = <uint64_t *>calloc(self.revoked_room, 8)
        self.set_actions(actions, action_other)
        self.pace = Pace()
        self.congestion = -1
        self.credit = credit
        self.tries_max = tries_max
        self.retry_ns = 1_000_000_000

    def set_actions(self, bytes actions, int action_other):
        """What each command_status means from now on: an Action a value, action_other for the others."""
        cdef int i
        for i in range(STATUSES):
            self.actions[i] = actions[i] if i < len(actions) else action_other
        self.action_other = action_other

    def __dealloc__(self):
        cdef int i
        for i in range(POOLS):
            free(self.pools[i].ring)
            free(self.pools[i].arena)
        free(self.revoked)

    # ---- claims

    def position(self, int which):
        """(claim numbers made, the mark) of a pool."""
        self._known_pool(which)
        return self.pools[which].made, _mark(&self.pools[which])

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
        cdef uint64_t ahead = 0 if which == 0 else REPLIES_AHEAD if which == 1 else URGENT_AHEAD
        if p.made - p.taken < ahead:                # a reply never waits for bulk's credit
            n = max(n, ahead - (p.made - p.taken))
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
        if run >= self.n_runs or self.runs[run].use != RUN_OPEN:
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
        cdef uint64_t parts = 0, written = 0, arena = 0, largest = PDU_SLACK
        cdef uint32_t i
        for i in range(n):
            if rows[i].octets > (254 if rows[i].told != TOLD_PAYLOAD else PDU_MAX - PDU_HEAD) or <size_t>rows[i].octets_at + rows[i].octets > n_octets:
                return b"a row points outside its octets"
            if rows[i].decision >= 16:
                written += 1
            elif rows[i].parts > PARTS_MAX:
                return b"a message of more than 127 parts"
            elif not rows[i].skip:
                parts += 1
                written += 1
                arena += _pdu_room(&rows[i])
                largest = max(largest, _pdu_room(&rows[i]))
        if (p.made - p.taken + parts > p.size or self.journal_octets[self.current] + written * 48 > JOURNAL
                or p.arena_made - p.arena_taken + arena + largest > p.arena_octets):
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
        if at % p.arena_octets + _pdu_room(row) > p.arena_octets:
            at += p.arena_octets - at % p.arena_octets
        e.octets = self._submit_sm(r, row, octets, p.arena + at % p.arena_octets)
        e.destination, e.at, e.rank, e.slot, e.run = row.destination, at, row.rank, row.slot, run
        e.part, e.parts, e.tries, e.group, e.since_s = row.part, row.parts, row.tries, group, row.since_s
        p.arena_made = at + e.octets
        p.made += 1
        r.open += 1
        run_queued(r)
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
        q[2] = 0 if row.told == TOLD_PAYLOAD else <uint8_t>row.octets
        q += 3
        if row.told == TOLD_PAYLOAD:
            put_u32(q, <uint32_t>TAG_MESSAGE_PAYLOAD << 16 | row.octets)
            q += 4
        memcpy(q, octets + row.octets_at, row.octets)
        q += row.octets
        if row.told == TOLD_SAR:
            put_u32(q, <uint32_t>TAG_SAR_MSG_REF_NUM << 16 | 2)
            q[4], q[5] = row.ref >> 8, row.ref & 0xFF
            put_u32(q + 6, <uint32_t>TAG_SAR_TOTAL_SEGMENTS << 16 | 1)
            q[10] = row.parts
            put_u32(q + 11, <uint32_t>TAG_SAR_SEGMENT_SEQNUM << 16 | 1)
            q[15] = row.part + 1
            q += 16
        put_u32(s, <uint32_t>(q - s))
        return <uint16_t>(q - s)

    def cut(self):
        """Freeze the journal: (value as a memoryview, records). The view stays valid until the next cut."""
        cdef int i
        value = Journal.cut(self)
        for i in range(POOLS):
            self.frozen_made[i] = self.pools[i].made
        return value

    def committed(self):
        """What the last cut froze is on disk: its claims may leave, its settlements free their credit."""
        cdef int i
        Journal.committed(self)
        for i in range(POOLS):
            self.pools[i].committed = self.frozen_made[i]
            self.pools[i].giving_back[self.current ^ 1] = 0
            self.marks[i] = _mark(&self.pools[i])   # what was given back may be claimed elsewhere from now on

    def release_queued(self, *, bint keep_marks=False):
        """Give back everything claimed and not handed to a socket, as far as the journal has room; returns how many parts.
        At the end of a run the marks stay as they were stored last: until that is on disk, a start finds these claims above
        them. keep_marks: in mid-life, for others to send; the marks stand still, and nothing leaves, until it is on disk."""
        cdef pool *p
        cdef entry *x
        cdef flying f
        cdef int i
        cdef uint32_t n = 0
        with nogil:
            for i in range(POOLS):
                p = &self.pools[i]
                if keep_marks and p.taken < p.made:
                    if not _gives_back(p):
                        p.mark = p.taken
                    p.giving_back[self.current] = 1
                while p.taken < p.made and self.journal_octets[self.current] + 64 <= JOURNAL - JOURNAL_ROOM // 4:
                    x = &p.ring[p.taken & (p.size - 1)]
                    _flying_of(&f, x)
                    self._log(K_RELEASED, x.part, 0, x.rank, x.run, 0, NULL, 0, self._now())
                    self._give_back(&f, K_RELEASED, 0)
                    self.journal_settles[self.current] += 1
                    self.runs[x.run].open -= 1
                    run_left(&self.runs[x.run])
                    p.arena_taken = x.at + x.octets
                    p.taken += 1
                    n += 1
            self.released += n
        return n

    # ---- lanes

    cdef int _lane(self, uint64_t now, uint32_t *most, uint32_t passed) noexcept nogil:
        """which pool leaves next, and how many parts of it before another has its turn; -1: none may. passed: bits of pools
        whose first message waits for a pace of its own"""
        cdef int i, top = -1
        most[0] = 0xFFFFFFFF
        for i in range(POOLS - 1, -1, -1):
            if self.pools[i].taken == self.pools[i].committed:
                self.starved[i] = 0
            elif passed >> i & 1:
                continue
            elif i == POOLS - 1 or now >= self.hold_until_ns:
                if top < 0:
                    top = i
                elif self.starved[i] >= FLOOR:
                    most[0] = 1
                    return i
                else:
                    most[0] = min(most[0], FLOOR - self.starved[i])
        return top

    cdef void _lane_took(self, int which, uint32_t parts) noexcept nogil:
        cdef int i
        for i in range(which):
            if self.pools[i].taken < self.pools[i].committed:
                self.starved[i] += parts
        self.starved[which] = 0

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

    @property
    def rate(self):
        """Parts a second of the whole endpoint as it holds now; 0: no limit."""
        return self.pace.limit

    def set_rate(self, uint64_t rate, uint64_t now_ns):
        """Another contract of the endpoint's (Pace.set_rate)."""
        self.pace.set_rate(rate, now_ns)

    def judge(self, uint64_t now_ns):
        """Begin anew: only what leaves from this monotonic instant on tells whether the SMSC finds us too fast."""
        self.judged_ns = now_ns
        self.throttled_new = self.first_answers = self.first_later = 0
        self.congestion = -1

    def take_congestion(self):
        """The greatest congestion_state in answers since the last call; -1 for none."""
        state, self.congestion = self.congestion, -1
        return state

    def hold_until(self, uint64_t ns):
        """Nothing but the urgent leaves before this monotonic instant (throttled)."""
        self.hold_until_ns = ns

    @property
    def next_send_ns(self):
        """The monotonic instant before which pace or a hold lets nothing leave that is committed; 0 = neither holds it."""
        cdef uint64_t first = 0xFFFFFFFFFFFFFFFF, t
        cdef uint64_t hold = self.hold_until_ns if self.hold_until_ns > _clock(self) else 0
        cdef int i
        for i in range(POOLS):
            if self.aside[i]:
                t = pace_free_ns(&self.pace.log, 1)
            elif self.pools[i].taken < self.pools[i].committed:
                t = self._head_ns(&self.pools[i])
            else:
                continue
            if i < POOLS - 1:
                t = max(t, hold)
            first = min(first, t)
        return 0 if first == 0xFFFFFFFFFFFFFFFF else first

    @property
    def ready_parts(self):
        """Parts that are committed and whose lane waits for no commit: what binds could send, by pace and hold."""
        cdef uint64_t n = 0
        cdef int i
        for i in range(POOLS):
            if not _gives_back(&self.pools[i]):
                n += self.pools[i].committed - self.pools[i].taken
        return n

    cdef uint64_t _head_ns(self, pool *p) noexcept nogil:
        """when the first message of a pool may leave, by the endpoint's pace and its own"""
        cdef entry *x = &p.ring[p.taken & (p.size - 1)]
        cdef run_head *r = &self.runs[x.run]
        cdef uint64_t t = pace_free_ns(&self.pace.log, x.group), own
        cdef int i
        for i in range(r.n_paces):
            own = pace_free_ns(r.paces[i], x.group)
            t = own if own > t else t
        return t
