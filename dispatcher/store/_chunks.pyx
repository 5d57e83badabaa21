"""Which chunks of the ledger some values of the outcome log touch: what a fold must load.

scan() finds them, wanted() names them, attach() takes the images of some; the others keep no slots, so that no record of
theirs is written. Base of the Folder, which writes. Rests on: records/outcome_log.h, layout.ARRAYS.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from dispatcher.records.layouts cimport (
    K_ACCEPTED, K_CLAIM, K_HELD, K_RECEIPT, K_REFUSED, K_RELEASED, K_RETRY, K_SETTLED, K_SKIPPED, LOG_MAGIC, LOG_RUNS,
    log_claim, log_header, log_record, log_record_octets, log_run,
)

cdef enum:
    IMAGES = 256                     # room at first; four places of the hash table (campaign, chunk) -> image for each

cdef int WIDTHS[N_ARRAYS]
WIDTHS[:] = [1, 1, 4, 1, 1, 4, 4, 4, 4, 1]


cdef inline uint32_t _bit(int array) noexcept nogil:
    return <uint32_t>1 << array


cdef class Chunks:
    """Of any number of log values and campaigns."""

    def __cinit__(self):
        self.room = IMAGES
        self.images = <image *>malloc(self.room * sizeof(image))
        self.table = <int *>malloc(4 * self.room * sizeof(int))
        memset(self.table, 0xFF, 4 * self.room * sizeof(int))
        self.campaigns_room = 64
        self.counts = <uint64_t **>calloc(self.campaigns_room, sizeof(void *))
        self.log_base = <uint64_t *>calloc(self.campaigns_room, 8)
        self.numbers = {}
        self.keep = []

    def __dealloc__(self):
        free(self.images)
        free(self.table)
        free(self.counts)
        free(self.log_base)

    cdef int _runs(self, const uint8_t[::1] value, run_map *runs) except -1:
        cdef const uint8_t *p = &value[0] if value.shape[0] else NULL
        cdef const log_header *h = <const log_header *>p
        cdef const log_run *t
        cdef uint32_t i
        if value.shape[0] < <Py_ssize_t>sizeof(log_header) or h.magic != LOG_MAGIC \
                or sizeof(log_header) + h.octets + sizeof(log_run) * <size_t>h.runs > <size_t>value.shape[0]:
            raise ValueError("not a value of the outcome log")
        memset(runs, 0xFF, sizeof(run_map))
        t = <const log_run *>(p + sizeof(log_header) + h.octets)
        for i in range(h.runs):
            if t[i].run >= LOG_RUNS:
                raise ValueError("run number out of range")
            number = self.numbers.get(t[i].id)
            if number is None:
                number = self.n_campaigns
                self.numbers[t[i].id] = number
                self.n_campaigns += 1
                if self.n_campaigns > self.campaigns_room:
                    self.campaigns_room *= 2
                    self.counts = <uint64_t **>realloc(self.counts, self.campaigns_room * sizeof(void *))
                    self.log_base = <uint64_t *>realloc(self.log_base, self.campaigns_room * 8)
                self.counts[<int>number] = NULL
            runs.of[t[i].run] = number
        return 0

    cdef int _image(self, uint32_t campaign, uint32_t chunk, bint make) noexcept nogil:
        """-1: not there, or no memory for it"""
        cdef uint32_t h = self._place(campaign, chunk)
        cdef image *m
        if self.table[h] >= 0 or not make:
            return self.table[h]
        if self.n_images == self.room:
            if not self._grow():
                return -1
            h = self._place(campaign, chunk)
        m = &self.images[self.n_images]
        memset(m, 0, sizeof(image))
        m.campaign, m.chunk = campaign, chunk
        self.table[h] = self.n_images
        self.n_images += 1
        return self.n_images - 1

    cdef uint32_t _place(self, uint32_t campaign, uint32_t chunk) noexcept nogil:
        cdef uint32_t mask = 4 * self.room - 1
        cdef uint32_t h = (campaign * 2654435761u ^ chunk * 40503u) & mask
        cdef image *m
        while self.table[h] >= 0:
            m = &self.images[self.table[h]]
            if m.campaign == campaign and m.chunk == chunk:
                break
            h = (h + 1) & mask
        return h

    cdef bint _grow(self) noexcept nogil:
        cdef image *images = <image *>realloc(self.images, 2 * self.room * sizeof(image))
        cdef int *table
        cdef uint32_t i
        if images == NULL:
            return False
        self.images = images
        table = <int *>malloc(8 * self.room * sizeof(int))
        if table == NULL:
            return False
        free(self.table)
        self.table = table
        self.room *= 2
        memset(self.table, 0xFF, 4 * self.room * sizeof(int))
        for i in range(self.n_images):
            self.table[self._place(self.images[i].campaign, self.images[i].chunk)] = i
        return True

    cdef bint _want(self, uint32_t campaign, uint32_t chunk, uint32_t load, uint32_t write, uint32_t top, uint32_t width) noexcept nogil:
        """note what a record needs; False: no memory"""
        cdef int i = self._image(campaign, chunk, True)
        cdef image *m
        if i < 0:
            return False
        m = &self.images[i]
        m.load |= load | write
        m.write |= write
        if top + 1 > m.top:
            m.top = top + 1
        if width > m.width:
            m.width = width
        return True

    def scan(self, const uint8_t[::1] value, size_t at):
        """Note what the records from octet `at` (0: the first) touch. Returns how many they are."""
        cdef run_map runs
        self._runs(value, &runs)
        cdef const uint8_t *p = &value[0]
        cdef const log_header *h = <const log_header *>p
        cdef size_t end = sizeof(log_header) + h.octets, size = 1
        cdef uint32_t n = 0
        if at == 0:
            at = sizeof(log_header)
        with nogil:
            while at < end:
                size = log_record_octets(p + at, end - at)
                if size == 0 or not self._scan_one(p + at, &runs):
                    break
                at += size
                n += 1
        if at < end:
            if size:
                raise MemoryError
            raise ValueError(f"a record of the outcome log is cut off at octet {at}")
        return n

    cdef bint _scan_one(self, const uint8_t *p, const run_map *runs) noexcept nogil:
        cdef const log_record *x = <const log_record *>p
        cdef const log_claim *c = <const log_claim *>p
        cdef const uint8_t *b
        cdef uint32_t base = _bit(DECISION) | _bit(STATE) | _bit(PARTS), load, write, i, first, last, width = 1, chunk
        cdef int campaign
        if x.kind == K_HELD or x.run >= LOG_RUNS:
            return True
        campaign = runs.of[x.run]
        if campaign < 0:
            return True
        if x.kind == K_CLAIM:
            if c.count == 0 or ranks_wrap(c):
                return True
            b = p + sizeof(log_claim)
            for i in range(c.count):
                if b[i] < 128 and b[i] > width:
                    width = b[i]
            write = base | _bit(TRIES) | _bit(SUBMIT_S) | _bit(TEXT_HASH)
            first, last = c.first_rank, c.first_rank + c.count - 1
            chunk = first // CHUNK
            while chunk <= last // CHUNK:
                if not self._want(campaign, chunk, base, write, CHUNK - 1 if chunk < last // CHUNK else last % CHUNK, width):
                    return False
                chunk += 1
            return True
        load, write = base, _bit(STATE)
        if x.kind == K_ACCEPTED:
            write |= _bit(LOG_NO)
        elif x.kind == K_REFUSED:
            write |= _bit(ERROR) | _bit(FINAL_S)
        elif x.kind == K_RETRY:
            write |= _bit(ERROR) | _bit(TRIES)
        elif x.kind == K_RELEASED or x.kind == K_SKIPPED:
            write |= _bit(DECISION) | _bit(TRIES)
            if x.kind == K_SKIPPED:
                write |= _bit(FINAL_S)
            load |= _bit(ERROR)
        elif x.kind == K_RECEIPT or x.kind == K_SETTLED:
            write |= _bit(FINAL_S)
            if x.status & 0xFFFFFF:
                write |= _bit(ERROR)
        return self._want(campaign, x.rank // CHUNK, load, write, x.rank % CHUNK, x.part + 1)

    def wanted(self):
        """[(image number, campaign id, chunk, load mask, write mask, ranks, part width)]"""
        ids = {number: id for id, number in self.numbers.items()}
        return [(i, ids[self.images[i].campaign], self.images[i].chunk, self.images[i].load, self.images[i].write,
                 self.images[i].top, self.images[i].width) for i in range(self.n_images)]

    def campaigns(self):
        """ids met by scan()"""
        return list(self.numbers)

    def attach(self, int number, int array, uint8_t[::1] octets, uint32_t slots, uint32_t width):
        """Lend an array's image (after its header): slots x width octets, written in place."""
        if octets.shape[0] < <Py_ssize_t>slots * (width if array == PART_STATE else WIDTHS[array]):
            raise ValueError("image too short")
        self.keep.append(octets)
        self.images[number].array[array] = &octets[0]
        self.images[number].slots = slots
        if array == PART_STATE:
            self.images[number].width = width

    def attach_counts(self, id, uint8_t[::1] octets, uint64_t log_base):
        """Lend a campaign's counters (64 u64) and say where its log begins."""
        if octets.shape[0] < 512:
            raise ValueError("counters: 512 octets")
        self.keep.append(octets)
        self.counts[<int>self.numbers[id]] = <uint64_t *>&octets[0]
        self.log_base[<int>self.numbers[id]] = log_base
