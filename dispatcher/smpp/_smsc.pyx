# cython: language_level=3
"""The simulator's hot path compiled: smsc.h under two small classes. Typed names: _smsc.pyi; users: smsc.py.

Touches: sockets and the log file by their descriptors, never blocking on a socket. Time is an argument.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef extern from "smsc.h" nogil:
    enum: SMSC_ODD, SMSC_WRITE, SMSC_CLOSE, SMSC_LEFT, SMSC_LOG_FAILED, SMSC_NO_MEMORY
    enum: STATES_MAX, RULES_MAX, SLAB, DELIVER_OCTETS
    ctypedef struct item:
        int64_t due_ns
        uint8_t *pdu
        uint16_t pdu_octets
    ctypedef struct queue:
        item *head
        uint64_t count
    ctypedef struct account:
        queue due, again
    ctypedef struct slot:
        pass
    ctypedef struct answer:
        int64_t due_ns
    ctypedef struct conn:
        int fd
        uint8_t tx, rx, closing
        account *account
        uint32_t in_at, in_end, out_at, out_end
        slot *window
        uint32_t window_mask, window_max, outstanding
        answer *held
        uint32_t held_at, held_end, held_mask
        uint8_t *input "in"
        uint8_t *out
    ctypedef struct receipt_state:
        uint32_t below
        uint8_t number, octets
        char *word
        char *error
    ctypedef struct refusal:
        uint64_t every
        uint32_t status
    ctypedef struct blob:
        uint32_t at, octets
    ctypedef struct smsc:
        uint64_t tps, drop_every, mute_every, garbage_every, twice_every, unknown_every, receipt_share
        int64_t delay_ns, receipt_delay_ns
        int hex_ids, hex_receipt_ids, receipt_tlvs, states, refusals, blobs
        receipt_state *state
        refusal *refuse
        blob *garbage
        uint8_t *garbage_octets
        uint64_t submits, accepted, refused, throttled, dropped, muted, receipts_owed, receipts_sent, receipts_answered
        uint64_t mo_sent, mo_answered, mo_refused, receipts_refused, came_again, unexpected_answers, enquire_links
        uint64_t malformed, garbage_sent, next_id, accepted_at
        int64_t first_ns, last_ns, now_ns, now_ms
        int64_t *accepted_ns
        queue mo
        item **slabs
        uint32_t slab_count
        int log_fd, log_errno, no_memory
    void crc32_init()
    uint32_t be32(const uint8_t *p)
    item *new_item(smsc *s)
    void push(queue *q, item *it)
    uint32_t out_room(conn *c)
    void give_back(smsc *s, conn *c)
    int smsc_push(smsc *s, conn *c)
    int smsc_wake(smsc *s, conn *c)

ODD, WRITE, CLOSE, LEFT = SMSC_ODD, SMSC_WRITE, SMSC_CLOSE, SMSC_LEFT
GARBAGE_OCTETS = 1024
crc32_init()

cdef int64_t _earlier(int64_t due_ns, queue *q) noexcept nogil:
    return q.head.due_ns if q.head != NULL and q.head.due_ns < due_ns else due_ns

cdef class Account:
    """The deliver_sm owed to one system_id, while it is bound and while it is not."""

    cdef account owed

    @property
    def pending(self):
        return self.owed.due.count + self.owed.again.count

    def due_ns(self):
        """When the next of them may leave; 2**63 - 1 when there is none."""
        return _earlier(_earlier((1 << 63) - 1, &self.owed.due), &self.owed.again)

cdef class Smsc:
    """What all connections share: options, counters, ids, the log."""

    cdef smsc *s

    def __cinit__(self, int log_fd, uint64_t first_id):
        self.s = <smsc *>calloc(1, sizeof(smsc))
        if self.s == NULL:
            raise MemoryError
        self.s.log_fd = log_fd
        self.s.next_id = first_id

    def __dealloc__(self):
        cdef uint32_t i, k
        if self.s == NULL:
            return
        for i in range(self.s.slab_count):
            for k in range(SLAB):
                free(self.s.slabs[i][k].pdu)
            free(self.s.slabs[i])
        free(self.s.slabs)
        free(self.s.accepted_ns)
        free(self.s)

    def configure(self, o, states, garbage):
        """Take `o` (SmscOptions); `states` are (weight, message_state, word, error), `garbage` octet strings."""
        cdef smsc *s = self.s
        cdef int64_t *ring = NULL
        cdef uint32_t below = 0, at = 0, size
        cdef bytes octets
        if len(states) > STATES_MAX or len(o.status_every) > RULES_MAX or len(garbage) > RULES_MAX:
            raise ValueError(f"at most {STATES_MAX} states, {RULES_MAX} refusals and {RULES_MAX} kinds of garbage")
        if o.tps != s.tps:
            if o.tps:
                ring = <int64_t *>calloc(o.tps, sizeof(int64_t))
                if ring == NULL:
                    raise MemoryError
            free(s.accepted_ns)
            s.accepted_ns, s.tps, s.accepted_at = ring, o.tps, 0
        s.drop_every, s.mute_every, s.garbage_every = o.drop_every, o.mute_every, o.garbage_every
        s.twice_every, s.unknown_every = o.receipt_twice_every, o.receipt_unknown_every
        s.receipt_share = <uint64_t>(o.receipts / 100 * 4294967296.0)
        s.delay_ns, s.receipt_delay_ns = o.delay_ms * 1_000_000, o.receipt_delay_ms * 1_000_000
        s.hex_ids, s.hex_receipt_ids, s.receipt_tlvs = o.ids == "hex", o.receipt_ids == "hex", o.receipt_tlvs
        s.states = 0
        for weight, number, word, error in states:
            octets = word.encode("ascii")[:8]
            below += weight
            s.state[s.states].below, s.state[s.states].number = below, number
            s.state[s.states].octets = len(octets)
            memcpy(s.state[s.states].word, <const char *>octets, len(octets))
            octets = error.encode("ascii").rjust(3, b"0")[:3]
            memcpy(s.state[s.states].error, <const char *>octets, 3)
            s.states += 1
        s.refusals = 0
        for every, status in o.status_every:
            s.refuse[s.refusals].every, s.refuse[s.refusals].status = every, status
            s.refusals += 1
        s.blobs = 0
        for octets in garbage:
            size = len(octets)
            if at + size > GARBAGE_OCTETS:
                raise ValueError(f"more than {GARBAGE_OCTETS} octets of garbage")
            memcpy(s.garbage_octets + at, <const char *>octets, size)
            s.garbage[s.blobs].at, s.garbage[s.blobs].octets = at, size
            s.blobs, at = s.blobs + 1, at + size

    def count(self):
        """Every counter by its name."""
        cdef smsc *s = self.s
        return {
            "submits": s.submits, "accepted": s.accepted, "refused": s.refused, "throttled": s.throttled,
            "dropped": s.dropped, "muted": s.muted, "receipts_sent": s.receipts_sent,
            "receipts_answered": s.receipts_answered, "receipts_owed": s.receipts_owed, "mo_sent": s.mo_sent,
            "mo_answered": s.mo_answered, "mo_waiting": s.mo.count, "came_again": s.came_again,
            "receipts_refused": s.receipts_refused, "mo_refused": s.mo_refused, "unexpected_answers": s.unexpected_answers,
            "enquire_links": s.enquire_links, "malformed": s.malformed, "garbage_sent": s.garbage_sent,
            "accepted_ns": s.last_ns - s.first_ns,
        }

    def inject(self, const uint8_t[::1] pdu):
        """Owe this deliver_sm to whichever bind has room first. ValueError above 512 octets."""
        cdef item *it
        if not 16 <= pdu.shape[0] <= DELIVER_OCTETS:
            raise ValueError(f"deliver_sm of {pdu.shape[0]} octets, allowed 16 to {DELIVER_OCTETS}")
        it = new_item(self.s)
        if it == NULL:
            raise MemoryError
        it.pdu = <uint8_t *>malloc(pdu.shape[0])
        if it.pdu == NULL:
            raise MemoryError
        memcpy(it.pdu, &pdu[0], pdu.shape[0])
        it.pdu_octets, it.due_ns = pdu.shape[0], 0
        push(&self.s.mo, it)

cdef class Connection:
    """One socket of an ESME. Whoever opened the descriptor closes it, after `close()` here."""

    cdef conn *c
    cdef readonly Smsc smsc
    cdef readonly Account account

    def __cinit__(self, Smsc smsc, int fd):
        self.c = <conn *>calloc(1, sizeof(conn))
        if self.c == NULL:
            raise MemoryError
        self.c.fd = fd
        self.smsc = smsc

    def __dealloc__(self):
        if self.c != NULL:
            free(self.c.window)
            free(self.c.held)
            free(self.c)

    def bind(self, Account account, bint tx, bint rx, uint32_t deliver_window):
        """What a bind allows from now on; `deliver_window` deliver_sm may be unanswered (1 to 2**20)."""
        cdef uint32_t size = 4
        if self.account is not None:
            raise ValueError("bound already")
        while size < 2 * deliver_window:
            size *= 2
        self.c.window = <slot *>calloc(size, sizeof(slot))
        if self.c.window == NULL:
            raise MemoryError
        self.account = account
        self.c.account = &account.owed
        self.c.window_mask, self.c.window_max = size - 1, deliver_window
        self.c.tx, self.c.rx = tx, rx

    def wake(self, int64_t now_ms, int64_t now_ns):
        """Read, answer, log, deliver and send what can be without waiting; a set of ODD, WRITE, CLOSE, LEFT.

        ODD: `take_odd` and call again. WRITE: nothing is read until the socket takes octets again. LEFT: deliver_sm
        are due that this bind has no room for. Raises OSError when the log cannot be written.
        """
        return self._run(now_ms, now_ns, True)

    def push(self, int64_t now_ms, int64_t now_ns):
        """As `wake`, without reading."""
        return self._run(now_ms, now_ns, False)

    cdef int _run(self, int64_t now_ms, int64_t now_ns, bint read) except -1:
        cdef smsc *s = self.smsc.s
        cdef int what
        s.now_ms, s.now_ns = now_ms, now_ns
        with nogil:
            what = smsc_wake(s, self.c) if read else smsc_push(s, self.c)
        if what & SMSC_LOG_FAILED:
            raise OSError(s.log_errno, "the log cannot be written")
        if what & SMSC_NO_MEMORY:
            raise MemoryError
        return what

    def take_odd(self):
        """The PDU that stopped `wake`; it counts as read."""
        cdef uint32_t at = self.c.in_at, octets = be32(self.c.input + at)
        self.c.in_at += octets
        return self.c.input[at:at + octets]

    def put(self, const uint8_t[::1] octets):
        """Queue octets after what is queued; False when there is no room for them."""
        if out_room(self.c) < <size_t>octets.shape[0]:
            return False
        if octets.shape[0]:
            memcpy(self.c.out + self.c.out_end, &octets[0], octets.shape[0])
        self.c.out_end += octets.shape[0]
        return True

    def close(self):
        """What the ESME left unanswered is owed again, before everything else of its account."""
        give_back(self.smsc.s, self.c)
        self.c.rx = self.c.tx = 0
        self.c.closing = 1

    @property
    def outstanding(self):
        return self.c.outstanding

    @property
    def has_room(self):
        """Bound for deliver_sm, and its window is not full."""
        return self.c.rx and self.c.outstanding < self.c.window_max

    def due_ns(self):
        """When the next delayed answer may leave; 2**63 - 1 when there is none."""
        if self.c.held_at == self.c.held_end:
            return (1 << 63) - 1
        return self.c.held[self.c.held_at & self.c.held_mask].due_ns
