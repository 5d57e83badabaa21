"""One bind: recv, scan, journal, fill, send in one call; no Python object per message, GIL released.

Touches: its socket; the Book it shares with the other binds. The way out is in its base, the Sender.
Rests on: DESIGN 6 to 8; SMPP_FACTS 1, 3, 8, 10.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from dispatcher.records.layouts cimport K_ACCEPTED, K_REFUSED, K_RETRY
from dispatcher.smpp._book cimport ACT_BOUNDED, ACT_CLOSE, ACT_HOLD, ACT_LATER, ACT_THROTTLED, STATUSES, Book, _clock
from dispatcher.smpp._journal cimport JOURNAL, JOURNAL_ROOM, flying
from dispatcher.smpp._sender cimport ANSWERS, Sender
from dispatcher.smpp._wire cimport (
    EAGAIN, EINTR, EWOULDBLOCK, MSG_DONTWAIT, bucket_of, errno, get_u32, hash_id, memmem, monotonic_ns, put_u32, receipt_state, recv,
    tlv_state,
)

cdef extern from "mo.h" nogil:
    int mo_word_add(const uint16_t *word, uint32_t letters)
    int mo_may_be_refused(const uint8_t *p, uint32_t n)
    uint32_t mo_word_count

cdef enum:
    MO_PER_S = 1_000        # messages from phones that an endpoint gives Python, some 200 us each
    MO_BURST = 2_000
    OUT = 1 << 16           # octets of Python's making that may wait
    IN = 1 << 17            # receive buffer; a PDU is at most MAX_PDU
    MAX_PDU = 65536 + 1024
    OFF = 1 << 18           # raw PDUs off the fast path, waiting for Python
    BUCKETS = 128           # of response times
    ERRORS = 16             # different command_status of a bind, the latest

# flags of pull()
CLOSED, OFF_PATH, BROKEN, BLOCKED = 1, 2, 4, 8


cdef class Pump(Sender):
    """pull() and push() do everything that a wake-up asks for."""

    cdef uint8_t *inb
    cdef uint8_t *off
    cdef size_t in_octets, off_octets
    cdef size_t stat_at             # where the last receipt had its stat:, tried first
    cdef readonly bint broken, stalled
    cdef readonly uint64_t responses, accepted, delivers, enquire_links, timeouts, timeouts_in_row, last_received_ns, last_status
    cdef readonly uint64_t octets_in, partial_since_ns
    cdef uint64_t buckets[BUCKETS]
    cdef uint32_t error_status[ERRORS]
    cdef uint64_t error_count[ERRORS]
    cdef uint64_t error_ns[ERRORS]

    def __cinit__(self, *_, **__):
        self.inb = <uint8_t *>malloc(IN)
        self.off = <uint8_t *>malloc(OFF)
        self.last_received_ns = monotonic_ns()

    def __dealloc__(self):
        free(self.inb)
        free(self.off)

    def __repr__(self):
        return f"<Pump fd={self.fd} in_flight={self.in_flight}/{self.window} seq={self.seq} blocked={self.blocked} closed={self.closed}>"

    @property
    def full(self):
        """Reading must wait: too much is unanswered or unwritten."""
        return (self.a_tail - self.a_head > ANSWERS - IN // 17 or self.off_octets > OFF // 2 or self.raw_octets > OUT
                or self.book.journal_octets[self.book.current] > JOURNAL - JOURNAL_ROOM)

    @property
    def head(self):
        """The first octets, at most 16, of what could not be read yet: what a lost frame began with."""
        return (<char *>self.inb)[:min(self.in_octets, <size_t>16)]

    def response_times(self):
        """How many submit_sm were answered in how long: [(nanoseconds at least, count)], four buckets to a doubling."""
        cdef int i
        out = []
        for i in range(BUCKETS):
            if self.buckets[i]:
                out.append((i << 10 if i < 4 else (4 + (i & 3)) << (i // 4 - 1) << 10, self.buckets[i]))
        return out

    def errors(self):
        """The latest kinds of refusal: [(command_status, count, monotonic instant of the last)]."""
        cdef int i
        return [(self.error_status[i], self.error_count[i], self.error_ns[i]) for i in range(ERRORS) if self.error_count[i]]

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
                if self.mirror != NULL:
                    self._mirror(self.inb + self.in_octets, n, 0)
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

    # ---- in

    cdef void _eat(self, Book b) noexcept nogil:
        cdef uint8_t *p = self.inb
        cdef uint8_t *e = p + self.in_octets
        cdef uint32_t n, id
        cdef uint16_t delta
        cdef uint64_t now = _clock(b)
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
            elif id == 5 and self._sheds(b, p, n, now):
                self._refuse(p)
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
        b._remember_all()
        self.in_octets = e - p
        if 4 <= self.in_octets < 16 and not 16 <= get_u32(p) <= MAX_PDU:
            self.broken = True                       # four octets tell: HTTP, a TLS alert, a lost frame
        if self.in_octets == 0 or self.stalled:
            self.partial_since_ns = 0
        elif p != self.inb or self.partial_since_ns == 0:
            self.partial_since_ns = now
        if self.in_octets and p != self.inb:
            memmove(self.inb, p, self.in_octets)

    cdef bint _sheds(self, Book b, const uint8_t *p, uint32_t n, uint64_t now) noexcept nogil:
        """a message from a phone that is no opt-out, and more than Python can be given"""
        if not mo_may_be_refused(p, n):
            return False
        b.mo_left = min(<double>MO_BURST, b.mo_left + <double>(now - b.mo_ns) * MO_PER_S / 1e9)
        b.mo_ns = now
        if b.mo_left < 1:
            return True
        b.mo_left -= 1
        return False

    cdef void _refuse(self, const uint8_t *p) noexcept nogil:
        """a deliver_sm: ESME_RX_T_APPN, so it comes again"""
        cdef uint8_t *q
        if self.raw_octets + 17 > self.raw_room:
            self.raw_room = 2 * self.raw_room + 17
            self.raw = <uint8_t *>realloc(self.raw, self.raw_room)
        q = self.raw + self.raw_octets
        put_u32(q, 17)
        put_u32(q + 4, 0x80000005U)
        put_u32(q + 8, 0x64)
        memcpy(q + 12, p + 12, 4)
        q[16] = 0
        self.raw_octets += 17
        self.book.mo_refused += 1

    cdef void _response(self, Book b, const uint8_t *p, uint32_t n, uint16_t delta, uint64_t now) noexcept nogil:
        cdef uint32_t seq = get_u32(p + 12), status = get_u32(p + 8)
        cdef flying *w = &self.window_table[seq & self.mask]
        cdef const uint8_t *z
        cdef size_t k = 0
        cdef int action, state
        cdef bint again, free_, fresh
        cdef uint64_t key
        if w.seq != seq or seq == 0:
            b.strange_responses += 1
            return
        if status == 0 and get_u32(p + 4) != 0x80000004U:
            status = 0xFF                            # a generic_nack without a status
        self.responses += 1
        self.timeouts_in_row = 0
        self.buckets[bucket_of(now - w.sent_ns)] += 1
        fresh = w.sent_ns >= b.judged_ns
        if fresh and w.since_s == 0:
            b.first_answers += 1
        b.runs[w.run].answers += 1
        if status == 0:
            if n > 16:
                z = <const uint8_t *>memchr(p + 16, 0, n - 16)
                k = z - (p + 16) if z != NULL else n - 16
            if n >= 16 + k + 5:
                self._congestion(b, p + 17 + k, p + n)
            b._log(K_ACCEPTED, w.part, 0, w.rank, w.run, 0, p + 16, k, delta)
            b.accepted += 1
            self.accepted += 1
            if k and b.runs[w.run].receipts:
                key = hash_id(p + 16, k, b.hex_response, 0)
                state = b._match_held(key, w.run, w.rank, w.part, delta) if b.n_held else 0
                if state == 0 and b.n_held and b.hex_receipt != b.hex_response:
                    state = b._match_held(hash_id(p + 16, k, b.hex_receipt, 0), w.run, w.rank, w.part, delta)
                b._remember_soon(key, w.run, w.rank, w.part, state if state else 3)
        else:
            self.last_status = status
            self._note_error(status, now)
            if n >= 16 + 5:
                z = <const uint8_t *>memchr(p + 16, 0, n - 16)
                if z != NULL:
                    self._congestion(b, z + 1, p + n)
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
                if fresh:                            # not one more of the window that told us already
                    b.throttled_new += 1
                    b.hold_until_ns = max(b.hold_until_ns, now + b.retry_ns)
            elif again:
                b.retried += 1
                if action == ACT_LATER and fresh and w.since_s == 0:
                    b.first_later += 1
            elif action == ACT_HOLD:
                b.runs[w.run].telling += 1
            if action == ACT_CLOSE:
                self.broken = True
        if w.late:
            b.late += 1
            b.runs[w.run].late -= 1
        else:
            self.in_flight -= 1
            b.journal_settles[b.current] += 1
            b.runs[w.run].open -= 1
        w.seq = 0
        w.late = 0

    cdef void _congestion(self, Book b, const uint8_t *q, const uint8_t *e) noexcept nogil:
        """congestion_state among the TLVs of an answer"""
        cdef uint32_t tag, length
        while e - q >= 5:
            tag, length = q[0] << 8 | q[1], q[2] << 8 | q[3]
            if tag == 0x0428 and length == 1 and q[4] <= 100 and q[4] > b.congestion:
                b.congestion = q[4]
            if <size_t>(e - q) < 4 + length:
                return
            q += 4 + length

    cdef void _note_error(self, uint32_t status, uint64_t now) noexcept nogil:
        """in the place of the same status, or of the one that is longest ago"""
        cdef int i, at = 0
        for i in range(ERRORS):
            if self.error_count[i] and self.error_status[i] == status:
                at = i
                break
            if self.error_ns[i] < self.error_ns[at]:
                at = i
        else:
            self.error_status[at], self.error_count[at] = status, 0
        self.error_count[at] += 1
        self.error_ns[at] = now

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

    # ---- time

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
                    b.runs[self.window_table[i].run].late += 1
                    n += 1
            self.timeouts += n
            self.timeouts_in_row += n
        return n


def set_opt_outs(list words):
    """First words, in lower case, of what is never refused in a flood; before, nothing is. Raises ValueError for one of 16
    letters or more, and then nothing is refused either."""
    global mo_word_count
    cdef uint16_t letters[16]
    cdef uint32_t i
    mo_word_count = 0
    for word in words:
        if not 0 < len(word) < 16 or any(ord(c) > 0xFFFF for c in word):
            mo_word_count = 0
            raise ValueError(f"{word!r} is not a word of 1 to 15 letters")
        for i in range(len(word)):
            letters[i] = ord(word[i])
        if mo_word_add(letters, len(word)):
            mo_word_count = 0
            raise ValueError("more words than there is room for")


def may_be_refused(const uint8_t[::1] pdu):
    """Whether a deliver_sm may be refused in a flood: the words above tell that it is no opt-out."""
    return pdu.shape[0] >= 16 and bool(mo_may_be_refused(&pdu[0], pdu.shape[0]))
