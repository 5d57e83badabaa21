"""One bind's way out: the window, the order and the pace in which parts leave, and what the end of a connection makes of
what was on its way. Base of the Pump.

Touches: its socket, by send. Rests on: DESIGN 6 (mark, pace); SMPP_FACTS 8.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove

from dispatcher.records.layouts cimport K_RELEASED, K_SKIPPED, K_UNCERTAIN
from dispatcher.smpp._book cimport PACE_NS, PACE_SLACK_NS, PDU_SLACK, POOLS, _clock, _flying_of, _gives_back, _mark, entry, pool
from dispatcher.smpp._journal cimport JOURNAL, JOURNAL_ROOM
from dispatcher.smpp._wire cimport (
    EAGAIN, EINTR, EWOULDBLOCK, MSG_DONTWAIT, MSG_NOSIGNAL, errno, get_u32, put_u32, send,
)

cdef enum:
    OUT = 1 << 16           # octets filled before a send
    PACE_SPARE_NS = 5_000_000   # what of the pace a second does not need: how late a filled part may leave


cdef class Sender:
    """A window of requests without a response, and the octets before the socket."""

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
        self.raw_room = 4096
        self.raw = <uint8_t *>malloc(self.raw_room)
        self.answers = <uint32_t *>malloc(ANSWERS * 4)
        self.seq = first_seq

    def __dealloc__(self):
        free(self.window_table)
        free(self.out)
        free(self.raw)
        free(self.answers)
        free(self.carry)
        free(self.carry_meta)

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
            self.out_at += n
            self.octets_out += n

    cdef bint _repaced(self, Book b) noexcept nogil:
        """Octets that the socket did not take when they were filled leave now: past the slack they need new places in the
        pace, or a second would see more than the rate. Their old places stay used."""
        cdef uint64_t now = _clock(b)
        cdef uint32_t i
        if now < self.fill_ns + PACE_SPARE_NS:
            return True
        if b.rate and not _pace_allows(b, now, self.fill_parts):
            if not self.repacing:
                self.repacing = True
                b.aside[0] += 1
            return False
        if self.repacing:
            self.repacing = False
            b.aside[0] -= 1
        if b.rate:
            for i in range(self.fill_parts):
                _pace_left(b, now)
        self.fill_ns = now
        return True

    cdef size_t _fill(self, Book b) noexcept nogil:
        """Python's octets, answers to committed deliver_sm, then claimed parts: lane by lane, as far as window, pace and the
        64 KiB of a send allow. A message leaves whole, on one bind, in order."""
        cdef uint8_t *q = self.out
        cdef uint8_t *e = self.out + OUT
        cdef uint64_t now, taken
        cdef size_t n = 0
        cdef uint32_t most, parts
        cdef int lane
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
        now = _clock(b)
        self.fill_ns = now
        q = self._fill_carry(b, q, e, now)
        if self.carry_i < self.carry_n:
            return q - self.out
        while self.carry_i == self.carry_n and q < e:
            lane = b._lane(now, &most)
            if lane < 0:
                break
            taken, parts = b.pools[lane].taken, self.fill_parts
            q = self._fill_pool(b, lane, q, e, now, most)
            if b.pools[lane].taken == taken:       # it waits for window or pace: those below do not take what is there
                break
            b._lane_took(lane, self.fill_parts - parts)
        q = self._fill_carry(b, q, e, now)
        return q - self.out

    cdef uint8_t *_fill_carry(self, Book b, uint8_t *q, uint8_t *e, uint64_t now) noexcept nogil:
        """the rest of a message that window or pace cannot take at once, part by part"""
        cdef size_t n
        while (self.carry_i < self.carry_n and self.in_flight < self.window and q < e and _pace_allows(b, now, 1)
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
        cdef flying f
        cdef int i, n, why
        cdef bint piecemeal
        cdef uint32_t before = self.fill_parts
        while p.taken < p.committed and q < e and self.fill_parts - before < most:
            x = &p.ring[p.taken & (p.size - 1)]
            n = x.group
            why = b._is_revoked(b.runs[x.run].tenant, x.destination) if b.n_revoked and b.runs[x.run].honours_stop else 0
            if b.runs[x.run].stopped or why:
                if b.runs[x.run].stopped:
                    if not _gives_back(p):
                        p.mark = p.taken
                    p.giving_back[b.current] = 1
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
            if _gives_back(p):
                break
            if self.in_flight + n > self.window and (self.in_flight or n <= <int>self.window):
                break
            piecemeal = self.in_flight + n > self.window or (b.rate and <uint64_t>n > b.rate)
            if not _pace_allows(b, now, 1 if piecemeal else n):
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
        if b.rate:
            _pace_left(b, now)

    # ---- the end

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


cdef inline bint _pace_allows(Book b, uint64_t now, int parts) noexcept nogil:
    """the last of `parts` may leave now"""
    if b.rate == 0:
        return True
    if <uint64_t>parts > b.rate:
        parts = <int>b.rate
    return (now >= b.pace[(b.pace_no + parts - 1) % b.rate] + PACE_NS
            and <double>now + PACE_SLACK_NS >= b.pace_due_ns)


cdef inline void _pace_left(Book b, uint64_t now) noexcept nogil:
    b.pace[b.pace_no % b.rate] = now
    b.pace_no += 1
    b.pace_due_ns = (b.pace_due_ns if b.pace_due_ns > <double>now else <double>now) + b.pace_interval_ns
