"""One bind's way out: the window, the order and the pace in which parts leave, and what the end of a connection makes of
what was on its way. Base of the Pump.

Touches: its socket, by send. Rests on: DESIGN 6 (mark, pace); SMPP_FACTS 8.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove

from dispatcher.records.layouts cimport K_RELEASED, K_SKIPPED, K_UNCERTAIN
from dispatcher.smpp._book cimport PDU_MAX, PDU_SLACK, POOLS, _clock, _flying_of, _gives_back, _mark, entry, pool
from dispatcher.smpp._journal cimport JOURNAL, JOURNAL_ROOM, run_head, run_left
from dispatcher.smpp._pace cimport Pace, pace_allows, pace_free_ns, pace_left
from dispatcher.smpp._wire cimport (
    EAGAIN, EINTR, EWOULDBLOCK, MSG_DONTWAIT, MSG_NOSIGNAL, errno, get_u32, monotonic_ns, put_u32, send,
)

cdef enum:
    OUT = 1 << 16           # octets filled before a send
    PACE_SPARE_NS = 5_000_000   # what of the pace a second does not need: how late a filled part may leave
    MIRROR = 1 << 20        # octets of a trace that wait for who reads it
    PACE_FAR_NS = 50_000_000    # a message whose own pace is so far off does not stand before the others of its lane


cdef class Sender:
    """A window of requests without a response, and the octets before the socket."""

    def __cinit__(self, Book book, int fd, uint32_t window, *, uint32_t first_seq=2, uint64_t rate=0, int bind=-1):
        if not 1 <= window <= 10_000:
            raise ValueError("window: 1 to 10,000")
        self.book, self.fd, self.window = book, fd, window
        self.mask = 16
        while self.mask < 4 * window:
            self.mask *= 2
        self.window_table = <flying *>calloc(self.mask, sizeof(flying))
        self.mask -= 1
        self.out = <uint8_t *>malloc(OUT + PDU_MAX + 2 * PDU_SLACK)
        self.raw_room = 4096
        self.raw = <uint8_t *>malloc(self.raw_room)
        self.answers = <uint32_t *>malloc(ANSWERS * 4)
        self.seq = first_seq
        self.pace = Pace(rate)
        self.bind = bind

    def __dealloc__(self):
        free(self.window_table)
        free(self.out)
        free(self.raw)
        free(self.answers)
        free(self.carry)
        free(self.carry_meta)
        free(self.mirror)

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

    @property
    def next_send_ns(self):
        """The monotonic instant before which the bind's own pace lets nothing leave; 0 = now."""
        return pace_free_ns(&self.pace.log, 1)

    def next_sequence_number(self):
        """One for a request of Python's making."""
        cdef uint32_t s = self.seq
        self.seq = 1 if self.seq == 0x7FFFFFFF else self.seq + 1
        return s

    # ---- what crosses the socket, for a person

    def trace(self, bint on):
        """Begin or end to keep what crosses the socket for take_trace; without it nothing is kept and nothing costs."""
        if on and self.mirror == NULL:
            self.mirror = <uint8_t *>malloc(MIRROR)
            self.mirror_octets = self.mirror_lost = 0
        elif not on:
            free(self.mirror)
            self.mirror = NULL

    def take_trace(self):
        """What crossed since the last call: ([(monotonic ns, sent, octets)], octets for which there was no room)."""
        cdef size_t at = 0
        cdef uint64_t head[2]
        out = []
        while self.mirror != NULL and at < self.mirror_octets:
            memcpy(head, self.mirror + at, 16)
            n = head[1] & 0xFFFFFFFF
            out.append((head[0], bool(head[1] >> 32), (<char *>self.mirror + at + 16)[:n]))
            at += 16 + n
        self.mirror_octets = 0
        lost, self.mirror_lost = self.mirror_lost, 0
        return out, lost

    cdef void _mirror(self, const uint8_t *octets, size_t n, uint32_t sent) noexcept nogil:
        cdef uint64_t head[2]
        if self.mirror_octets + 16 + n > MIRROR:
            self.mirror_lost += n
            return
        head[0], head[1] = monotonic_ns(), <uint64_t>sent << 32 | n
        memcpy(self.mirror + self.mirror_octets, head, 16)
        memcpy(self.mirror + self.mirror_octets + 16, octets, n)
        self.mirror_octets += 16 + n

    # ---- out

    cdef void _push(self, Book b) noexcept nogil:
        cdef ssize_t n
        cdef int i
        self.blocked = False
        while True:
            if self.out_at == self.out_octets:
                self.out_octets = self._fill(b)
                self.out_at = 0
                for i in range(POOLS):
                    b.marks[i] = _mark(&b.pools[i])
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
            if self.mirror != NULL:
                self._mirror(self.out + self.out_at, n, 1)
            self.out_at += n
            self.octets_out += n

    cdef bint _repaced(self, Book b) noexcept nogil:
        """Octets that the socket did not take when they were filled leave now: past the slack they need new places in the
        paces, or a second would see more than the rate. Their old places stay used."""
        cdef uint64_t now = _clock(b)
        cdef bint allowed
        if now < self.fill_ns + PACE_SPARE_NS:
            return True
        self._count_filled(b, 1)
        allowed = self._filled_allowed(b, now)
        self._count_filled(b, 0)
        if self.repacing == allowed:
            self.repacing = not allowed
            b.aside[0] += 1 if self.repacing else -1
        if allowed:
            self.fill_ns = now
        return allowed

    cdef void _count_filled(self, Book b, int by) noexcept nogil:
        """what of each pace is in the out buffer, into its `asked`; by 0: clear that"""
        cdef uint32_t i, k
        cdef run_head *r
        b.pace.log.asked = self.pace.log.asked = self.fill_parts if by else 0
        for i in range(self.mask + 1):
            if self.fill_paced and self.window_table[i].seq and self.window_table[i].sent_ns == self.fill_ns:
                r = &b.runs[self.window_table[i].run]
                for k in range(r.n_paces):
                    r.paces[k].asked = r.paces[k].asked + 1 if by else 0

    cdef bint _filled_allowed(self, Book b, uint64_t now) noexcept nogil:
        """whether all of it may leave now; then it has its new places"""
        cdef uint32_t i, k, parts
        cdef int turn
        cdef run_head *r
        if not pace_allows(&b.pace.log, now, self.fill_parts) or not pace_allows(&self.pace.log, now, self.fill_parts):
            return False
        for turn in range(2):
            for i in range(self.mask + 1):
                if self.fill_paced and self.window_table[i].seq and self.window_table[i].sent_ns == self.fill_ns:
                    r = &b.runs[self.window_table[i].run]
                    for k in range(r.n_paces):
                        if turn == 0 and not pace_allows(r.paces[k], now, r.paces[k].asked):
                            return False
                        if turn == 1:
                            pace_left(r.paces[k], now)
        for parts in range(self.fill_parts):
            pace_left(&b.pace.log, now)
            pace_left(&self.pace.log, now)
        return True

    cdef size_t _fill(self, Book b) noexcept nogil:
        """Python's octets, answers to committed deliver_sm, then claimed parts: lane by lane, as far as window, pace and the
        64 KiB of a send allow. A message leaves whole, on one bind, in order."""
        cdef uint8_t *q = self.out
        cdef uint8_t *e = self.out + OUT
        cdef uint64_t now, taken
        cdef size_t n = 0
        cdef uint32_t most, parts, passed = 0
        cdef int lane
        self.fill_parts = 0
        self.fill_paced = False
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
        now = _clock(b)
        self.fill_ns = now
        q = self._fill_carry(b, q, e, now)
        if self.carry_i < self.carry_n:
            return q - self.out
        while self.carry_i == self.carry_n and q < e:
            lane = b._lane(now, &most, passed)
            if lane < 0:
                break
            taken, parts = b.pools[lane].taken, self.fill_parts
            q = self._fill_pool(b, lane, q, e, now, most)
            if b.pools[lane].taken == taken:
                if not self.run_waits:             # it waits for window or pace: those below do not take what is there
                    break
                passed |= <uint32_t>1 << lane
                continue
            b._lane_took(lane, self.fill_parts - parts)
        q = self._fill_carry(b, q, e, now)
        return q - self.out

    cdef uint8_t *_fill_carry(self, Book b, uint8_t *q, uint8_t *e, uint64_t now) noexcept nogil:
        """the rest of a message that window or pace cannot take at once, part by part"""
        cdef size_t n
        while (self.carry_i < self.carry_n and self.in_flight < self.window and q < e and pace_allows(&b.pace.log, now, 1)
               and pace_allows(&self.pace.log, now, 1)
               and (self.carry_pool == POOLS - 1 or now >= b.hold_until_ns)):
            n = get_u32(self.carry + self.carry_at)
            memcpy(q, self.carry + self.carry_at, n)
            self._fly(b, q, &self.carry_meta[self.carry_i], now)
            q += n
            self.carry_at += n
            self.carry_i += 1
            b.aside[self.carry_pool] -= 1
        return q

    cdef uint8_t *_fill_pool(self, Book b, int which, uint8_t *q, uint8_t *e, uint64_t now, uint32_t most) noexcept nogil:
        """messages of a pool until `most` parts or more have left"""
        cdef pool *p = &b.pools[which]
        cdef entry *x
        cdef run_head *r
        cdef flying f
        cdef int i, n, why
        cdef bint piecemeal
        cdef uint32_t before = self.fill_parts
        cdef uint64_t free_ns, own
        self.run_waits = False
        while p.taken < p.committed and q < e and self.fill_parts - before < most:
            x = &p.ring[p.taken & (p.size - 1)]
            r = &b.runs[x.run]
            n = x.group
            why = b._is_revoked(r.tenant, x.destination) if b.n_revoked and r.honours_stop else 0
            free_ns = 0
            for i in range(r.n_paces):
                own = pace_free_ns(r.paces[i], n)
                free_ns = own if own > free_ns else free_ns
                r.paces[i].widest = n if <uint32_t>n > r.paces[i].widest else r.paces[i].widest
            if r.stopped or why or free_ns > now + PACE_FAR_NS:
                self._take_back(b, which, n, 0 if r.stopped else why)
                if b.journal_octets[b.current] > JOURNAL - JOURNAL_ROOM // 2:
                    break
                continue
            if _gives_back(p):
                break
            if self.in_flight + n > self.window and (self.in_flight or n <= <int>self.window):
                break
            piecemeal = (self.in_flight + n > self.window or (b.pace.log.limit and <uint64_t>n > b.pace.log.limit)
                         or (self.pace.log.limit and <uint64_t>n > self.pace.log.limit))
            if not (pace_allows(&b.pace.log, now, 1 if piecemeal else n)
                    and pace_allows(&self.pace.log, now, 1 if piecemeal else n)):
                break
            if free_ns > now:
                self.run_waits = True
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

    cdef void _take_back(self, Book b, int which, int n, int why) noexcept nogil:
        """A message that does not leave: stopped by the Decision `why`, or, for 0, given back. Then the mark, and what
        stands behind, waits until that is on disk."""
        cdef pool *p = &b.pools[which]
        cdef entry *x
        cdef flying f
        cdef int i
        if not why:
            if not _gives_back(p):
                p.mark = p.taken
            p.giving_back[b.current] = 1
        for i in range(n):
            x = &p.ring[p.taken & (p.size - 1)]
            _flying_of(&f, x)
            if why:
                b._log(K_SKIPPED, x.part, why, x.rank, x.run, n, NULL, 0, b._now())
                b._give_back(&f, K_SKIPPED, why)
                b.stopped += 1
            else:
                b._log(K_RELEASED, x.part, 0, x.rank, x.run, 0, NULL, 0, b._now())
                b._give_back(&f, K_RELEASED, 0)
                b.released += 1
            b.journal_settles[b.current] += 1
            b.runs[x.run].open -= 1
            run_left(&b.runs[x.run])
            p.arena_taken = x.at + x.octets
            p.taken += 1

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
        cdef run_head *r = &b.runs[f.run]
        cdef int i
        cdef flying *w = &self.window_table[self.seq & self.mask]
        while w.seq and not w.late:
            self.seq = 1 if self.seq == 0x7FFFFFFF else self.seq + 1
            w = &self.window_table[self.seq & self.mask]
        if w.seq:                                           # a late one that nobody will answer any more
            b.runs[w.run].late -= 1
        w[0] = f[0]
        w.seq, w.sent_ns, w.late = self.seq, now, 0
        put_u32(pdu + 12, self.seq)
        self.seq = 1 if self.seq == 0x7FFFFFFF else self.seq + 1
        self.in_flight += 1
        self.fill_parts += 1
        self.submits += 1
        b.submits += 1
        pace_left(&b.pace.log, now)
        pace_left(&self.pace.log, now)
        for i in range(r.n_paces):
            pace_left(r.paces[i], now)
            self.fill_paced = True
        run_left(r)

    # ---- the end

    cdef void _lose(self, Book b, flying *w, int reason) noexcept nogil:
        b._log(K_UNCERTAIN, w.part, reason, w.rank, w.run, self.bind + 1, NULL, 0, b._now())
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
            run_left(&b.runs[self.carry_meta[i].run])
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
                else:
                    b.runs[w.run].late -= 1
                w.seq = 0
        self.out_octets = self.out_at = 0

    cdef void _release(self, Book b, flying *w) noexcept:
        b._log(K_RELEASED, w.part, 0, w.rank, w.run, 0, NULL, 0, b._now())
        b._give_back(w, K_RELEASED, 0)
        b.released += 1
        b.journal_settles[b.current] += 1
        b.runs[w.run].open -= 1

