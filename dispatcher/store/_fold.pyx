"""Records of the outcome log into the ledger's arrays by rank, compiled: GIL released, no object per message.

Folder   one fold: scan() and attach() of its base, then apply() writes the records into the lent images and moves the
         campaign's counters, in log order.
Rests on: records/outcome_log.h, layout.ARRAYS, records/states.py. A part's state never goes backwards (SMPP_FACTS 10).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from dispatcher.records.layouts cimport (
    K_ACCEPTED, K_CLAIM, K_HELD, K_RECEIPT, K_REFUSED, K_RELEASED, K_RETRY, K_SETTLED, K_SKIPPED, K_UNCERTAIN, LOG_RUNS,
    PAD8, log_claim, log_header, log_record, log_record_octets,
)
from dispatcher.store._chunks cimport (
    CHUNK, DECISION, ERROR, FINAL_S, LOG_NO, PARTS, PART_STATE, STATE, SUBMIT_S, TEXT_HASH, TRIES, Chunks, image, ranks_wrap, run_map,
)

cdef enum:
    UNSENT = 0
    CLAIMED, RETRY_WAIT, ACCEPTED, DELIVERED, EXPIRED, FAILED, UNKNOWN, NO_RECEIPT, UNCERTAIN
    SENT = 1
    BY_HAND = 2                      # the high octet of a settlement's status (store/trail.py)
    FLAG_ACCEPTED = 0x80             # in part_state: ESME_ROK came
    C_STATE = 32                     # counters: decisions, states, then these
    C_ACCEPTED = 48
    C_PARTS_SENT, C_PARTS_ACCEPTED, C_RETRIES, C_BY_NUMBER, C_RESENT, C_RECEIPTS, C_REPEATED


cdef class Folder(Chunks):
    """One step of a fold, over any number of log values and campaigns."""

    def apply(self, const uint8_t[::1] value, size_t at, uint64_t position):
        """Write the records from octet `at` (0: the first) into the images that were lent. `position`: the value's key."""
        cdef run_map runs
        self._runs(value, &runs)
        cdef const uint8_t *p = &value[0]
        cdef const log_header *h = <const log_header *>p
        cdef uint64_t base_ms = h.base_ms
        cdef size_t end = sizeof(log_header) + h.octets, size
        if at == 0:
            at = sizeof(log_header)
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
        if x.kind == K_HELD or x.run >= LOG_RUNS:
            return
        campaign = runs.of[x.run]
        if campaign < 0 or self.counts[campaign] == NULL:
            return
        n = self.counts[campaign]
        now_s = <uint32_t>((base_ms + x.delta_ms) // 1000)
        if x.kind == K_CLAIM:
            if not ranks_wrap(<const log_claim *>p):
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
    if kind == K_SETTLED and x.status >> 24 == BY_HAND:  # a person saw it uncertain: what came meanwhile holds
        return old == UNCERTAIN
    if old in (CLAIMED, RETRY_WAIT, ACCEPTED, UNCERTAIN):
        return True
    if kind == K_SETTLED and old == UNSENT:            # of several parts, one that nobody sends any more
        return True
    if kind == K_RECEIPT and old == NO_RECEIPT:        # time said that, not the SMSC
        return new != NO_RECEIPT
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
