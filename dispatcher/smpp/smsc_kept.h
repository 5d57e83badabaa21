/* The latest accepted messages, for whoever asks, cancels or replaces one: a ring by id, which are numbers in a row.
 *
 * What became of a message is drawn from its id, as its receipt's state is; until its receipt would be due it is ENROUTE.
 */
#ifndef VOLLEY_SMSC_KEPT_H
#define VOLLEY_SMSC_KEPT_H
#include "smsc_rules.h"

static inline kept *kept_of(const smsc *s, uint64_t id) { /* NULL: not accepted, or too long ago */
    kept *k = s->kept ? &s->kept[id & (KEPT - 1)] : NULL;
    return k && k->id == id && k->account ? k : NULL;
}
static void keep_message(smsc *s, conn *c, const submit *m, uint64_t id) {
    if (!s->kept && !(s->kept = (kept *)calloc(KEPT, sizeof(kept)))) { s->no_memory = 1; return; }
    kept *k = &s->kept[id & (KEPT - 1)];
    k->id = id;
    k->account = c->account;
    k->at_ms = s->now_ms;
    k->due_ns = s->now_ns + drawn(&s->receipt_delay, mix(id + 0x9E3779B97F4A7C15u) >> 32);
    k->deleted = 0;
    k->source_octets = m->source_octets; k->dest_octets = m->dest_octets;
    memcpy(k->source, m->source, m->source_octets);
    memcpy(k->dest, m->dest, m->dest_octets);
}
static inline uint8_t drawn_state(const smsc *s, uint64_t id) { /* an index of s->state */
    uint32_t at = (uint32_t)(mix(id) >> 32) % s->state[s->states - 1].below;
    uint8_t state = 0;
    while (s->state[state].below <= at) state++;
    return state;
}
static inline int is_final(const smsc *s, const kept *k) { return k->deleted || k->due_ns <= s->now_ns; }
#endif
