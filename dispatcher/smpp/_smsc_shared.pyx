"""What all connections of the simulator share: its options, counters, accounts, ids, messages and log.

Touches: the log file by its descriptor. Base of _smsc.pyx, which has a connection. Time is an argument.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

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
        free(self.s.kept)
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
        s.pending_every = o.receipt_pending_every
        s.early_every = o.receipt_early_every
        s.receipt_share = <uint64_t>(o.receipts / 100 * 4294967296.0)
        s.elsewhere_share = <uint64_t>(o.receipt_other_bind / 100 * 4294967296.0)
        s.delivery_ack_share = <uint64_t>(o.delivery_acks / 100 * 4294967296.0)
        s.user_ack_share = <uint64_t>(o.user_acks / 100 * 4294967296.0)
        octets = o.ack_text.encode("ascii")[:20]
        memcpy(s.ack_text, <const char *>octets, len(octets))
        s.ack_octets = len(octets)
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
            "acks_sent": s.acks_sent, "acks_answered": s.acks_answered, "repeats": s.repeats, "deleted": s.deleted,
            "replaced": s.replaced, "most_in_a_second": s.seconds.most, "accepted_ns": s.last_ns - s.first_ns,
        }

    def message(self, Account account, uint64_t id, int64_t now_ns):
        """(source, destination, accepted at ms, final at ms or None, message_state) of an account's message; None when it
        has none of this id, or had it 65,536 messages ago."""
        cdef smsc *s = self.s
        cdef kept *k = kept_of(s, id)
        cdef int64_t final_ms
        if k == NULL or k.account != account.owed:
            return None
        s.now_ns = now_ns
        state = 4 if k.deleted else s.state[drawn_state(s, id)].number if is_final(s, k) and s.states else 1
        final_ms = s.now_ms - (now_ns - k.due_ns) // 1_000_000
        return k.source[:k.source_octets], k.dest[:k.dest_octets], k.at_ms, final_ms if is_final(s, k) else None, state

    def delete(self, uint64_t id):
        """Cancel a message that `message` has found and that is not final: its receipt will say DELETED."""
        kept_of(self.s, id).deleted = 1
        self.s.deleted += 1

    def ids_between(self, Account account, bytes source, bytes destination, int64_t now_ns):
        """Of messages that are not final, those of one address to another: what cancel_sm without an id means."""
        cdef smsc *s = self.s
        cdef uint64_t id
        cdef kept *k
        found = []
        s.now_ns = now_ns
        for id in range(s.next_id - min(s.next_id, <uint64_t>KEPT), s.next_id):
            k = kept_of(s, id)
            if k != NULL and k.account == account.owed and not is_final(s, k) \
                    and k.source[:k.source_octets] == source and k.dest[:k.dest_octets] == destination:
                found.append(id)
        return found

    def replace(self):
        """Count a message whose text was replaced."""
        self.s.replaced += 1

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
