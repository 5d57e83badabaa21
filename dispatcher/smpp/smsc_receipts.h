/* The deliver_sm that the simulator owes: when each is due, over which bind it goes, and what comes back.
 *
 * Taken in this order: MO of anybody, what only this bind may bring, what was answered "not now", a burst, what is due.
 */
#ifndef VOLLEY_SMSC_RECEIPTS_H
#define VOLLEY_SMSC_RECEIPTS_H
#include "smsc_kept.h"
#define PENDING 0xFFu /* state of an item that is an intermediate notification (5.2.12) */
#define DELIVERY_ACK 0xFEu /* by the phone, and by who holds it: no receipts of ours, and what they say is a text of theirs */
#define USER_ACK 0xFDu
static inline int is_ack(const item *it) { return !it->pdu && (it->state == DELIVERY_ACK || it->state == USER_ACK); }

static void release_receipts(smsc *s);
static void keep(smsc *s, account *a, item *it) {
    int kept = 1;
    if (s->hold) {
        kept = list_add(&a->held, it);
        s->holding += kept;
    } else if (!a->due.tail || it->due_ns >= a->due.tail->due_ns) push(&a->due, it);
    else kept = heap_push(&a->later, it);
    if (!kept) { s->no_memory = 1; free_item(s, it); }
}
static int64_t owe(smsc *s, conn *c, const submit *m, uint64_t id, uint8_t state) { /* how long it waits */
    item *it = new_item(s);
    uint64_t draw = mix(id + 0x9E3779B97F4A7C15u);
    int64_t wait_ns = drawn(&s->receipt_delay, draw >> 32);
    if (!it) return 0;
    it->id = id;
    it->due_ns = s->now_ns + wait_ns;
    it->minute = (uint32_t)(s->now_ms / 60000);
    it->from = (draw & 0xFFFFFFFF) < s->elsewhere_share ? c->number : 0;
    it->state = state;
    it->source_ton = m->source_ton; it->source_npi = m->source_npi;
    it->dest_ton = m->dest_ton; it->dest_npi = m->dest_npi;
    it->source_octets = m->source_octets; it->dest_octets = m->dest_octets;
    memcpy(it->source, m->source, m->source_octets);
    memcpy(it->dest, m->dest, m->dest_octets);
    it->text_octets = 0; /* appendix B: the first 20 characters; those of other alphabets are left out */
    if (is_ack(it)) it->text_octets = s->ack_octets;
    else if (m->data_coding == 0 && !(m->esm_class & 0x40)) it->text_octets = m->text_octets < 20 ? (uint8_t)m->text_octets : 20;
    memcpy(it->text, is_ack(it) ? s->ack_text : m->text, it->text_octets);
    s->receipts_owed += !is_ack(it);
    keep(s, c->account, it);
    return wait_ns;
}
static void owe_receipt(smsc *s, conn *c, const submit *m, uint64_t id, int64_t *least_ns) {
    uint64_t draw = mix(id);
    uint8_t wanted = m->registered_delivery & 3;
    if (!wanted || (draw & 0xFFFFFFFF) >= s->receipt_share || !s->states) return;
    uint8_t state = drawn_state(s, id);
    int delivered = s->state[state].number == 2;
    if ((wanted == 2 && delivered) || (wanted == 3 && !delivered)) return;
    uint64_t k = ++s->receipts_drawn;
    int pends = every(s->pending_every, k);
    if (pends) owe(s, c, m, id, PENDING);
    int64_t wait_ns = owe(s, c, m, id, state);
    if (pends) owe(s, c, m, id, PENDING);
    if (every(s->early_every, k)) *least_ns = wait_ns + EARLY_NS;
    if (every(s->twice_every, k)) owe(s, c, m, id, state);
    if (every(s->unknown_every, k)) owe(s, c, m, draw | 1ull << 63, state); /* our own ids stay below 2^63 */
    if (s->hold && s->holding >= s->hold) release_receipts(s);
}
/* Of what arrived, asked for or not: what comes of that is the ESME's to bear. */
static void owe_acks(smsc *s, conn *c, const submit *m, uint64_t id) {
    uint64_t draw = mix(id ^ 0xD1B54A32D192ED03u);
    if (s->states && s->state[drawn_state(s, id)].number != 2) return;
    if ((draw & 0xFFFFFFFF) < s->delivery_ack_share) owe(s, c, m, id, DELIVERY_ACK);
    if (draw >> 32 < s->user_ack_share) owe(s, c, m, id, USER_ACK);
}
/* All that are held back may go, of each account in any order. */
static void release_receipts(smsc *s) {
    for (account *a = s->accounts; a; a = a->next) {
        list *from = &a->held, *to = &a->burst;
        for (uint64_t i = from->count; i > 1; i--) {
            uint64_t k = mix(s->next_id + i) % i;
            item *it = from->items[i - 1];
            from->items[i - 1] = from->items[k];
            from->items[k] = it;
        }
        if (!to->count) { /* take_due empties it at its end */
            list empty = *to;
            *to = *from;
            *from = empty;
        } else
            for (uint64_t i = 0; i < from->count; i++) if (!list_add(to, from->items[i])) s->no_memory = 1;
        from->count = from->at = 0;
    }
    s->holding = 0;
}
static item *take_due(smsc *s, account *a) { /* NULL: none now */
    list *b = &a->burst;
    if (ready(&a->again, s->now_ns)) return take(&a->again);
    if (b->at < b->count) {
        if (b->at + 8 < b->count) {
            __builtin_prefetch(b->items[b->at + 8]);
            __builtin_prefetch((char *)b->items[b->at + 8] + 64);
        }
        item *it = b->items[b->at++];
        if (b->at == b->count) b->at = b->count = 0;
        return it;
    }
    item *later = a->later.count ? a->later.items[0] : NULL, *next = a->due.head;
    if (later && later->due_ns <= s->now_ns && !(next && next->due_ns < later->due_ns)) return heap_take(&a->later);
    return next && next->due_ns <= s->now_ns ? take(&a->due) : NULL;
}
static int any_due(smsc *s, conn *c) {
    account *a = c->account;
    return s->mo.head || c->mine.head || ready(&a->again, s->now_ns) || a->burst.at < a->burst.count
        || (a->later.count && a->later.items[0]->due_ns <= s->now_ns) || ready(&a->due, s->now_ns);
}
/* deliver_sm */
static uint8_t *put_minute(smsc *s, uint8_t *p, uint32_t minute, int which) {
    if (s->minute[which] != minute) {
        time_t seconds = (time_t)minute * 60;
        struct tm t;
        gmtime_r(&seconds, &t);
        int v[5] = {t.tm_year % 100, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min};
        for (int i = 0; i < 10; i++) s->minute_text[which][i] = (char)('0' + (i % 2 ? v[i / 2] % 10 : v[i / 2] / 10));
        s->minute[which] = minute;
    }
    return put(p, s->minute_text[which], 10);
}
static void send_receipt(smsc *s, conn *c, const item *it, uint32_t sequence) {
    static const receipt_state deleted = {0, 4, 7, "DELETED", "000"}, enroute = {0, 1, 7, "ENROUTE", "000"};
    const kept *k = kept_of(s, it->id);
    const receipt_state *state = it->state == PENDING ? &enroute : k && k->deleted ? &deleted
        : &s->state[it->state < s->states ? it->state : 0];
    uint8_t *begin = c->out + c->out_end, *p = begin + 16, *text;
    *p++ = 0;
    *p++ = it->dest_ton; *p++ = it->dest_npi;
    p = put(p, it->dest, it->dest_octets); *p++ = 0;
    *p++ = it->source_ton; *p++ = it->source_npi;
    p = put(p, it->source, it->source_octets); *p++ = 0;
    *p++ = is_ack(it) ? it->state == DELIVERY_ACK ? 0x08 : 0x10 : it->state == PENDING ? 0x20 : 0x04; /* esm_class */
    p = put(p, "\0\0\0\0\0\0\0\0", 8);
    text = ++p;
    if (is_ack(it)) {
        p = put(p, it->text, it->text_octets);
        text[-1] = it->text_octets;
        put_header(begin, (uint32_t)(p - begin), 5, 0, sequence);
        c->out_end += (uint32_t)(p - begin);
        return;
    }
    p = put_id(put(p, "id:", 3), it->id, s->receipt_ids);
    p = put(p, state->number == 2 ? " sub:001 dlvrd:001 submit date:" : " sub:001 dlvrd:000 submit date:", 31);
    p = put_minute(s, p, it->minute, 0);
    p = put_minute(s, put(p, " done date:", 11), (uint32_t)(s->now_ms / 60000), 1);
    p = put(put(p, " stat:", 6), state->word, state->octets);
    p = put(put(put(p, " err:", 5), state->error, 3), " text:", 6);
    p = put(p, it->text, it->text_octets);
    text[-1] = (uint8_t)(p - text);
    if (s->receipt_tlvs) {
        uint8_t *tlv = p;
        p = put_id(p + 4, it->id, s->ids); *p++ = 0;
        put32(tlv, 0x001E0000u | (uint32_t)(p - tlv - 4));
        p = put(p, "\x04\x27\x00\x01", 4); *p++ = state->number;
    }
    put_header(begin, (uint32_t)(p - begin), 5, 0, sequence);
    c->out_end += (uint32_t)(p - begin);
}
static conn *another(const conn *c) { /* a bind of the account that receives, after `c` in the round */
    conn *other = c->next_receiver ? c->next_receiver : c->account->receivers;
    return other == c ? NULL : other;
}
static int deliver(smsc *s, conn *c) { /* what is due, as far as the window and `out` have room */
    account *a = c->account;
    while (a && any_due(s, c)) {
        if (!c->rx || c->outstanding >= c->window_max || out_room(c) < ROOM_OCTETS + DELIVER_OCTETS) return SMSC_LEFT;
        item *it = s->mo.head ? take(&s->mo) : c->mine.head ? take(&c->mine) : take_due(s, a);
        if (it->from == c->number && another(c)) { /* `from` is never that of the bind whose `mine` it was in */
            push(&another(c)->mine, it);
            c->moved = 1;
            continue;
        }
        slot *free_slot;
        do {
            c->sequence = c->sequence >= 0x7FFFFFFE ? 1 : c->sequence + 1; /* 0x7FFFFFFF is our unbind's */
            free_slot = &c->window[c->sequence & c->window_mask];
        } while (free_slot->owed);
        free_slot->owed = it;
        free_slot->sequence = c->sequence;
        c->outstanding++;
        if (it->pdu) {
            memcpy(c->out + c->out_end, it->pdu, it->pdu_octets);
            put32(c->out + c->out_end + 12, c->sequence);
            c->out_end += it->pdu_octets;
            s->mo_sent++;
        } else {
            send_receipt(s, c, it, c->sequence);
            if (is_ack(it)) s->acks_sent++; else s->receipts_sent++;
        }
    }
    return 0;
}
static void on_deliver_answer(smsc *s, conn *c, uint32_t sequence, uint32_t status) {
    slot *from = c->window ? &c->window[sequence & c->window_mask] : NULL;
    item *it = from && from->sequence == sequence ? from->owed : NULL;
    if (!it) { s->unexpected_answers++; return; }
    from->owed = NULL;
    c->outstanding--;
    if (status == 0x64 || status == 0x14 || status == 0x58 || status == 0x08) { /* not now */
        int tries = it->pdu ? (it->minute < 3 ? (int)it->minute++ : 3) : 0; /* a text: after 1, 4, 16, 64 s, so that a flood thins */
        s->came_again++;
        it->due_ns = s->now_ns + (AGAIN_NS << 2 * tries);
        if (!tries) push(&c->account->again, it);
        else if (!heap_push(&c->account->later, it)) { s->no_memory = 1; free_item(s, it); }
        return;
    }
    if (it->pdu) { if (status) s->mo_refused++; else s->mo_answered++; }
    else if (is_ack(it)) s->acks_answered++;
    else if (status) s->receipts_refused++;
    else s->receipts_answered++;
    free_item(s, it);
}
static void give_back(smsc *s, conn *c) { /* the bind ended: its unanswered deliver_sm go first at the next one */
    queue back = {NULL, NULL, 0};
    if (!c->window) return;
    for (uint32_t i = 1; i <= c->window_mask + 1; i++) {
        slot *at = &c->window[(c->sequence + i) & c->window_mask];
        if (at->owed) { push(&back, at->owed); at->owed = NULL; s->came_again++; }
    }
    c->outstanding = 0;
    for (conn **at = &c->account->receivers; *at; at = &(*at)->next_receiver)
        if (*at == c) { *at = c->next_receiver; c->next_receiver = NULL; break; }
    for (conn **at = &s->bound; *at; at = &(*at)->next)
        if (*at == c) { *at = c->next; break; }
    prepend(&c->account->due, &c->mine);
    prepend(&c->account->due, &back);
}
#endif
