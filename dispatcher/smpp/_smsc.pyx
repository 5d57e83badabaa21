"""The simulator's hot path compiled: smsc.h under small classes. Typed names: _smsc.pyi; users: smsc.py.

Touches: a connection's socket by its descriptor, never blocking on it. What connections share: _smsc_shared.pyx.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from dispatcher.smpp._smsc_shared cimport (
    SMSC_CLOSE, SMSC_DROP, SMSC_LEFT, SMSC_LOG_FAILED, SMSC_NO_MEMORY, SMSC_ODD, SMSC_WRITE, Account, Smsc, be32, conn,
    crc32_init, flush_log, give_back, out_room, slot, smsc, smsc_accept, smsc_push, smsc_wake,
)

from dispatcher.smpp._smsc_shared import NEVER

ODD, WRITE, CLOSE, LEFT, DROP = SMSC_ODD, SMSC_WRITE, SMSC_CLOSE, SMSC_LEFT, SMSC_DROP
crc32_init()

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
        are due that this bind has no room for, or that another one is to bring. DROP: `drop_every` ends it. Raises OSError
        when the log cannot be written.
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

    def accept(self, const uint8_t[::1] pdu, uint64_t id, int64_t now_ms, int64_t now_ns):
        """A submit_sm that Python made of a submit_multi: (command_status, id), its id given when it shares another's. The
        log line is written before this returns."""
        cdef smsc *s = self.smsc.s
        cdef uint32_t status
        s.now_ms, s.now_ns = now_ms, now_ns
        status = smsc_accept(s, self.c, &pdu[0], pdu.shape[0], &id)
        if s.log_end and flush_log(s):
            raise OSError(s.log_errno, "the log cannot be written")
        return status, id

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
    def heard_ns(self):
        """When octets came last; 0: none came."""
        return self.c.heard_ns

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
