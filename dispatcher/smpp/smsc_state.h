/* The simulator's state: options, counters, connections, and the deliver_sm it owes.
 *
 * A deliver_sm owed (an item) is always in exactly one place: a queue, a bind's window, or the free list.
 * Small helpers for queues, numbers and the out buffer live here; what the simulator does with them is in smsc.h.
 */
#ifndef VOLLEY_SMSC_STATE_H
#define VOLLEY_SMSC_STATE_H
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../text/crc32.h"
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#define PDU_OCTETS_MAX (65u << 10)
#define IN_OCTETS (128u << 10)
#define OUT_OCTETS (256u << 10)
#define LOG_OCTETS (256u << 10)
#define ROOM_OCTETS 4096u   /* free in `out` before a PDU is read: its answer and a garbage blob fit */
#define DELIVER_OCTETS 512u /* above any deliver_sm of ours; longer MO are refused when injected */
#define LINE_OCTETS 128u    /* above any log line: 13 + 20 + 20 + 8 + 3 + 3 + 20 and tabs */
#define HELD_MAX (1u << 20) /* delayed answers of one connection; above it we stop reading */
#define ROUNDS 16           /* reads in one call, so that one busy connection does not starve the others */
#define AGAIN_NS 1000000000LL /* a deliver_sm answered "not now" comes again after this */
#define STATES_MAX 16
#define RULES_MAX 16
#define SLAB 1024

enum { SMSC_ODD = 1, SMSC_WRITE = 2, SMSC_CLOSE = 4, SMSC_LEFT = 8, SMSC_LOG_FAILED = 16, SMSC_NO_MEMORY = 32 };

typedef struct item {
    struct item *next;
    uint64_t id;
    int64_t due_ns;
    uint8_t *pdu;      /* an MO, whole but for its sequence_number; NULL: a receipt */
    uint32_t minute;   /* of the epoch, when it was submitted */
    uint16_t pdu_octets;
    uint8_t state, source_octets, dest_octets, text_octets, source_ton, source_npi, dest_ton, dest_npi;
    uint8_t source[20], dest[20], text[20];
} item;
typedef struct { item *head, *tail; uint64_t count; } queue;
typedef struct { queue due, again; } account;
typedef struct { item *owed; uint32_t sequence; } slot;
typedef struct { int64_t due_ns; uint64_t id; uint32_t sequence, status; } answer;

typedef struct {
    int fd;
    uint8_t tx, rx, closing;
    account *account;
    uint32_t in_at, in_end, out_at, out_end;
    slot *window;
    uint32_t window_mask, window_max, outstanding, sequence;
    answer *held;
    uint32_t held_at, held_end, held_mask;
    uint8_t in[IN_OCTETS], out[OUT_OCTETS];
} conn;

typedef struct { uint32_t below; uint8_t number, octets; char word[8], error[4]; } receipt_state;
typedef struct { uint64_t every; uint32_t status; } refusal;
typedef struct { uint32_t at, octets; } blob;

typedef struct {
    /* options */
    uint64_t tps, drop_every, mute_every, garbage_every, twice_every, unknown_every, receipt_share; /* share of 2^32 */
    int64_t delay_ns, receipt_delay_ns;
    int hex_ids, hex_receipt_ids, receipt_tlvs, states, refusals, blobs;
    receipt_state state[STATES_MAX];
    refusal refuse[RULES_MAX];
    blob garbage[RULES_MAX];
    uint8_t garbage_octets[1024];
    /* counted */
    uint64_t submits, accepted, refused, throttled, dropped, muted, receipts_owed, receipts_sent, receipts_answered;
    uint64_t mo_sent, mo_answered, mo_refused, receipts_refused, came_again, unexpected_answers, enquire_links, malformed, garbage_sent;
    int64_t first_ns, last_ns;
    /* running */
    int64_t now_ns, now_ms;
    uint64_t next_id, receipts_drawn;
    int64_t *accepted_ns; /* of the last `tps` accepted: the sliding second */
    uint64_t accepted_at;
    queue mo;
    item *free_items;
    item **slabs;
    uint32_t slab_count;
    int log_fd, log_errno, no_memory;
    uint32_t log_end;
    uint32_t minute[2];
    char minute_text[2][10];
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
static uint8_t *put_decimal(uint8_t *p, uint64_t v) {
    uint8_t digits[20];
    int n = 0;
    do { digits[n++] = '0' + v % 10; v /= 10; } while (v);
    while (n) *p++ = digits[--n];
    return p;
}
static uint8_t *put_hex(uint8_t *p, uint64_t v, int least) {
    int n = 1;
    while (n < 16 && v >> 4 * n) n++;
    for (n = n < least ? least : n; n--;) *p++ = "0123456789abcdef"[v >> 4 * n & 15];
    return p;
}
static inline uint8_t *put_id(uint8_t *p, uint64_t id, int hex) { return hex ? put_hex(p, id, 1) : put_decimal(p, id); }
static inline uint8_t *put(uint8_t *p, const void *from, size_t n) { memcpy(p, from, n); return p + n; }
static inline uint8_t *put_shown(uint8_t *p, const uint8_t *from, size_t n) { /* no tab or line end of a peer's gets into the log */
    for (size_t i = 0; i < n; i++) *p++ = from[i] > 0x20 && from[i] < 0x7F ? from[i] : '?';
    return p;
}

/* Items and queues */
static item *new_item(smsc *s) {
    if (!s->free_items) {
        item **slabs = (item **)realloc(s->slabs, (s->slab_count + 1) * sizeof *slabs);
        if (slabs) s->slabs = slabs;
        item *fresh = slabs ? (item *)calloc(SLAB, sizeof *fresh) : NULL;
        if (!fresh) { s->no_memory = 1; return NULL; }
        s->slabs[s->slab_count++] = fresh;
        for (int i = 0; i < SLAB; i++) { fresh[i].next = s->free_items; s->free_items = &fresh[i]; }
    }
    item *it = s->free_items;
    s->free_items = it->next;
    it->next = NULL;
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
static inline int ready(const queue *q, int64_t now_ns) { return q->head && q->head->due_ns <= now_ns; }

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
static void send_submit_resp(smsc *s, conn *c, const answer *a) {
    uint8_t *p = c->out + c->out_end, *end = p + 16;
    if (a->status == 0) { end = put_id(end, a->id, s->hex_ids); *end++ = 0; } /* 4.4.2: no body with an error */
    put_header(p, (uint32_t)(end - p), 0x80000004, a->status, a->sequence);
    c->out_end += (uint32_t)(end - p);
}
static void answer_submit(smsc *s, conn *c, uint32_t sequence, uint32_t status, uint64_t id) {
    answer a = {s->now_ns + s->delay_ns, id, sequence, status};
    if (!s->delay_ns && c->held_at == c->held_end) { send_submit_resp(s, c, &a); return; }
    if (c->held_end - c->held_at > c->held_mask || !c->held) {
        uint32_t size = c->held ? 2 * (c->held_mask + 1) : 1024;
        answer *grown = (answer *)malloc(size * sizeof *grown);
        if (!grown) { s->no_memory = 1; return; }
        uint32_t n = 0;
        for (; c->held_at != c->held_end; c->held_at++) grown[n++] = c->held[c->held_at & c->held_mask];
        free(c->held);
        c->held = grown; c->held_mask = size - 1; c->held_at = 0; c->held_end = n;
    }
    c->held[c->held_end++ & c->held_mask] = a;
}
static void release_held(smsc *s, conn *c) {
    while (c->held_at != c->held_end && out_room(c) >= ROOM_OCTETS) {
        const answer *a = &c->held[c->held_at & c->held_mask];
        if (a->due_ns > s->now_ns) return;
        send_submit_resp(s, c, a);
        c->held_at++;
    }
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
