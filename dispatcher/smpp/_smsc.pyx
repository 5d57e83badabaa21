# cython: language_level=3
"""The simulator's hot path compiled: smsc.h under two small classes. Typed names: _smsc.pyi; users: smsc.py.

Touches: sockets and the log file by their descriptors, never blocking on a socket. Time is an argument.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef extern from "smsc.h" nogil:
    enum: SMSC_ODD, SMSC_WRITE, SMSC_CLOSE, SMSC_LEFT, SMSC_LOG_FAILED, SMSC_NO_MEMORY, SMSC_DROP
    enum: STATES_MAX, RULES_MAX, SLAB, DELIVER_OCTETS, GARBAGE_OCTETS, BLOB_OCTETS, STATUSES
    ctypedef struct item:
        int64_t due_ns
        uint8_t *pdu
        uint16_t pdu_octets
    ctypedef struct queue:
        item *head
        uint64_t count
    ctypedef struct itemlist "list":
        item **items
        uint64_t count, at
    ctypedef struct second:
        void *runs
        uint64_t most
    ctypedef struct tally:
        uint32_t status, used
        uint64_t count
    ctypedef struct conn
    ctypedef struct account:
        queue due, again
        itemlist later, held, burst
        conn *receivers
        account *next
        second accepted
        uint64_t tps, bind_tps, submits
        tally *statuses
    ctypedef struct slot:
        pass
    ctypedef struct answer:
        int64_t due_ns
    ctypedef struct conn:
        int fd
        uint8_t tx, rx, closing, dropped, unbinding, moved
        uint32_t number
        account *account
        conn *next_receiver
        conn *next
        queue mine
        second accepted
        uint32_t in_at, in_end, out_at, out_end, read_most, write_most
        slot *window
        uint32_t window_mask, window_max, outstanding
        answer *held
        uint32_t held_count
        uint8_t *input "in"
        uint8_t *out
    ctypedef struct receipt_state:
        uint32_t below
        uint8_t number, octets
        char *word
        char *error
    ctypedef struct rule:
        uint64_t every, share
        uint32_t status
        uint8_t kind, octets
        char *pattern
    ctypedef struct blob:
        uint32_t at, octets, instead
    ctypedef struct delays:
        int64_t *ns
        uint32_t mask
    ctypedef struct smsc:
        uint64_t tps, drop_every, mute_every, lost_every, answer_twice_every, garbage_every, twice_every, unknown_every
        uint64_t early_every, receipt_share, elsewhere_share, shuffle, hold, queue_max, holding
        int64_t queue_step_ns
        delays answer_delay, receipt_delay
        int ids, receipt_ids, receipt_tlvs, states, rules, blobs, congestion, drop_how, count_repeats
        receipt_state *state
        rule *rules_of "rule"
        blob *garbage
        uint8_t *garbage_octets
        uint64_t submits, accepted, refused, throttled, dropped, muted, answers_lost, answers_doubled, receipts_owed
        uint64_t receipts_sent, receipts_answered, mo_sent, mo_answered, mo_refused, receipts_refused, came_again
        uint64_t unexpected_answers, enquire_links, malformed, garbage_sent, repeats, next_id
        int64_t first_ns, last_ns, now_ns, now_ms
        second seconds
        queue mo
        account *accounts
        conn *bound
        uint32_t connections
        item **slabs
        uint32_t slab_count
        uint64_t *seen
        int log_fd, log_errno, no_memory
    void crc32_init()
    uint32_t be32(const uint8_t *p)
    item *new_item(smsc *s)
    void push(queue *q, item *it)
    uint32_t out_room(conn *c)
    void give_back(smsc *s, conn *c)
    void release_receipts(smsc *s)
    int smsc_push(smsc *s, conn *c)
    int smsc_wake(smsc *s, conn *c)
    int smsc_sweep(smsc *s, conn **at)

ODD, WRITE, CLOSE, LEFT, DROP = SMSC_ODD, SMSC_WRITE, SMSC_CLOSE, SMSC_LEFT, SMSC_DROP
ID_FORMS = ("decimal", "hex", "hex-upper", "padded", "hex-padded", "long")  # as smsc_text.h numbers them
RULE_KINDS = ("every", "share", "number", "of_numbers")  # as smsc_state.h numbers them
DROPS = ("unbind", "unbind-late")  # the kernel's own, 1 and 2; it closes at any other
NEVER = (1 << 63) - 1
crc32_init()

cdef int64_t _earlier(int64_t due_ns, queue *q) noexcept nogil:
    return q.head.due_ns if q.head != NULL and q.head.due_ns < due_ns else due_ns

cdef int _take_delays(delays *to, ns) except -1:
    cdef int64_t *table = NULL
    cdef Py_ssize_t i, n = len(ns)
    if n & (n - 1):
        raise ValueError(f"{n} delays: a power of 2")
    if n:
        table = <int64_t *>malloc(n * sizeof(int64_t))
        if table == NULL:
            raise MemoryError
        for i in range(n):
            table[i] = ns[i]
    free(to.ns)
    to.ns, to.mask = table, n - 1 if n else 0
    return 0

cdef class Account:
    """The deliver_sm owed to one system_id, while it is bound and while it is not; what it sent, by status."""

    cdef account *owed

    def __cinit__(self):
        self.owed = <account *>calloc(1, sizeof(account))
        if self.owed == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.owed != NULL:
            free(self.owed.later.items)
            free(self.owed.held.items)
            free(self.owed.burst.items)
            free(self.owed.accepted.runs)
            free(self.owed)

    def limit(self, uint64_t tps, uint64_t bind_tps):
        """Accepted in any second from now on, in all and over each of its binds; 0: no limit."""
        self.owed.tps, self.owed.bind_tps = tps, bind_tps

    @property
    def pending(self):
        cdef account *a = self.owed
        return a.due.count + a.again.count + a.later.count + a.held.count + a.burst.count - a.burst.at

    def due_ns(self):
        """When the next of them may leave; NEVER when there is none."""
        cdef account *a = self.owed
        cdef int64_t due_ns = _earlier(_earlier(NEVER, &a.due), &a.again)
        if a.burst.at < a.burst.count:
            return 0
        if a.later.count and a.later.items[0].due_ns < due_ns:
            return a.later.items[0].due_ns
        return due_ns

    def count(self):
        """(submits, most accepted in any second, {command_status: how many})."""
        cdef account *a = self.owed
        cdef uint32_t i
        statuses = {a.statuses[i].status: a.statuses[i].count for i in range(STATUSES) if a.statuses[i].used}
        return a.submits, a.accepted.most, dict(sorted(statuses.items()))

cdef class Smsc:
    """What all connections share: options, counters, ids, the log."""

    cdef smsc *s
    cdef list accounts  # those that the kernel knows by their address

    def __cinit__(self, int log_fd, uint64_t first_id):
        self.accounts = []
        self.s = <smsc *>calloc(1, sizeof(smsc))
        if self.s == NULL:
            raise MemoryError
        self.s.log_fd = log_fd
        self.s.next_id = first_id
        self.s.congestion = 255

    def __dealloc__(self):
        cdef uint32_t i, k
        if self.s == NULL:
            return
        for i in range(self.s.slab_count):
            for k in range(SLAB):
                free(self.s.slabs[i][k].pdu)
            free(self.s.slabs[i])
        free(self.s.slabs)
        free(self.s.seconds.runs)
        free(self.s.answer_delay.ns)
        free(self.s.receipt_delay.ns)
        free(self.s.seen)
        free(self.s)

    cdef int know(self, Account account) except -1:
        if account not in self.accounts:
            self.accounts.append(account)
            account.owed.next = self.s.accounts
            self.s.accounts = account.owed
        return 0

    def configure(self, o, states, garbage):
        """Take `o` (SmscOptions); `states` are (weight, message_state, word, error), `garbage` (octets, instead)."""
        cdef smsc *s = self.s
        cdef uint32_t below = 0, at = 0, size
        cdef bytes octets
        if len(states) > STATES_MAX or len(o.rules) > RULES_MAX or len(garbage) > RULES_MAX:
            raise ValueError(f"at most {STATES_MAX} states, {RULES_MAX} rules and {RULES_MAX} kinds of garbage")
        _take_delays(&s.answer_delay, o.answer_delays_ns())
        _take_delays(&s.receipt_delay, o.receipt_delays_ns())
        s.tps, s.shuffle, s.count_repeats = o.tps, o.shuffle_answers, o.count_repeats
        s.drop_every, s.mute_every, s.garbage_every = o.drop_every, o.mute_every, o.garbage_every
        s.drop_how = 1 + DROPS.index(o.drop_how) if o.drop_how in DROPS else 0
        s.lost_every, s.answer_twice_every = o.answer_lost_every, o.answer_twice_every
        s.twice_every, s.unknown_every = o.receipt_twice_every, o.receipt_unknown_every
        s.early_every = o.receipt_early_every
        s.receipt_share = <uint64_t>(o.receipts / 100 * 4294967296.0)
        s.elsewhere_share = <uint64_t>(o.receipt_other_bind / 100 * 4294967296.0)
        s.ids, s.receipt_ids, s.receipt_tlvs = ID_FORMS.index(o.ids), ID_FORMS.index(o.receipt_ids), o.receipt_tlvs
        s.queue_max, s.queue_step_ns = o.queue[0], 1_000_000_000 // o.queue[1] if o.queue[0] else 0
        s.congestion = 255 if o.congestion is None else 254 if o.congestion == "auto" else o.congestion
        s.states = s.rules = s.blobs = 0
        for weight, number, word, error in states:
            octets = word.encode("ascii")[:8]
            below += weight
            s.state[s.states].below, s.state[s.states].number = below, number
            s.state[s.states].octets = len(octets)
            memcpy(s.state[s.states].word, <const char *>octets, len(octets))
            octets = error.encode("ascii").rjust(3, b"0")[:3]
            memcpy(s.state[s.states].error, <const char *>octets, 3)
            s.states += 1
        for kind, value, status in o.rules:
            s.rules_of[s.rules].kind, s.rules_of[s.rules].status = RULE_KINDS.index(kind), status
            if kind == "every":
                s.rules_of[s.rules].every = value
            elif kind == "number":
                octets = value.encode("ascii")[:20]
                memcpy(s.rules_of[s.rules].pattern, <const char *>octets, len(octets))
                s.rules_of[s.rules].octets = len(octets)
            else:
                s.rules_of[s.rules].share = <uint64_t>(value / 100 * 4294967296.0)
            s.rules += 1
        for octets, instead in garbage:
            size = len(octets)
            if at + size > GARBAGE_OCTETS or size > BLOB_OCTETS:
                raise ValueError(f"garbage above {BLOB_OCTETS} octets, or {GARBAGE_OCTETS} in all")
            memcpy(s.garbage_octets + at, <const char *>octets, size)
            s.garbage[s.blobs].at, s.garbage[s.blobs].octets, s.garbage[s.blobs].instead = at, size, instead
            s.blobs, at = s.blobs + 1, at + size
        if s.hold and not o.hold_receipts:
            release_receipts(s)
        s.hold = o.hold_receipts

    def sweep(self, int64_t now_ms, int64_t now_ns):
        """Wake all binds while any has something to read: 0, or the `number` of the one that needs attention, and its
        flags as of `wake`."""
        cdef smsc *s = self.s
        cdef conn *at = NULL
        cdef int what
        s.now_ms, s.now_ns = now_ms, now_ns
        with nogil:
            what = smsc_sweep(s, &at)
        if at == NULL:
            return 0, 0
        at.moved = 0
        if what & SMSC_LOG_FAILED:
            raise OSError(s.log_errno, "the log cannot be written")
        if what & SMSC_NO_MEMORY:
            raise MemoryError
        return at.number, what

    def release(self):
        """Let the receipts go that are held back; how many they are."""
        held = self.s.holding
        release_receipts(self.s)
        return held

    @property
    def holding(self):
        return self.s.holding

    @property
    def last_ns(self):
        """When the last submit_sm was accepted; 0: none was."""
        return self.s.last_ns

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
            "answers_lost": s.answers_lost, "answers_doubled": s.answers_doubled, "receipts_held": s.holding,
            "repeats": s.repeats, "most_in_a_second": s.seconds.most, "accepted_ns": s.last_ns - s.first_ns,
        }

    def inject(self, const uint8_t[::1] pdu):
        """Owe this deliver_sm to whichever bind has room first. ValueError above 512 octets."""
        self._inject(pdu)

    def flood(self, const uint8_t[::1] pdu, uint32_t number_at, uint32_t digits, uint64_t first, uint64_t count):
        """`inject` so many times, with `first` and up in decimal in the `digits` octets from `number_at`."""
        cdef uint64_t i, v
        cdef uint32_t k
        cdef item *it
        if number_at + digits > pdu.shape[0]:
            raise ValueError(f"{digits} digits at {number_at} of {pdu.shape[0]} octets")
        for i in range(count):
            it = self._inject(pdu)
            v = first + i
            for k in range(digits):
                it.pdu[number_at + digits - 1 - k] = 48 + v % 10
                v = v // 10

    cdef item *_inject(self, const uint8_t[::1] pdu) except NULL:
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
        return it

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
        smsc.s.connections += 1
        self.c.number = smsc.s.connections

    def __dealloc__(self):
        if self.c != NULL:
            free(self.c.window)
            free(self.c.held)
            free(self.c.accepted.runs)
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
        self.c.account = account.owed
        self.smsc.know(account)
        if rx:
            self.c.next_receiver = account.owed.receivers
            account.owed.receivers = self.c
        self.c.window_mask, self.c.window_max = size - 1, deliver_window
        self.c.tx, self.c.rx = tx, rx
        self.c.next = self.smsc.s.bound
        self.smsc.s.bound = self.c

    def wake(self, int64_t now_ms, int64_t now_ns):
        """Read, answer, log, deliver and send what can be without waiting; a set of ODD, WRITE, CLOSE, LEFT, DROP.

        ODD: `take_odd` and call again. WRITE: nothing is read until the socket takes octets again. LEFT: deliver_sm
        are due that this bind has no room for, or that another one is to bring. DROP: `drop_every` ends it. Raises OSError when the log cannot be written.
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
        if self.c.moved:
            self.c.moved, what = 0, what | SMSC_LEFT
        return what

    def slow(self, uint32_t read_most, uint32_t write_most):
        """Octets read, and written, in one call at most; 0: no limit."""
        self.c.read_most, self.c.write_most = read_most, write_most

    def leave(self):
        """Nothing is read or written any more."""
        self.c.closing = 1

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
    def unbinding(self):
        """Whether the kernel sent unbind, for `drop_how`."""
        return self.c.unbinding

    @property
    def number(self):
        return self.c.number

    @property
    def outstanding(self):
        return self.c.outstanding

    @property
    def has_room(self):
        """Bound for deliver_sm, and its window is not full."""
        return self.c.rx and self.c.outstanding < self.c.window_max

    def due_ns(self):
        """When the next delayed answer may leave; NEVER when there is none."""
        return self.c.held[0].due_ns if self.c.held_count else NEVER
