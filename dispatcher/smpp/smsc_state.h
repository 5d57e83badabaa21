/* The simulator's state: options, counters, accounts, connections, and the deliver_sm it owes.
 *
 * A deliver_sm owed (an item) is always in exactly one place: a queue, a heap, a list, a bind's window, or the free list.
 * Small helpers for queues, heaps and the out buffer live here; what the simulator does with them is in smsc.h.
 */
#ifndef VOLLEY_SMSC_STATE_H
#define VOLLEY_SMSC_STATE_H
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../text/crc32.h"
#include "smsc_text.h"
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#define PDU_OCTETS_MAX (65u << 10)
#define IN_OCTETS (128u << 10)
#define OUT_OCTETS (256u << 10)
#define LOG_OCTETS (256u << 10)
#define ROOM_OCTETS 4096u   /* free in `out` before a PDU is read: its answers and a garbage blob fit */
#define BLOB_OCTETS 2048u   /* of one kind of garbage */
#define GARBAGE_OCTETS (16u << 10)
#define DELIVER_OCTETS 512u /* above any deliver_sm of ours; longer MO are refused when injected */
#define LINE_OCTETS 128u    /* above any log line: 13 + 20 + 20 + 8 + 3 + 3 + 24 and tabs */
#define HELD_MAX (1u << 20) /* delayed answers of one connection; above it we stop reading */
#define ROUNDS 16           /* reads in one call, so that one busy connection does not starve the others */
#define SWEEPS 8            /* passes over all binds in one call */
#define SWEPT_MAX 64        /* with more binds than these each waits for its own wake-up */
#define AGAIN_NS 1000000000LL /* a deliver_sm answered "not now" comes again after this */
#define EARLY_NS 2000000LL  /* an answer that its receipt overtakes waits so much longer than the receipt */
#define SECOND_NS 1000000000LL
#define STATES_MAX 16
#define RULES_MAX 64
#define STATUSES 1024       /* different command_status counted of one account, a power of 2 */
#define SLAB 1024
#define KEPT 65536u         /* accepted messages that can be asked for, a power of 2 */

enum { SMSC_ODD = 1, SMSC_WRITE = 2, SMSC_CLOSE = 4, SMSC_LEFT = 8, SMSC_LOG_FAILED = 16, SMSC_NO_MEMORY = 32, SMSC_DROP = 64 };
enum { DROP_CLOSE, DROP_UNBIND, DROP_UNBIND_LATE }; /* what the kernel does itself; the other ends are smsc.py's */
enum { RULE_EVERY, RULE_SHARE, RULE_NUMBER, RULE_OF_NUMBERS };
enum { CONGESTION_NONE = 255, CONGESTION_AUTO = 254 };

typedef struct item {
    struct item *next;
    uint64_t id;
    int64_t due_ns;
    uint8_t *pdu;      /* an MO, whole but for its sequence_number; NULL: a receipt */
    uint32_t minute;   /* of the epoch, when it was submitted; of an MO: how often it was answered "not now" */
    uint32_t from;     /* not over the connection of this number while there is another; 0: any */
    uint16_t pdu_octets;
    uint8_t state, source_octets, dest_octets, text_octets, source_ton, source_npi, dest_ton, dest_npi;
    uint8_t source[20], dest[20], text[20];
} item;
typedef struct { item *head, *tail; uint64_t count; } queue;
typedef struct { item **items; uint64_t count, size, at; } list; /* `at`: taken so far */
typedef struct { int64_t ns; uint64_t count; } run;
typedef struct { run *runs; uint32_t mask, at, end; uint64_t sum, most; } second; /* accepted in the last second, by instant */
typedef struct { uint32_t status, used; uint64_t count; } tally;
typedef struct { item *owed; uint32_t sequence; } slot;
typedef struct { int64_t due_ns; uint64_t tie, id; uint32_t sequence, status; } answer;
typedef struct { int64_t *ns; uint32_t mask; } delays; /* a distribution: as many quantiles, a power of 2; NULL: none */

struct conn;
typedef struct account {
    queue due, again;  /* `due` has rising times; what falls between them goes to `later` */
    list later, held, burst;
    struct conn *receivers;
    struct account *next;
    second accepted;
    uint64_t tps, bind_tps, submits;
    int64_t queued_until_ns;
    tally statuses[STATUSES];
} account;

typedef struct conn {
    int fd;
    uint8_t tx, rx, closing, dropped, unbinding, moved, blocked; /* moved: something was put into another bind's `mine` */
    uint32_t number;
    account *account;
    struct conn *next_receiver, *next;
    queue mine; /* receipts that another bind of the account must not bring */
    second accepted;
    uint32_t in_at, in_end, out_at, out_end, read_most, write_most; /* `most` of one call; 0: no limit */
    slot *window;
    uint32_t window_mask, window_max, outstanding, sequence;
    answer *held; /* a heap by (due_ns, tie) */
    uint32_t held_count, held_size;
    uint64_t answers;
    int64_t heard_ns; /* when octets came last */
    uint8_t in[IN_OCTETS], out[OUT_OCTETS];
} conn;

typedef struct { /* an accepted message, smsc_kept.h */
    uint64_t id;
    const account *account;
    int64_t at_ms, due_ns;
    uint8_t deleted, source_octets, dest_octets;
    uint8_t source[20], dest[20];
} kept;
typedef struct { uint32_t below; uint8_t number, octets; char word[8], error[4]; } receipt_state;
typedef struct { uint64_t every, share; uint32_t status; uint8_t kind, octets; char pattern[21]; } rule;
typedef struct { uint32_t at, octets, instead; } blob;

typedef struct {
    /* options */
    uint64_t tps, drop_every, mute_every, lost_every, answer_twice_every, garbage_every, twice_every, unknown_every, early_every,
        pending_every;
    uint64_t receipt_share, elsewhere_share, delivery_ack_share, user_ack_share; /* of 2^32 */
    uint64_t shuffle, hold, queue_max;
    int64_t queue_step_ns;
    delays answer_delay, receipt_delay;
    int ids, receipt_ids, receipt_tlvs, states, rules, blobs, congestion, drop_how, count_repeats;
    receipt_state state[STATES_MAX];
    rule rule[RULES_MAX];
    blob garbage[RULES_MAX];
    uint8_t garbage_octets[GARBAGE_OCTETS];
    uint8_t ack_text[20], ack_octets;
    /* counted */
    uint64_t submits, accepted, refused, throttled, dropped, muted, answers_lost, answers_doubled, receipts_owed, receipts_sent;
    uint64_t receipts_answered, mo_sent, mo_answered, mo_refused, receipts_refused, came_again, unexpected_answers, enquire_links;
    uint64_t malformed, garbage_sent, repeats, deleted, replaced, acks_sent, acks_answered;
    int64_t first_ns, last_ns;
    /* running */
    int64_t now_ns, now_ms, ms_shown;
    uint64_t next_id, receipts_drawn, holding;
    second seconds;
    queue mo;
    kept *kept;
    account *accounts;
    conn *bound;
    uint32_t connections;
    item *free_items;
    item **slabs;
    uint32_t slab_count;
    uint64_t *seen, seen_count, seen_mask; /* hashes of what was accepted, when repeats are counted */
    int log_fd, log_errno, no_memory;
    uint32_t log_end, ms_octets, id_octets;
    uint32_t minute[2];
    char minute_text[2][10];
    uint8_t ms_text[24], id_text[32];
    uint8_t log[LOG_OCTETS];
} smsc;

static inline uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static inline uint32_t be16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static inline void put32(uint8_t *p, uint32_t v) { p[0] = v >> 24; p[1] = v >> 16; p[2] = v >> 8; p[3] = v; }
static inline int every(uint64_t n, uint64_t k) { return n && k % n == 0; }
static inline uint64_t mix(uint64_t x) { /* splitmix64's finish: ids in a row give unrelated draws */
    x ^= x >> 30; x *= 0xBF58476D1CE4E5B9u; x ^= x >> 27; x *= 0x94D049BB133111EBu;
    return x ^ x >> 31;
}
static uint64_t hash_of(uint64_t h, const uint8_t *p, size_t n) { /* FNV-1a, finished */
    h ^= 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return mix(h);
}

/* Items, queues, lists and heaps of items */
static item *new_item(smsc *s) {
    if (!s->free_items) {
        item **slabs = (item **)realloc(s->slabs, (s->slab_count + 1) * sizeof *slabs);
        if (slabs) s->slabs = slabs;
        item *fresh = slabs ? (item *)calloc(SLAB, sizeof *fresh) : NULL;
        if (!fresh) { s->no_memory = 1; return NULL; }
        s->slabs[s->slab_count++] = fresh;
        for (int i = SLAB; i--;) { fresh[i].next = s->free_items; s->free_items = &fresh[i]; }
    }
    item *it = s->free_items;
    s->free_items = it->next;
    it->next = NULL;
    it->from = it->minute = 0;
    return it;
}
static void free_item(smsc *s, item *it) {
    free(it->pdu);
    it->pdu = NULL;
    it->next = s->free_items;
    s->free_items = it;
}
static void push(queue *q, item *it) {
    it->next = NULL;
    if (q->tail) q->tail->next = it; else q->head = it;
    q->tail = it;
    q->count++;
}
static item *take(queue *q) {
    item *it = q->head;
    q->head = it->next;
    if (!q->head) q->tail = NULL;
    q->count--;
    return it;
}
static void prepend(queue *to, queue *q) {
    if (!q->head) return;
    q->tail->next = to->head;
    if (!to->tail) to->tail = q->tail;
    to->head = q->head;
    to->count += q->count;
    memset(q, 0, sizeof *q);
}
static inline int ready(const queue *q, int64_t now_ns) { return q->head && q->head->due_ns <= now_ns; }
static int list_add(list *l, item *it) { /* 0: no memory */
    if (l->count == l->size) {
        uint64_t size = l->size ? 2 * l->size : 1024;
        item **grown = (item **)realloc(l->items, size * sizeof *grown);
        if (!grown) return 0;
        l->items = grown;
        l->size = size;
    }
    l->items[l->count++] = it;
    return 1;
}
static int heap_push(list *h, item *it) { /* the earliest on top; 0: no memory */
    if (!list_add(h, it)) return 0;
    uint64_t at = h->count - 1;
    for (; at && h->items[(at - 1) / 2]->due_ns > it->due_ns; at = (at - 1) / 2) h->items[at] = h->items[(at - 1) / 2];
    h->items[at] = it;
    return 1;
}
static item *heap_take(list *h) {
    item *top = h->items[0], *last = h->items[--h->count];
    uint64_t at = 0, child;
    while ((child = 2 * at + 1) < h->count) {
        if (child + 1 < h->count && h->items[child + 1]->due_ns < h->items[child]->due_ns) child++;
        if (last->due_ns <= h->items[child]->due_ns) break;
        h->items[at] = h->items[child];
        at = child;
    }
    h->items[at] = last;
    return top;
}

/* Accepted in the last second: (now - 1 s, now] */
static inline void second_pass(second *w, int64_t now_ns) {
    while (w->at != w->end && w->runs[w->at & w->mask].ns <= now_ns - SECOND_NS) w->sum -= w->runs[w->at++ & w->mask].count;
}
static void second_grow(smsc *s, second *w) {
    uint32_t size = w->runs ? 2 * (w->mask + 1) : 64, n = 0;
    run *grown = (run *)malloc(size * sizeof *grown);
    if (!grown) { s->no_memory = 1; return; }
    for (; w->at != w->end; w->at++) grown[n++] = w->runs[w->at & w->mask];
    free(w->runs);
    w->runs = grown; w->mask = size - 1; w->at = 0; w->end = n;
}
static inline void second_add(smsc *s, second *w, int64_t now_ns) {
    if (w->at != w->end && w->runs[(w->end - 1) & w->mask].ns == now_ns) w->runs[(w->end - 1) & w->mask].count++;
    else {
        second_pass(w, now_ns);
        if (!w->runs || w->end - w->at > w->mask) second_grow(s, w);
        if (s->no_memory) return;
        w->runs[w->end++ & w->mask] = (run){now_ns, 1};
    }
    if (++w->sum > w->most) w->most = w->sum;
}

/* Out */
static inline uint32_t out_room(conn *c) {
    if (c->out_at == c->out_end) c->out_at = c->out_end = 0;
    else if (c->out_at > OUT_OCTETS / 2) {
        memmove(c->out, c->out + c->out_at, c->out_end - c->out_at);
        c->out_end -= c->out_at;
        c->out_at = 0;
    }
    return OUT_OCTETS - c->out_end;
}
static void put_header(uint8_t *p, uint32_t octets, uint32_t id, uint32_t status, uint32_t sequence) {
    put32(p, octets); put32(p + 4, id); put32(p + 8, status); put32(p + 12, sequence);
}
static void send_short(conn *c, uint32_t id, uint32_t status, uint32_t sequence) {
    put_header(c->out + c->out_end, 16, id, status, sequence);
    c->out_end += 16;
}
static int flush_log(smsc *s) {
    uint32_t at = 0;
    while (at < s->log_end) {
        ssize_t n = write(s->log_fd, s->log + at, s->log_end - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) { s->log_errno = n ? errno : EIO; return SMSC_LOG_FAILED; }
        at += (uint32_t)n;
    }
    s->log_end = 0;
    return 0;
}
#endif
