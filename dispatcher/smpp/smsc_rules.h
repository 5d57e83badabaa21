/* What a submit_sm is answered, and when: caps, statuses by rule, the queue, delayed and shuffled answers, counts. */
#ifndef VOLLEY_SMSC_RULES_H
#define VOLLEY_SMSC_RULES_H
#include "smsc_state.h"

/* submit_sm */
typedef struct {
    const uint8_t *source, *dest, *text;
    uint32_t text_octets, crc;
    uint8_t source_octets, dest_octets, source_ton, source_npi, dest_ton, dest_npi;
    uint8_t esm_class, data_coding, registered_delivery, part, total;
} submit;

/* `*`: any octets, also none; `?`: one. */
static int fits(const char *pattern, uint32_t n, const uint8_t *text, uint32_t octets) {
    uint32_t p = 0, t = 0, star = UINT32_MAX, from = 0;
    while (t < octets) {
        if (p < n && pattern[p] == '*') { star = p++; from = t; }
        else if (p < n && (pattern[p] == '?' || (uint8_t)pattern[p] == text[t])) p++, t++;
        else if (star != UINT32_MAX) { p = star + 1; t = ++from; }
        else return 0;
    }
    while (p < n && pattern[p] == '*') p++;
    return p == n;
}
static int applies(const smsc *s, const rule *r, const submit *m) {
    switch (r->kind) {
    case RULE_EVERY: return every(r->every, s->submits);
    case RULE_SHARE: return (mix(s->submits) & 0xFFFFFFFF) < r->share;
    case RULE_NUMBER: return fits(r->pattern, r->octets, m->dest, m->dest_octets);
    default: return (hash_of(0, m->dest, m->dest_octets) & 0xFFFFFFFF) < r->share; /* the same numbers each time */
    }
}
static inline int full(second *w, uint64_t cap, int64_t now_ns) {
    if (!cap) return 0;
    second_pass(w, now_ns);
    return w->sum >= cap;
}
static uint32_t refusal_of(smsc *s, conn *c, const submit *m) {
    account *a = c->account;
    for (int i = 0; i < s->rules; i++) if (applies(s, &s->rule[i], m)) return s->rule[i].status;
    if (s->queue_max && a->queued_until_ns - s->now_ns >= (int64_t)s->queue_max * s->queue_step_ns) return 0x14;
    if (full(&s->seconds, s->tps, s->now_ns) || full(&a->accepted, a->tps, s->now_ns)) return 0x58;
    return full(&c->accepted, a->bind_tps, s->now_ns) ? 0x58 : 0;
}
/* Fullest of the queue and of the caps, in per cent. */
static uint8_t congestion_of(smsc *s, conn *c) {
    account *a = c->account;
    uint64_t most = 0, now;
    if (s->congestion != CONGESTION_AUTO || !a) return (uint8_t)s->congestion;
    if (s->queue_max && a->queued_until_ns > s->now_ns)
        most = 100 * (uint64_t)(a->queued_until_ns - s->now_ns) / (s->queue_max * (uint64_t)s->queue_step_ns);
    second *w[3] = {&s->seconds, &a->accepted, &c->accepted};
    uint64_t cap[3] = {s->tps, a->tps, a->bind_tps};
    for (int i = 0; i < 3; i++) if (cap[i]) {
        second_pass(w[i], s->now_ns);
        now = 100 * w[i]->sum / cap[i];
        if (now > most) most = now;
    }
    return most > 100 ? 100 : (uint8_t)most;
}

/* Counts */
static void count_status(account *a, uint32_t status) {
    uint32_t at = status * 0x9E3779B1u >> 22;
    for (uint32_t i = 0; i < STATUSES; i++) {
        tally *t = &a->statuses[(at + i) & (STATUSES - 1)];
        if (!t->used) { t->used = 1; t->status = status; }
        if (t->status == status) { t->count++; return; }
    }
}
static void note_repeat(smsc *s, const submit *m) {
    uint8_t rest[6] = {m->crc >> 24, m->crc >> 16, m->crc >> 8, m->crc, m->part, m->total};
    uint64_t h = hash_of(hash_of(hash_of(0, m->source, m->source_octets), m->dest, m->dest_octets), rest, 6) | 1;
    if (2 * (s->seen_count + 1) > s->seen_mask) {
        uint64_t size = s->seen ? 2 * (s->seen_mask + 1) : 4096, *grown = (uint64_t *)calloc(size, sizeof *grown);
        if (!grown) { s->no_memory = 1; return; }
        for (uint64_t i = 0; s->seen && i <= s->seen_mask; i++) if (s->seen[i]) {
            uint64_t at = s->seen[i] >> 1;
            while (grown[at & (size - 1)]) at++;
            grown[at & (size - 1)] = s->seen[i];
        }
        free(s->seen);
        s->seen = grown;
        s->seen_mask = size - 1;
    }
    for (uint64_t at = h >> 1;; at++) {
        uint64_t *place = &s->seen[at & s->seen_mask];
        if (*place == h) { s->repeats++; return; }
        if (!*place) { *place = h; s->seen_count++; return; }
    }
}

/* Answers */
static inline int64_t drawn(const delays *d, uint64_t draw) { return d->ns ? d->ns[draw & d->mask] : 0; }
static void send_submit_resp(smsc *s, conn *c, const answer *a) {
    uint8_t *p = c->out + c->out_end, *end = p + 16;
    if (a->status == 0) { /* 4.4.2: no body with an error, unless a TLV follows */
        if (a->id + 1 == s->next_id) end = put(end, s->id_text, s->id_octets);
        else end = put_id(end, a->id, s->ids);
        *end++ = 0;
    }
    if (s->congestion != CONGESTION_NONE) {
        if (a->status) *end++ = 0;
        end = put(end, "\x04\x28\x00\x01", 4);
        *end++ = congestion_of(s, c);
    }
    put_header(p, (uint32_t)(end - p), 0x80000004, a->status, a->sequence);
    c->out_end += (uint32_t)(end - p);
}
static inline int sooner(const answer *a, const answer *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->tie < b->tie;
}
static void hold_answer(smsc *s, conn *c, const answer *a) {
    if (c->held_count == c->held_size) {
        uint32_t size = c->held_size ? 2 * c->held_size : 1024;
        answer *grown = (answer *)realloc(c->held, size * sizeof *grown);
        if (!grown) { s->no_memory = 1; return; }
        c->held = grown;
        c->held_size = size;
    }
    uint32_t at = c->held_count++;
    for (; at && sooner(a, &c->held[(at - 1) / 2]); at = (at - 1) / 2) c->held[at] = c->held[(at - 1) / 2];
    c->held[at] = *a;
}
static void release_held(smsc *s, conn *c) {
    while (c->held_count && out_room(c) >= ROOM_OCTETS && c->held[0].due_ns <= s->now_ns) {
        send_submit_resp(s, c, &c->held[0]);
        answer last = c->held[--c->held_count];
        uint32_t at = 0, child;
        while ((child = 2 * at + 1) < c->held_count) {
            if (child + 1 < c->held_count && sooner(&c->held[child + 1], &c->held[child])) child++;
            if (!sooner(&c->held[child], &last)) break;
            c->held[at] = c->held[child];
            at = child;
        }
        c->held[at] = last;
    }
}
/* Answers leave by the time they are due; within a group of `shuffle` that are due together in any order. */
static void answer_submit(smsc *s, conn *c, uint32_t sequence, uint32_t status, uint64_t id, int64_t least_ns) {
    uint64_t number = c->answers++;
    int64_t wait_ns = drawn(&s->answer_delay, mix(s->submits + 0x5851F42D4C957F2Du));
    if (wait_ns < least_ns) wait_ns = least_ns;
    answer a = {s->now_ns + wait_ns, number, id, sequence, status};
    if (s->shuffle > 1) a.tie = number / s->shuffle << 32 | (mix(number) & 0xFFFFFFFF);
    else if (!wait_ns && !c->held_count) { send_submit_resp(s, c, &a); return; }
    hold_answer(s, c, &a);
}
#endif
