"""How many parts may leave in a second: a sliding log, exact and without a burst, shared by whoever it holds for.

Touches: memory of its own. Rests on: DESIGN 6 (pace). The instants are its caller's; one thread uses a Pace.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc

from dispatcher.smpp._wire cimport monotonic_ns


cdef class Pace:
    """`rate` parts in any 1.005 s (0: no limit), evenly spaced up to 50 ms of lateness. The first second of a rate that was
    none is empty, since nobody knows what left before; any other change holds at once, with the log that there is."""

    def __cinit__(self, uint64_t rate=0, now_ns=None):
        self.set_rate(rate, monotonic_ns() if now_ns is None else now_ns)

    def __dealloc__(self):
        free(self.log.at)

    def __repr__(self):
        return f"<Pace {self.log.limit} of {self.log.rate} parts/s, {self.log.queued} queued>"

    @property
    def rate(self):
        """Parts a second as contracted; 0: no limit."""
        return self.log.rate

    @property
    def limit(self):
        """Parts a second as it holds now; 0: no limit."""
        return self.log.limit

    @property
    def queued(self):
        """Parts claimed under it that have not left."""
        return self.log.queued

    def set_rate(self, uint64_t rate, uint64_t now_ns):
        """Another contract."""
        self.log.rate = rate
        self._limit(rate, now_ns)

    def set_limit(self, uint64_t limit, uint64_t now_ns):
        """Less than the contract for a while; 0, or more than the contract: the contract."""
        self._limit(min(limit, self.log.rate) if limit and self.log.rate else limit or self.log.rate, now_ns)

    cdef int _limit(self, uint64_t limit, uint64_t now_ns) except -1:
        cdef pace_log *p = &self.log
        cdef uint64_t size = 64, i
        cdef uint64_t *at
        if limit > 100_000_000:
            raise ValueError("a pace is at most 100,000,000 parts/s")
        if limit and (p.limit == 0 or limit > p.mask + 1):
            while size < limit:
                size *= 2
            at = <uint64_t *>malloc(size * 8)
            if at == NULL:
                raise MemoryError("the log of a pace")
            if p.limit == 0:
                for i in range(size):
                    at[i] = now_ns + (i - (size - limit)) * 1_000_000_000 // limit if i > size - limit else now_ns
                p.due_ns = 0
                p.no, p.begun_ns = size, now_ns
            else:                           # the old log held more than a second of what left
                for i in range(size):
                    at[(p.no - 1 - i) & (size - 1)] = p.at[(p.no - 1 - i) & p.mask] if i <= p.mask else p.begun_ns
            free(p.at)
            p.at, p.mask = at, size - 1
        elif limit == 0:
            free(p.at)
            p.at, p.mask = NULL, 0
        p.limit = limit
        p.interval_ns = 1e9 / limit if limit else 0.0
        return 0

    def left(self, uint64_t now_ns, uint64_t parts=1):
        """So many parts left at this instant."""
        cdef uint64_t i
        for i in range(parts):
            pace_left(&self.log, now_ns)

    def free_ns(self, uint64_t parts=1):
        """The instant from which a message of so many parts may leave; 0: at any time. One of more than a second's worth
        leaves when a second's worth may."""
        return pace_free_ns(&self.log, parts)

    def room(self, uint64_t now_ns, uint64_t ahead_ns=5_000_000):
        """Parts that may be claimed now, so that what is claimed finds its way free `ahead_ns` later, a commit's time, and
        stands in nobody's way. Less than the greatest message seen so far counts as none."""
        cdef pace_log *p = &self.log
        cdef uint64_t low = 0, high, middle
        cdef double due
        if p.limit == 0:
            return 1 << 31
        # the even spacing: what is due by then, what is queued taken off
        due = max(p.due_ns, <double>now_ns) + p.queued * p.interval_ns
        if due > <double>(now_ns + ahead_ns + PACE_SLACK_NS) or p.queued >= p.limit:
            return 0
        high = <uint64_t>((now_ns + ahead_ns + PACE_SLACK_NS - due) / p.interval_ns) + 1
        high = min(max(high, <uint64_t>p.widest), p.limit - p.queued)
        while low < high:                   # the log is in order of time: the last that is free by then
            middle = (low + high + 1) // 2
            if p.at[(p.no + p.queued + middle - 1 - p.limit) & p.mask] + PACE_NS <= now_ns + ahead_ns:
                low = middle
            else:
                high = middle - 1
        return low if low >= min(<uint64_t>p.widest, p.limit) else 0

    def room_ns(self, uint64_t ahead_ns=5_000_000):
        """The instant at which room() may be there again, as far as is known now: when to look."""
        cdef pace_log *p = &self.log
        cdef uint64_t t, parts = p.queued + max(<uint64_t>1, <uint64_t>p.widest)
        if p.limit == 0:
            return 0
        t = max(pace_free_ns(p, parts), <uint64_t>max(0.0, p.due_ns + p.queued * p.interval_ns - PACE_SLACK_NS))
        return t - ahead_ns if t > ahead_ns else 0
