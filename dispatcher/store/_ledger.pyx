"""The ledger compiled: outcome-log records into arrays by rank, and bitmaps against them. GIL released, no object per message.

Folder   one fold: scan() finds the chunks that some log values touch, attach() lends their images, apply() writes the
         records into them and moves the campaign's counters, in log order.
Rests on: records/outcome_log.h, layout.ARRAYS, records/states.py. A part's state never goes backwards (SMPP_FACTS 10).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

cdef extern from "outcome_log.h" nogil:
    int LOG_MAGIC
    enum: K_CLAIM, K_ACCEPTED, K_REFUSED, K_RETRY, K_RELEASED, K_UNCERTAIN, K_RECEIPT, K_HELD, K_SKIPPED, K_SETTLED
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

cdef enum:
    CHUNK = 16320
    MAX_RUNS = 4096
    MAX_IMAGES = 1024
    TABLE = 4096                     # hash of (campaign, chunk) -> image
    DECISION = 0
    STATE, ERROR, PARTS, TRIES, SUBMIT_S, FINAL_S, TEXT_HASH, LOG_NO, PART_STATE, N_ARRAYS
    UNSENT = 0
    CLAIMED, RETRY_WAIT, ACCEPTED, DELIVERED, EXPIRED, FAILED, UNKNOWN, NO_RECEIPT, UNCERTAIN
    SENT = 1
    FLAG_ACCEPTED = 0x80             # in part_state: ESME_ROK came
    C_STATE = 32                     # counters: decisions, states, then these
    C_ACCEPTED = 48
    C_PARTS_SENT, C_PARTS_ACCEPTED, C_RETRIES, C_BY_NUMBER, C_RESENT, C_RECEIPTS, C_REPEATED

cdef struct image:
    uint32_t campaign, chunk, load, write, slots
    uint32_t width
    uint8_t *array[N_ARRAYS]

cdef struct run_map:
    int of[MAX_RUNS]

cdef int WIDTHS[N_ARRAYS]
WIDTHS[:] = [1, 1, 4, 1, 1, 4, 4, 4, 4, 1]


cdef inline uint32_t _bit(int array) noexcept nogil:
    return <uint32_t>1 << array


cdef class Folder:
    """One fold of at most `budget` octets of images, over any number of log values and campaigns."""

    cdef image *images
    cdef uint32_t n_images
    cdef int *table
    cdef size_t budget, used, noted  # noted: records that scan() has taken
    cdef uint64_t **counts
    cdef uint64_t *log_base
    cdef uint32_t n_campaigns, campaigns_room
    cdef dict numbers
    cdef list keep                   # buffers lent by attach(), alive as long as this

    def __cinit__(self, size_t budget=4 << 20):
        self.images = <image *>calloc(MAX_IMAGES, sizeof(image))
        self.table = <int *>malloc(TABLE * sizeof(int))
        memset(self.table, 0xFF, TABLE * sizeof(int))
        self.budget = budget
        self.campaigns_room = 64
        self.counts = <uint64_t **>calloc(self.campaigns_room, sizeof(void *))
        self.log_base = <uint64_t *>calloc(self.campaigns_room, 8)
        self.numbers = {}
        self.keep = []

    def __dealloc__(self):
        free(self.images)
        free(self.table)
        free(self.counts)
        free(self.log_base)

    cdef int _runs(self, const uint8_t[::1] value, run_map *runs) except -1:
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef const log_run *t
        cdef uint32_t i
        if value.shape[0] < <Py_ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC \
                or sizeof(log_header) + h.octets + sizeof(log_run) * <size_t>h.runs > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        memset(runs, 0xFF, sizeof(run_map))
        t = <const log_run *>(p + sizeof(log_header) + h.octets)
        for i in range(h.runs):
            if t[i].run >= MAX_RUNS:
                raise ValueError("run number out of range")
            number = self.numbers.get(t[i].id)
            if number is None:
                number = self.n_campaigns
                self.numbers[t[i].id] = number
                self.n_campaigns += 1
                if self.n_campaigns > self.campaigns_room:
                    self.campaigns_room *= 2
                    self.counts = <uint64_t **>realloc(self.counts, self.campaigns_room * sizeof(void *))
                    self.log_base = <uint64_t *>realloc(self.log_base, self.campaigns_room * 8)
                self.counts[<int>number] = NULL
            runs.of[t[i].run] = number
        return 0

    cdef int _image(self, uint32_t campaign, uint32_t chunk, bint make) noexcept nogil:
        cdef uint32_t h = (campaign * 2654435761u ^ chunk * 40503u) & (TABLE - 1)
        cdef image *m
        while self.table[h] >= 0:
            m = &self.images[self.table[h]]
            if m.campaign == campaign and m.chunk == chunk:
                return self.table[h]
            h = (h + 1) & (TABLE - 1)
        if not make or self.n_images == MAX_IMAGES:
            return -1
        m = &self.images[self.n_images]
        memset(m, 0, sizeof(image))
        m.campaign, m.chunk = campaign, chunk
        self.table[h] = self.n_images
        self.n_images += 1
        return self.n_images - 1

    cdef bint _want(self, uint32_t campaign, uint32_t chunk, uint32_t load, uint32_t write, uint32_t top, uint32_t width) noexcept nogil:
        """note what a record needs; False when it would pass the budget, which the first record may"""
        cdef int i = self._image(campaign, chunk, True), a
        cdef image *m
        cdef size_t more = 0
        cdef uint32_t added
        if i < 0:
            return False
        m = &self.images[i]
        added = (load | write) & ~m.load
        if added:
            for a in range(N_ARRAYS):
                if added & _bit(a):
                    more += WIDTHS[a] * CHUNK
            if self.used + more > self.budget and self.noted:
                return False
            self.used += more
            m.load |= load | write
        m.write |= write
        if top + 1 > m.slots:
            m.slots = top + 1
        if width > m.width:
            if width > 1:
                if self.used + (width - m.width) * CHUNK > self.budget and self.noted:
                    return False
                self.used += (width - m.width) * CHUNK
            m.width = width
        return True

    def scan(self, const uint8_t[::1] value, size_t at):
        """Note what the records from octet `at` (0: the first) touch. Returns (octet where it stopped, records, whole value done)."""
        cdef run_map runs
        self._runs(value, &runs)
        cdef const uint8_t *p = &value[0]
        cdef const log_header *h = <const log_header *>p
        cdef size_t end = sizeof(log_header) + h.octets, size = 1
        cdef uint32_t n = 0
        if at == 0:
            at = sizeof(log_header)
        with nogil:
            while at < end:
                size = log_record_octets(p + at, end - at)
                if size == 0 or not self._scan_one(p + at, &runs):
                    break
                at += size
                n += 1
                self.noted += 1
        if at < end and size == 0:
            raise ValueError(f"a record of the outcome log is cut off at octet {at}")
        return at, n, at >= end

    cdef bint _scan_one(self, const uint8_t *p, const run_map *runs) noexcept nogil:
        cdef const log_record *x = <const log_record *>p
        cdef const log_claim *c = <const log_claim *>p
        cdef const uint8_t *b
        cdef uint32_t base = _bit(DECISION) | _bit(STATE) | _bit(PARTS), load, write, i, first, last, width = 1, chunk
        cdef int campaign
        if x.kind == K_HELD or x.run >= MAX_RUNS:
            return True
        campaign = runs.of[x.run]
        if campaign < 0:
            return True
        if x.kind == K_CLAIM:
            if c.count == 0:
                return True
            b = p + sizeof(log_claim)
            for i in range(c.count):
                if b[i] < 128 and b[i] > width:
                    width = b[i]
            write = base | _bit(TRIES) | _bit(SUBMIT_S) | _bit(TEXT_HASH)
            first, last = c.first_rank, c.first_rank + c.count - 1
            chunk = first // CHUNK
            while chunk <= last // CHUNK:
                if not self._want(campaign, chunk, base, write, CHUNK - 1 if chunk < last // CHUNK else last % CHUNK, width):
                    return False
                chunk += 1
            return True
        load, write = base, _bit(STATE)
        if x.kind == K_ACCEPTED:
            write |= _bit(LOG_NO)
        elif x.kind == K_REFUSED:
            write |= _bit(ERROR) | _bit(FINAL_S)
        elif x.kind == K_RETRY:
            write |= _bit(ERROR) | _bit(TRIES)
        elif x.kind == K_RELEASED or x.kind == K_SKIPPED:
            write |= _bit(DECISION) | _bit(TRIES)
            if x.kind == K_SKIPPED:
                write |= _bit(FINAL_S)
            load |= _bit(ERROR)
        elif x.kind == K_RECEIPT or x.kind == K_SETTLED:
            write |= _bit(FINAL_S)
            if x.status & 0xFFFFFF:
                write |= _bit(ERROR)
        return self._want(campaign, x.rank // CHUNK, load, write, x.rank % CHUNK, x.part + 1)

    def wanted(self):
        """[(image number, campaign id, chunk, load mask, write mask, slots, part width)]"""
        ids = {number: id for id, number in self.numbers.items()}
        return [(i, ids[self.images[i].campaign], self.images[i].chunk, self.images[i].load, self.images[i].write,
                 self.images[i].slots, self.images[i].width) for i in range(self.n_images)]

    def campaigns(self):
        """ids met by scan()"""
        return list(self.numbers)

    def attach(self, int number, int array, uint8_t[::1] octets, uint32_t slots, uint32_t width):
        """Lend an array's image (after its header): slots x width octets, written in place."""
        if octets.shape[0] < <Py_ssize_t>slots * (width if array == PART_STATE else WIDTHS[array]):
            raise ValueError("image too short")
        self.keep.append(octets)
        self.images[number].array[array] = &octets[0]
        self.images[number].slots = slots
        if array == PART_STATE:
            self.images[number].width = width

    def attach_counts(self, id, uint8_t[::1] octets, uint64_t log_base):
        """Lend a campaign's counters (64 u64) and say where its log begins."""
        if octets.shape[0] < 512:
            raise ValueError("counters: 512 octets")
        self.keep.append(octets)
        self.counts[<int>self.numbers[id]] = <uint64_t *>&octets[0]
        self.log_base[<int>self.numbers[id]] = log_base

    def apply(self, const uint8_t[::1] value, size_t at, size_t end, uint64_t position):
        """Write the records of [at, end) into the lent images. `position`: the value's key."""
        cdef run_map runs
        self._runs(value, &runs)
        cdef const uint8_t *p = &value[0]
        cdef const log_header *h = <const log_header *>p
        cdef uint64_t base_ms = h.base_ms
        cdef size_t size
        if at == 0:
            at = sizeof(log_header)
        if end > sizeof(log_header) + h.octets:
            raise ValueError("end past the value")
        with nogil:
            while at < end:
                size = log_record_octets(p + at, end - at)
                if size == 0:
                    break
                self._apply_one(p + at, &runs, base_ms, position + at // 8)
                at += size

    cdef void _apply_one(self, const uint8_t *p, const run_map *runs, uint64_t base_ms, uint64_t position) noexcept nogil:
        cdef const log_record *x = <const log_record *>p
        cdef int campaign, i
        cdef image *m
        cdef uint32_t r, now_s
        cdef uint64_t *n
        cdef uint64_t log_no
        if x.kind == K_HELD or x.run >= MAX_RUNS:
            return
        campaign = runs.of[x.run]
        if campaign < 0 or self.counts[campaign] == NULL:
            return
        n = self.counts[campaign]
        now_s = <uint32_t>((base_ms + x.delta_ms) // 1000)
        if x.kind == K_CLAIM:
            self._claim(<const log_claim *>p, campaign, n, now_s)
            return
        i = self._image(campaign, x.rank // CHUNK, False)
        if i < 0:
            return
        m = &self.images[i]
        r = x.rank % CHUNK
        if r >= m.slots or m.array[STATE] == NULL:
            return
        if x.kind == K_ACCEPTED:
            if m.array[DECISION][r] != SENT or x.part >= m.array[PARTS][r]:
                return
            _note_accepted(m, r, x.part, n)
            if m.array[LOG_NO] != NULL and (x.part == 0 or (<uint32_t *>m.array[LOG_NO])[r] == 0):
                log_no = position - self.log_base[campaign] + 1
                (<uint32_t *>m.array[LOG_NO])[r] = <uint32_t>log_no if log_no < 0xFFFFFFFFU else 0xFFFFFFFFU
            self._part(m, r, x.part, ACCEPTED, x, n, now_s)
        elif x.kind == K_REFUSED:
            self._part(m, r, x.part, FAILED, x, n, now_s)
        elif x.kind == K_RETRY:
            n[C_RETRIES] += 1
            self._part(m, r, x.part, RETRY_WAIT, x, n, now_s)
        elif x.kind == K_RELEASED or (x.kind == K_SKIPPED and 16 <= x.state < C_STATE):
            self._part(m, r, x.part, UNSENT, x, n, now_s)
        elif x.kind == K_UNCERTAIN:
            self._part(m, r, x.part, UNCERTAIN, x, n, now_s)
        elif x.kind == K_RECEIPT or x.kind == K_SETTLED:
            if x.kind == K_RECEIPT:
                n[C_RECEIPTS] += 1
                if x.status >> 24 == 1:
                    n[C_BY_NUMBER] += 1
            self._part(m, r, x.part, x.state, x, n, now_s)

    cdef void _claim(self, const log_claim *c, int campaign, uint64_t *n, uint32_t now_s) noexcept nogil:
        cdef const uint8_t *b = <const uint8_t *>c + sizeof(log_claim)
        cdef const uint8_t *hashes = b + PAD8(c.count)
        cdef uint32_t k, rank, r, j
        cdef image *m = NULL
        cdef uint32_t chunk = 0xFFFFFFFF
        cdef int i
        cdef uint8_t *ps
        cdef uint8_t old
        cdef uint32_t again
        for k in range(c.count):
            rank = c.first_rank + k
            if rank // CHUNK != chunk:
                chunk = rank // CHUNK
                i = self._image(campaign, chunk, False)
                m = &self.images[i] if i >= 0 else NULL
            r = rank % CHUNK
            if m == NULL or r >= m.slots:
                continue
            old = m.array[STATE][r]
            if b[k] >= 128 + C_STATE:
                continue                                       # no decision of ours
            if b[k] >= 128:                                    # skipped, with a reason
                if m.array[DECISION][r] == SENT:
                    ps = _parts_of(m, r)
                    if ps != NULL and _is_out(ps, m.array[PARTS][r]):
                        for j in range(m.array[PARTS][r]):     # some of it is out: it stays sent, the rest never will be
                            if ps[j] & 0x7F in (UNSENT, RETRY_WAIT):
                                ps[j] = (ps[j] & FLAG_ACCEPTED) | FAILED
                        _set_state(m, r, _worst(ps, m.array[PARTS][r]), n)
                        continue
                    if ps == NULL and old != RETRY_WAIT:
                        continue
                    n[SENT] -= 1
                    n[C_STATE + old] -= 1
                elif m.array[DECISION][r]:
                    continue
                m.array[DECISION][r] = b[k] - 128
                m.array[STATE][r] = UNSENT
                n[b[k] - 128] += 1
                continue
            if m.array[DECISION][r] != SENT:
                if m.array[DECISION][r]:
                    n[m.array[DECISION][r]] -= 1
                n[SENT] += 1
                n[C_STATE + UNSENT] += 1
                m.array[DECISION][r] = SENT
                m.array[STATE][r] = old = UNSENT
            elif old == UNCERTAIN:
                n[C_RESENT] += 1
            m.array[PARTS][r] = b[k]
            again = c.again if k == c.count - 1 else 0
            if m.array[TRIES][r] < 255 and not again:
                m.array[TRIES][r] += 1
            (<uint32_t *>m.array[SUBMIT_S])[r] = now_s
            memcpy(m.array[TEXT_HASH] + 4 * r, hashes + 4 * k, 4)
            if b[k] > 1 and m.array[PART_STATE] != NULL and b[k] <= m.width:
                ps = m.array[PART_STATE] + r * m.width
                for j in range(b[k]):
                    if (not again or again >> (j if j < 15 else 15) & 1) and ps[j] & 0x7F in (UNSENT, RETRY_WAIT, UNCERTAIN):
                        ps[j] = (ps[j] & FLAG_ACCEPTED) | CLAIMED
                        n[C_PARTS_SENT] += 1
                _set_state(m, r, _worst(ps, b[k]), n)
            elif old in (UNSENT, RETRY_WAIT, UNCERTAIN):
                n[C_PARTS_SENT] += 1
                _set_state(m, r, CLAIMED, n)

    cdef void _part(self, image *m, uint32_t r, uint32_t part, int new, const log_record *x, uint64_t *n, uint32_t now_s) noexcept nogil:
        cdef uint32_t parts = m.array[PARTS][r]
        cdef uint8_t *ps = _parts_of(m, r)
        cdef int old, state
        if m.array[DECISION][r] != SENT or part >= parts:
            return
        old = ps[part] & 0x7F if ps != NULL else m.array[STATE][r]
        if not _may(old, new, x):
            if x.kind == K_RECEIPT:
                n[C_REPEATED] += 1
            return
        if (x.kind == K_RELEASED or x.kind == K_SKIPPED) and n[C_PARTS_SENT]:
            n[C_PARTS_SENT] -= 1
        if x.kind in (K_REFUSED, K_RETRY) or (x.kind in (K_RECEIPT, K_SETTLED) and x.status & 0xFFFFFF):
            if m.array[ERROR] != NULL:
                (<uint32_t *>m.array[ERROR])[r] = x.status if x.kind in (K_REFUSED, K_RETRY) else x.status & 0xFFFFFF
        if new in (DELIVERED, EXPIRED, FAILED, UNKNOWN, NO_RECEIPT) and m.array[FINAL_S] != NULL:
            (<uint32_t *>m.array[FINAL_S])[r] = now_s
        if x.kind == K_RETRY and x.state == 1 and m.array[TRIES] != NULL and m.array[TRIES][r] and ps == NULL:
            m.array[TRIES][r] -= 1                     # throttled: no attempt used up
        if ps != NULL:
            if x.kind == K_SKIPPED and x.status < parts:
                new = FAILED                           # the other parts are out or on their way
                if m.array[FINAL_S] != NULL:
                    (<uint32_t *>m.array[FINAL_S])[r] = now_s
            ps[part] = (ps[part] & FLAG_ACCEPTED) | new
            state = _worst(ps, parts)
        else:
            state = new
            if new == UNSENT and m.array[TRIES][r] > 1 and (<uint32_t *>m.array[ERROR])[r] == 0:
                state = UNCERTAIN                      # a resend that never left: the try before it still may have
                m.array[TRIES][r] -= 1
        _set_state(m, r, state, n)
        if state == UNSENT and (x.kind == K_RELEASED or x.kind == K_SKIPPED):
            n[C_STATE + UNSENT] -= 1
            n[SENT] -= 1
            m.array[DECISION][r] = x.state if x.kind == K_SKIPPED else 0
            if x.kind == K_SKIPPED:
                n[x.state] += 1
            if m.array[TRIES] != NULL and m.array[TRIES][r]:
                m.array[TRIES][r] -= 1


cdef inline bint _may(int old, int new, const log_record *x) noexcept nogil:
    """whether a part may go from one state to another; never backwards"""
    cdef int kind = x.kind
    if kind == K_ACCEPTED:
        return old in (CLAIMED, UNCERTAIN, RETRY_WAIT)
    if kind == K_REFUSED:
        return old == UNCERTAIN if x.state else old in (CLAIMED, UNCERTAIN)
    if kind in (K_RETRY, K_RELEASED, K_SKIPPED, K_UNCERTAIN):
        return old == CLAIMED
    if new not in (DELIVERED, EXPIRED, FAILED, UNKNOWN, NO_RECEIPT):
        return False
    if old in (CLAIMED, RETRY_WAIT, ACCEPTED, UNCERTAIN):
        return True
    if kind == K_SETTLED and old == UNSENT:            # of several parts, one that nobody sends any more
        return True
    return new == DELIVERED and old in (EXPIRED, UNKNOWN, NO_RECEIPT)


cdef inline bint _all_accepted(const uint8_t *ps, uint32_t parts) noexcept nogil:
    cdef uint32_t j
    for j in range(parts):
        if not ps[j] & FLAG_ACCEPTED:
            return False
    return True


cdef inline uint8_t *_parts_of(const image *m, uint32_t r) noexcept nogil:
    """states of a message's parts, NULL when it has one"""
    cdef uint32_t parts = m.array[PARTS][r]
    return m.array[PART_STATE] + r * m.width if parts > 1 and m.array[PART_STATE] != NULL and parts <= m.width else NULL


cdef inline void _note_accepted(image *m, uint32_t r, uint32_t part, uint64_t *n) noexcept nogil:
    """count a part's first ESME_ROK, and its message's when it was the last"""
    cdef uint8_t *ps = _parts_of(m, r)
    if ps == NULL:
        if m.array[LOG_NO] == NULL or (<uint32_t *>m.array[LOG_NO])[r] == 0:
            n[C_PARTS_ACCEPTED] += 1
            n[C_ACCEPTED] += 1
    elif not ps[part] & FLAG_ACCEPTED:
        ps[part] |= FLAG_ACCEPTED
        n[C_PARTS_ACCEPTED] += 1
        if _all_accepted(ps, m.array[PARTS][r]):
            n[C_ACCEPTED] += 1


cdef inline bint _is_out(const uint8_t *ps, uint32_t parts) noexcept nogil:
    """some part is on its way or beyond"""
    cdef uint32_t j
    for j in range(parts):
        if ps[j] & 0x7F not in (UNSENT, RETRY_WAIT):
            return True
    return False


cdef inline int _worst(const uint8_t *ps, uint32_t parts) noexcept nogil:
    """a message's state from its parts': what is still moving first, then the worst"""
    cdef uint32_t seen = 0, j
    for j in range(parts):
        seen |= <uint32_t>1 << (ps[j] & 0x7F)
    if seen & 1 << CLAIMED:
        return CLAIMED
    if seen == 1:
        return UNSENT
    if seen & (1 << RETRY_WAIT | 1):
        return RETRY_WAIT
    if seen & 1 << UNCERTAIN:
        return UNCERTAIN
    if seen & 1 << FAILED:
        return FAILED
    if seen & 1 << ACCEPTED:
        return ACCEPTED
    if seen & 1 << UNKNOWN:
        return UNKNOWN
    if seen & 1 << EXPIRED:
        return EXPIRED
    if seen & 1 << NO_RECEIPT:
        return NO_RECEIPT
    return DELIVERED


cdef inline void _set_state(image *m, uint32_t r, int new, uint64_t *n) noexcept nogil:
    n[C_STATE + m.array[STATE][r]] -= 1
    n[C_STATE + new] += 1
    m.array[STATE][r] = new


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
