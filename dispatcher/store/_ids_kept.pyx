"""message_ids of log values, sorted and packed into a segment, and looked up there; compiled, without the GIL.

Touches: octets it is given. Rests on: ids_kept.h (the segment, drawn), records/outcome_log.h, records/message_id.h: a key
is the hash of an id in the form its endpoint compares, so keys spread evenly and a bucket by their first bits is small.
The meaning is tests/reference/ids_kept.py.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from binascii import crc32

from dispatcher.records.layouts cimport K_ACCEPTED, LOG_MAGIC, LOG_RUNS, log_header, log_record, log_record_octets, log_run
from dispatcher.store.leaf_walk cimport LW_RECORD, leaf_row, leaf_walk, lw_next, lw_seek

cdef extern from "message_id.h" nogil:
    uint64_t hash_id(const uint8_t *id, size_t n, int from_hex, uint64_t seed)

cdef extern from "ids_kept.h" nogil:
    enum: KEPT_MAGIC, KEPT_VERSION, KEPT_PAD
    ctypedef struct kept_header:
        uint16_t magic
        uint8_t version, bucket_bits, rank_bits, owner_bits, part_bits, zero
        uint32_t entries, owners
        uint64_t first_ms, last_ms
        uint32_t crc, zero_too
    ctypedef struct kept_owner:
        uint64_t id
        uint16_t endpoint, zero
        uint32_t first_rank
    ctypedef struct kept_entry:
        uint64_t key
        uint32_t rank, owner, part
    uint64_t get_bits(const uint8_t *p, uint64_t at, int width)
    void put_bits(uint8_t *p, uint64_t at, uint64_t value)
    int bits_of(uint64_t v)

cdef enum:
    BUCKET = 32             # entries a bucket at most, on average: it is looked through one by one
    FOUND_MAX = 64          # of one key: an SMSC that gives one id to everybody


cdef struct segment:        # where the pieces of a segment lie
    kept_header h
    const uint8_t *owners
    const uint8_t *starts
    const uint8_t *entries
    int width


cdef int _read(const uint8_t[::1] value, segment *s) except -1:
    return _read_at(&value[0] if value.shape[0] else NULL, value.shape[0], s)


cdef int _read_at(const uint8_t *p, uint64_t size, segment *s) except -1:
    """Raises ValueError for octets that are no whole segment; its sum is not looked at."""
    cdef uint64_t octets
    if size < sizeof(kept_header):
        raise ValueError("shorter than the header of a segment of message_ids")
    memcpy(&s.h, p, sizeof(kept_header))
    if s.h.magic != KEPT_MAGIC or s.h.version != KEPT_VERSION or s.h.bucket_bits > 32 or s.h.rank_bits > 32 \
            or s.h.owner_bits > 32 or s.h.part_bits > 8:
        raise ValueError("not a segment of message_ids of this version")
    s.width = 64 - s.h.bucket_bits + s.h.rank_bits + s.h.owner_bits + s.h.part_bits
    s.owners = p + sizeof(kept_header)
    s.starts = s.owners + sizeof(kept_owner) * <uint64_t>s.h.owners
    s.entries = s.starts + 4 * ((<uint64_t>1 << s.h.bucket_bits) + 1)
    octets = sizeof(kept_header) + sizeof(kept_owner) * <uint64_t>s.h.owners + 4 * ((<uint64_t>1 << s.h.bucket_bits) + 1)
    if octets + (<uint64_t>s.width * s.h.entries + 7) // 8 + KEPT_PAD != size:
        raise ValueError(f"a segment of message_ids of {size} octets is not as long as its header says")
    return 0


cdef inline uint32_t _start(const segment *s, uint64_t bucket) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, s.starts + 4 * bucket, 4)
    return v if v < s.h.entries else s.h.entries


cdef inline uint64_t _low(const segment *s, uint32_t i) noexcept nogil:
    return get_bits(s.entries, <uint64_t>i * s.width, 64 - s.h.bucket_bits)


cdef inline void _rest(const segment *s, uint32_t i, kept_entry *e) noexcept nogil:
    """rank (from its owner's first), owner and part of an entry"""
    cdef uint64_t at = <uint64_t>i * s.width + 64 - s.h.bucket_bits
    e.rank = <uint32_t>get_bits(s.entries, at, s.h.rank_bits)
    e.owner = <uint32_t>get_bits(s.entries, at + s.h.rank_bits, s.h.owner_bits)
    e.part = <uint32_t>get_bits(s.entries, at + s.h.rank_bits + s.h.owner_bits, s.h.part_bits)


cdef kept_owner _owner(const segment *s, uint32_t number) noexcept nogil:
    cdef kept_owner o
    memset(&o, 0, sizeof(o))
    if number < s.h.owners:
        memcpy(&o, s.owners + sizeof(kept_owner) * number, sizeof(o))
    return o


cdef class Ids:
    """Gathers the ids of log values, the oldest first, and of the segment before them, and packs one segment."""

    cdef kept_entry *entries
    cdef uint32_t room
    cdef readonly uint32_t count
    cdef dict owners            # (id, endpoint) -> number

    def __cinit__(self):
        self.owners = {}

    def __dealloc__(self):
        free(self.entries)

    cdef uint32_t _number(self, id, endpoint):
        return <uint32_t>self.owners.setdefault((id, endpoint), len(self.owners))

    cdef int _make_room(self, uint64_t more) except -1:
        cdef uint64_t room = self.room or 4_096
        cdef void *grown
        while room < self.count + more:
            room *= 2
        if room > self.room:
            if room >= <uint64_t>1 << 31:
                raise MemoryError
            grown = realloc(self.entries, room * sizeof(kept_entry))
            if grown == NULL:
                raise MemoryError
            self.entries, self.room = <kept_entry *>grown, <uint32_t>room
        return 0

    def add(self, const uint8_t[::1] value, bint both):
        """Every id accepted in one log value. both: the endpoint writes ids in two forms, hexadecimal and decimal, and a
        receipt may come in either: each id is kept by both its keys."""
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef size_t at = sizeof(log_header), end, size
        cdef const log_record *x
        cdef const log_run *t
        cdef int32_t[LOG_RUNS] owner
        cdef uint32_t i, rank
        cdef uint64_t key, other
        if value.shape[0] < <Py_ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC \
                or sizeof(log_header) + h.octets + sizeof(log_run) * <size_t>h.runs > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        end = sizeof(log_header) + h.octets
        t = <const log_run *>(p + end)
        memset(owner, 0xFF, sizeof(owner))
        for i in range(h.runs):
            if t[i].run < LOG_RUNS:
                owner[t[i].run] = <int32_t>self._number(t[i].id, h.endpoint)
        self._make_room((<uint64_t>h.octets // sizeof(log_record) + 1) * 2)
        with nogil:
            while at < end:
                size = log_record_octets(p + at, end - at)
                if size == 0:
                    break
                x = <const log_record *>(p + at)
                if x.kind == K_ACCEPTED and x.id_octets and x.run < LOG_RUNS and owner[x.run] >= 0:
                    key = hash_id(p + at + sizeof(log_record), x.id_octets, 0, 0)
                    self._put(key, x.rank, owner[x.run], x.part)
                    other = hash_id(p + at + sizeof(log_record), x.id_octets, 1, 0) if both else key
                    if other != key:
                        self._put(other, x.rank, owner[x.run], x.part)
                at += size
        if at < end:
            raise ValueError(f"a record of the outcome log is cut off at octet {at}")

    cdef void _put(self, uint64_t key, uint32_t rank, uint32_t owner, uint32_t part) noexcept nogil:
        cdef kept_entry *e = &self.entries[self.count]
        e.key, e.rank, e.owner, e.part = key, rank, owner, part
        self.count += 1

    def add_segment(self, const uint8_t[::1] value):
        """Everything that a segment holds, as older than what is here."""
        cdef segment s
        cdef kept_owner o
        cdef kept_entry e
        cdef uint64_t bucket
        cdef uint32_t i, k = 0
        cdef uint32_t *number
        cdef uint32_t *first
        _read(value, &s)
        self._make_room(s.h.entries)
        number = <uint32_t *>malloc(8 * (<size_t>s.h.owners + 1))
        if number == NULL:
            raise MemoryError
        first = number + s.h.owners
        try:
            for i in range(s.h.owners):
                o = _owner(&s, i)
                number[i], first[i] = self._number(o.id, o.endpoint), o.first_rank
            with nogil:
                memmove(self.entries + s.h.entries, self.entries, self.count * sizeof(kept_entry))
                self.count += s.h.entries
                for bucket in range(<uint64_t>1 << s.h.bucket_bits):
                    for i in range(k, _start(&s, bucket + 1)):
                        _rest(&s, i, &e)
                        e.key = _whole(&s, bucket, i)
                        if e.owner < s.h.owners:
                            e.rank, e.owner = e.rank + first[e.owner], number[e.owner]
                        else:
                            e.rank = e.owner = e.part = 0
                        self.entries[i] = e
                        k = i + 1
        finally:
            free(number)

    def pack(self, uint64_t first_ms, uint64_t last_ms):
        """The segment. What was put in twice alike is in it once."""
        cdef kept_header h
        cdef kept_owner o
        cdef uint32_t owners = len(self.owners), i, kept = 0, highest_part = 0, span = 0
        cdef uint32_t *low = <uint32_t *>malloc(8 * (<size_t>owners + 1))
        cdef uint32_t *high = low + owners
        cdef kept_entry *sorted_ = <kept_entry *>malloc(sizeof(kept_entry) * (<size_t>self.count + 1))
        cdef uint32_t *starts = NULL
        cdef uint8_t *p
        cdef uint64_t at
        cdef int width
        cdef size_t octets
        try:
            if low == NULL or sorted_ == NULL:
                raise MemoryError
            memset(&h, 0, sizeof(h))
            h.magic, h.version, h.owners, h.first_ms, h.last_ms = KEPT_MAGIC, KEPT_VERSION, owners, first_ms, last_ms
            h.bucket_bits = bits_of(self.count // BUCKET)
            starts = <uint32_t *>calloc((<size_t>1 << h.bucket_bits) + 2, 4)
            if starts == NULL:
                raise MemoryError
            with nogil:
                _sort(self.entries, self.count, h.bucket_bits, starts, sorted_)
                memset(low, 0xFF, 4 * <size_t>owners)
                memset(high, 0, 4 * <size_t>owners)
                memset(starts, 0, 4 * ((<size_t>1 << h.bucket_bits) + 1))
                for i in range(self.count):
                    if kept and _alike(&sorted_[i], &sorted_[kept - 1]):
                        continue
                    sorted_[kept] = sorted_[i]
                    kept += 1
                    starts[_bucket(sorted_[i].key, h.bucket_bits) + 1] += 1
                    low[sorted_[i].owner] = min(low[sorted_[i].owner], sorted_[i].rank)
                    high[sorted_[i].owner] = max(high[sorted_[i].owner], sorted_[i].rank)
                    highest_part = max(highest_part, sorted_[i].part)
                for i in range(<uint32_t>1 << h.bucket_bits):
                    starts[i + 1] += starts[i]
                for i in range(owners):
                    if high[i] >= low[i]:
                        span = max(span, high[i] - low[i])
            h.entries = kept
            h.rank_bits, h.part_bits = bits_of(span), bits_of(highest_part)
            h.owner_bits = bits_of(owners - 1) if owners else 0
            width = 64 - h.bucket_bits + h.rank_bits + h.owner_bits + h.part_bits
            octets = sizeof(h) + sizeof(o) * <size_t>owners + 4 * ((<size_t>1 << h.bucket_bits) + 1)
            made = bytearray(octets + (<size_t>width * kept + 7) // 8 + KEPT_PAD)
            p = made
            for (id, endpoint), i in self.owners.items():
                o.id, o.endpoint, o.zero, o.first_rank = id, endpoint, 0, low[i] if high[i] >= low[i] else 0
                memcpy(p + sizeof(h) + sizeof(o) * i, &o, sizeof(o))
            memcpy(p + sizeof(h) + sizeof(o) * owners, starts, 4 * ((<size_t>1 << h.bucket_bits) + 1))
            with nogil:
                at = 0
                for i in range(kept):
                    _put_entry(p + octets, at, &sorted_[i], &h, low[sorted_[i].owner])
                    at += width
            h.crc = crc32(memoryview(made)[sizeof(h):])
            memcpy(p, &h, sizeof(h))
            return made
        finally:
            free(low)
            free(sorted_)
            free(starts)


cdef inline uint64_t _bucket(uint64_t key, int bits) noexcept nogil:
    return key >> (64 - bits) if bits else 0


cdef inline uint64_t _whole(const segment *s, uint64_t bucket, uint32_t i) noexcept nogil:
    """an entry's key"""
    return _low(s, i) | (bucket << (64 - s.h.bucket_bits) if s.h.bucket_bits else 0)


cdef inline bint _alike(const kept_entry *a, const kept_entry *b) noexcept nogil:
    return a.key == b.key and a.rank == b.rank and a.owner == b.owner and a.part == b.part


cdef void _put_entry(uint8_t *p, uint64_t at, const kept_entry *e, const kept_header *h, uint32_t first) noexcept nogil:
    cdef int low = 64 - h.bucket_bits
    put_bits(p, at, e.key if low == 64 else e.key & ((<uint64_t>1 << low) - 1))
    put_bits(p, at + low, e.rank - first)
    put_bits(p, at + low + h.rank_bits, e.owner)
    put_bits(p, at + low + h.rank_bits + h.owner_bits, e.part)


cdef void _sort(const kept_entry *e, uint32_t n, int bits, uint32_t *starts, kept_entry *out) noexcept nogil:
    """Into their buckets, then each bucket by itself, which is a few octets of cache; equal keys keep their order."""
    cdef uint32_t i, j, bucket
    cdef kept_entry moving
    for i in range(n):
        starts[_bucket(e[i].key, bits) + 1] += 1
    for i in range(<uint32_t>1 << bits):
        starts[i + 1] += starts[i]
    for i in range(n):
        bucket = <uint32_t>_bucket(e[i].key, bits)
        out[starts[bucket]] = e[i]
        starts[bucket] += 1
    for i in range(1, n):       # what is in its bucket moves past its neighbours only
        moving = out[i]
        j = i
        while j and out[j - 1].key > moving.key:
            out[j] = out[j - 1]
            j -= 1
        out[j] = moving


def key_of(bytes id, bint from_hex):
    """Under which an id is kept, as a receipt writes it; from_hex: as one that is hexadecimal where ids are decimal."""
    cdef const uint8_t *p = id
    return hash_id(p, len(id), from_hex, 0)


def find(const uint8_t[::1] value, const uint64_t[::1] keys):
    """Of each key that the segment has: (key, id of campaign or batch, endpoint, rank, part), at most FOUND_MAX a key and
    of these the newest last. Raises ValueError."""
    cdef segment s
    _read(value, &s)
    found = []
    _find(&s, keys, found)
    return found


def find_in_table(const uint8_t[::1] record, Py_ssize_t page_octets, const uint64_t[::1] keys):
    """The same of every segment of a table, the oldest first; record: the table's where it lies in the map of an immutable
    snapshot. None when a page does not look as expected. Through a cursor a look-up would touch every page of every
    segment (py-lmdb does, so that no page fault meets the GIL): 5 ms for 100 M ids instead of 0.2."""
    cdef leaf_walk w
    cdef leaf_row row
    cdef segment s
    cdef int more
    if record.shape[0] != LW_RECORD or lw_seek(&w, &record[0], page_octets, NULL, 0) < 0:
        return None
    found = []
    while True:
        more = lw_next(&w, &row)
        if more <= 0:
            return found if more == 0 else None
        _read_at(row.value, row.octets, &s)
        _find(&s, keys, found)


cdef int _find(const segment *s, const uint64_t[::1] keys, list found) except -1:
    cdef kept_owner o
    cdef kept_entry e
    cdef uint64_t bucket, low
    cdef Py_ssize_t k
    cdef uint32_t i, end, first, last
    with nogil:
        for k in range(keys.shape[0]):
            bucket = _bucket(keys[k], s.h.bucket_bits)
            low = keys[k] & ~<uint64_t>0 >> s.h.bucket_bits
            i, end = _start(s, bucket), _start(s, bucket + 1)
            while i < end and _low(s, i) < low:
                i += 1
            first = last = i
            while last < end and _low(s, last) == low:
                last += 1
            if last - first > FOUND_MAX:
                first = last - FOUND_MAX
            for i in range(first, last):
                _rest(s, i, &e)
                o = _owner(s, e.owner)
                with gil:
                    found.append((keys[k], o.id, o.endpoint, o.first_rank + e.rank, e.part))
    return 0


def entries(const uint8_t[::1] value):
    """Everything in it, as find() tells it, by key. Raises ValueError."""
    cdef segment s
    cdef kept_owner o
    cdef kept_entry e
    cdef uint64_t bucket
    cdef uint32_t i
    _read(value, &s)
    out = []
    for bucket in range(<uint64_t>1 << s.h.bucket_bits):
        for i in range(_start(&s, bucket), _start(&s, bucket + 1)):
            _rest(&s, i, &e)
            o = _owner(&s, e.owner)
            out.append((_whole(&s, bucket, i), o.id, o.endpoint, o.first_rank + e.rank, e.part))
    return out


def check(const uint8_t[::1] value):
    """Raises ValueError, which says why, unless the segment is as it was written and its entries are in order."""
    cdef segment s
    cdef uint64_t bucket
    cdef uint32_t i, end, at = 0
    cdef bint sound = True
    _read(value, &s)
    if crc32(value[sizeof(kept_header):]) != s.h.crc:
        raise ValueError("its crc32 differs: octets of a segment of message_ids have changed")
    with nogil:
        for bucket in range(<uint64_t>1 << s.h.bucket_bits):
            i, end = _start(&s, bucket), _start(&s, bucket + 1)
            sound = sound and i == at and end >= i
            at = end
            while i + 1 < end:
                sound = sound and _low(&s, i) <= _low(&s, i + 1)
                i += 1
    if not sound or at != s.h.entries:
        raise ValueError("a segment of message_ids is out of order")
