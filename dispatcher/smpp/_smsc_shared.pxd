from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "smsc.h" nogil:
    enum: SMSC_ODD, SMSC_WRITE, SMSC_CLOSE, SMSC_LEFT, SMSC_LOG_FAILED, SMSC_NO_MEMORY, SMSC_DROP
    enum: KEPT
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
        int64_t heard_ns
        uint8_t *input "in"
        uint8_t *out
    ctypedef struct kept:
        account *account
        int64_t at_ms, due_ns
        uint8_t deleted, source_octets, dest_octets
        uint8_t *source
        uint8_t *dest
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
        uint64_t tps, drop_every, mute_every, lost_every, answer_twice_every, garbage_every, twice_every, pending_every, unknown_every
        uint64_t early_every, receipt_share, elsewhere_share, shuffle, hold, queue_max, holding
        uint64_t delivery_ack_share, user_ack_share, acks_sent, acks_answered
        int64_t queue_step_ns
        delays answer_delay, receipt_delay
        int ids, receipt_ids, receipt_tlvs, states, rules, blobs, congestion, drop_how, count_repeats
        receipt_state *state
        rule *rules_of "rule"
        blob *garbage
        uint8_t *garbage_octets
        uint8_t *ack_text
        uint8_t ack_octets
        uint64_t submits, accepted, refused, throttled, dropped, muted, answers_lost, answers_doubled, receipts_owed
        uint64_t receipts_sent, receipts_answered, mo_sent, mo_answered, mo_refused, receipts_refused, came_again
        uint64_t unexpected_answers, enquire_links, malformed, garbage_sent, repeats, deleted, replaced, next_id
        int64_t first_ns, last_ns, now_ns, now_ms
        second seconds
        queue mo
        kept *kept
        account *accounts
        conn *bound
        uint32_t connections
        item **slabs
        uint32_t slab_count
        uint64_t *seen
        int log_fd, log_errno, no_memory
        uint32_t log_end
    void crc32_init()
    uint32_t be32(const uint8_t *p)
    item *new_item(smsc *s)
    void push(queue *q, item *it)
    uint32_t out_room(conn *c)
    void give_back(smsc *s, conn *c)
    void release_receipts(smsc *s)
    kept *kept_of(const smsc *s, uint64_t id)
    uint8_t drawn_state(const smsc *s, uint64_t id)
    bint is_final(const smsc *s, const kept *k)
    uint32_t smsc_accept(smsc *s, conn *c, const uint8_t *pdu, uint32_t octets, uint64_t *id)
    int flush_log(smsc *s)
    int smsc_push(smsc *s, conn *c)
    int smsc_wake(smsc *s, conn *c)
    int smsc_sweep(smsc *s, conn **at)

cdef class Account:
    cdef account *owed

cdef class Smsc:
    cdef smsc *s
    cdef list accounts  # those that the kernel knows by their address

    cdef int know(self, Account account) except -1
    cdef item *_inject(self, const uint8_t[::1] pdu) except NULL
