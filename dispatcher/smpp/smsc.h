/* The simulator's hot path: a connection's octets in, answers, log lines and receipts out, one call a wake-up.
 *
 * Order of a wake-up, which is the log's promise: read PDUs; write(2) the log lines; only then send(2) the answers.
 * What is not submit_sm, deliver_sm_resp, enquire_link or generic_nack stops the call and is left to Python.
 * Meaning: tests/reference/smsc.py. Numbers: consts.py.
 */
#ifndef VOLLEY_SMSC_H
#define VOLLEY_SMSC_H
#include "smsc_state.h"

/* submit_sm */
typedef struct {
    const uint8_t *source, *dest, *text;
    uint32_t text_octets;
    uint8_t source_octets, dest_octets, source_ton, source_npi, dest_ton, dest_npi;
    uint8_t esm_class, data_coding, registered_delivery, part, total;
} submit;

/* Octets of the C-octet string at *at without its NUL, *at moved past it; -1: no NUL within `most`, NUL included. */
static int take_text(const uint8_t *p, uint32_t n, uint32_t *at, uint32_t most, const uint8_t **text) {
    uint32_t left = n - *at, seen = left < most ? left : most;
    const uint8_t *from = p + *at, *nul = seen ? (const uint8_t *)memchr(from, 0, seen) : NULL;
    if (!nul) return -1;
    *text = from;
    *at += (uint32_t)(nul - from) + 1;
    return (int)(nul - from);
}
static void read_udh(submit *m) { /* the last whole concatenation element counts; a UDH past its text is none */
    const uint8_t *p = m->text;
    if (!m->text_octets || p[0] >= m->text_octets) return;
    for (uint32_t at = 1, end = 1u + p[0]; at + 2 <= end && at + 2 + p[at + 1] <= end; at += 2 + p[at + 1]) {
        int wide = p[at] == 8 && p[at + 1] == 4;
        if (!wide && !(p[at] == 0 && p[at + 1] == 3)) continue;
        uint8_t total = p[at + 3 + wide], part = p[at + 4 + wide];
        if (part && part <= total) { m->part = part; m->total = total; }
    }
}
static uint32_t read_submit(const uint8_t *p, uint32_t n, submit *m) { /* a command_status */
    uint32_t at = 16;
    const uint8_t *skipped;
    int octets;
    memset(m, 0, sizeof *m);
    m->part = m->total = 1;
    if (take_text(p, n, &at, 6, &skipped) < 0) return 0x15;
    if (at + 2 > n) return 0x02;
    m->source_ton = p[at]; m->source_npi = p[at + 1]; at += 2;
    if ((octets = take_text(p, n, &at, 21, &m->source)) < 0) return 0x0A;
    m->source_octets = (uint8_t)octets;
    if (at + 2 > n) return 0x02;
    m->dest_ton = p[at]; m->dest_npi = p[at + 1]; at += 2;
    if ((octets = take_text(p, n, &at, 21, &m->dest)) <= 0) return 0x0B;
    m->dest_octets = (uint8_t)octets;
    if (at + 3 > n) return 0x02;
    m->esm_class = p[at]; at += 3;
    if (take_text(p, n, &at, 17, &skipped) < 0) return 0x61;
    if (take_text(p, n, &at, 17, &skipped) < 0) return 0x62;
    if (at + 5 > n) return 0x02;
    m->registered_delivery = p[at]; m->data_coding = p[at + 2]; m->text_octets = p[at + 4]; at += 5;
    m->text = p + at;
    if (m->text_octets > 254 || at + m->text_octets > n) return 0x01;
    at += m->text_octets;
    uint32_t sar_total = 0, sar_part = 0;
    while (at + 4 <= n) {
        uint32_t tag = be16(p + at), size = be16(p + at + 2);
        at += 4;
        if (at + size > n) return 0xC0;
        if (tag == 0x0424 && !m->text_octets) { m->text = p + at; m->text_octets = size; }
        if (tag == 0x020E) sar_total = size == 1 ? p[at] : 0;
        if (tag == 0x020F) sar_part = size == 1 ? p[at] : 0;
        at += size;
    }
    if (at != n) return 0xC0;
    if (sar_part && sar_part <= sar_total) { m->part = (uint8_t)sar_part; m->total = (uint8_t)sar_total; }
    if (m->esm_class & 0x40) read_udh(m);
    return 0;
}
static void log_line(smsc *s, const submit *m, uint64_t id) {
    if (s->log_fd < 0) return;
    uint8_t *p = s->log + s->log_end;
    p = put_decimal(p, (uint64_t)s->now_ms); *p++ = '\t';
    p = put_shown(p, m->source, m->source_octets); *p++ = '\t';
    p = put_shown(p, m->dest, m->dest_octets); *p++ = '\t';
    p = put_hex(p, ~crc32_update(0xFFFFFFFF, m->text, m->text_octets) & 0xFFFFFFFF, 8); *p++ = '\t';
    p = put_decimal(p, m->part); *p++ = '\t';
    p = put_decimal(p, m->total); *p++ = '\t';
    p = put_id(p, id, s->hex_ids); *p++ = '\n';
    s->log_end = (uint32_t)(p - s->log);
}
static void owe(smsc *s, conn *c, const submit *m, uint64_t id, uint8_t state) {
    item *it = new_item(s);
    if (!it) return;
    it->id = id;
    it->due_ns = s->now_ns + s->receipt_delay_ns;
    it->minute = (uint32_t)(s->now_ms / 60000);
    it->state = state;
    it->source_ton = m->source_ton; it->source_npi = m->source_npi;
    it->dest_ton = m->dest_ton; it->dest_npi = m->dest_npi;
    it->source_octets = m->source_octets; it->dest_octets = m->dest_octets;
    memcpy(it->source, m->source, m->source_octets);
    memcpy(it->dest, m->dest, m->dest_octets);
    it->text_octets = 0; /* appendix B: the first 20 characters; those of other alphabets are left out */
    if (m->data_coding == 0 && !(m->esm_class & 0x40)) it->text_octets = m->text_octets < 20 ? (uint8_t)m->text_octets : 20;
    memcpy(it->text, m->text, it->text_octets);
    push(&c->account->due, it);
    s->receipts_owed++;
}
static void owe_receipt(smsc *s, conn *c, const submit *m, uint64_t id) {
    uint64_t draw = mix(id);
    uint8_t state = 0, wanted = m->registered_delivery & 3;
    if (!wanted || (draw & 0xFFFFFFFF) >= s->receipt_share || !s->states) return;
    uint32_t at = (uint32_t)(draw >> 32) % s->state[s->states - 1].below;
    while (s->state[state].below <= at) state++;
    int delivered = s->state[state].number == 2;
    if ((wanted == 2 && delivered) || (wanted == 3 && !delivered)) return;
    owe(s, c, m, id, state);
    uint64_t k = ++s->receipts_drawn;
    if (every(s->twice_every, k)) owe(s, c, m, id, state);
    if (every(s->unknown_every, k)) owe(s, c, m, draw | 1ull << 63, state); /* our own ids stay below 2^63 */
}
static uint64_t accept_submit(smsc *s, conn *c, const submit *m) {
    uint64_t id = s->next_id++;
    if (!s->accepted++) s->first_ns = s->now_ns;
    s->last_ns = s->now_ns;
    log_line(s, m, id);
    if (m->registered_delivery & 3) owe_receipt(s, c, m, id);
    return id;
}
static uint32_t refusal_of(smsc *s) {
    for (int i = 0; i < s->refusals; i++) if (every(s->refuse[i].every, s->submits)) return s->refuse[i].status;
    if (!s->tps) return 0;
    int64_t *oldest = &s->accepted_ns[s->accepted_at % s->tps];
    if (s->accepted_at >= s->tps && s->now_ns - *oldest < 1000000000LL) return 0x58;
    *oldest = s->now_ns;
    s->accepted_at++;
    return 0;
}
static void on_submit(smsc *s, conn *c, const uint8_t *p, uint32_t n) {
    submit m;
    uint32_t sequence = be32(p + 12), status = 0;
    uint64_t id = 0;
    s->submits++;
    if (!c->tx) status = 0x04;
    else if ((status = read_submit(p, n, &m))) s->malformed++;
    if (every(s->drop_every, s->submits)) { /* every second one is accepted and only its answer is lost */
        if (++s->dropped % 2 == 0 && !status) accept_submit(s, c, &m);
        c->closing = 1;
        return;
    }
    if (every(s->mute_every, s->submits)) { s->muted++; return; }
    if (!status) status = refusal_of(s);
    if (!status) id = accept_submit(s, c, &m);
    else if (status == 0x58) s->throttled++;
    else s->refused++;
    if (every(s->garbage_every, s->submits) && s->blobs) {
        blob b = s->garbage[s->garbage_sent++ % s->blobs];
        memcpy(c->out + c->out_end, s->garbage_octets + b.at, b.octets);
        c->out_end += b.octets;
    }
    answer_submit(s, c, sequence, status, id);
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
    const receipt_state *state = &s->state[it->state < s->states ? it->state : 0];
    uint8_t *begin = c->out + c->out_end, *p = begin + 16, *text;
    *p++ = 0;
    *p++ = it->dest_ton; *p++ = it->dest_npi;
    p = put(p, it->dest, it->dest_octets); *p++ = 0;
    *p++ = it->source_ton; *p++ = it->source_npi;
    p = put(p, it->source, it->source_octets); *p++ = 0;
    p = put(p, "\4\0\0\0\0\0\0\0\0", 9); /* esm_class; then all nothing up to sm_length */
    text = ++p;
    p = put_id(put(p, "id:", 3), it->id, s->hex_receipt_ids);
    p = put(p, state->number == 2 ? " sub:001 dlvrd:001 submit date:" : " sub:001 dlvrd:000 submit date:", 31);
    p = put_minute(s, p, it->minute, 0);
    p = put_minute(s, put(p, " done date:", 11), (uint32_t)(s->now_ms / 60000), 1);
    p = put(put(p, " stat:", 6), state->word, state->octets);
    p = put(put(put(p, " err:", 5), state->error, 3), " text:", 6);
    p = put(p, it->text, it->text_octets);
    text[-1] = (uint8_t)(p - text);
    if (s->receipt_tlvs) {
        uint8_t *tlv = p;
        p = put_id(p + 4, it->id, s->hex_ids); *p++ = 0;
        put32(tlv, 0x001E0000u | (uint32_t)(p - tlv - 4));
        p = put(p, "\x04\x27\x00\x01", 4); *p++ = state->number;
    }
    put_header(begin, (uint32_t)(p - begin), 5, 0, sequence);
    c->out_end += (uint32_t)(p - begin);
}
static int deliver(smsc *s, conn *c) { /* what is due, as far as the window and `out` have room */
    account *a = c->account;
    for (;;) {
        if (!a) return 0;
        queue *q = s->mo.head ? &s->mo : ready(&a->again, s->now_ns) ? &a->again : ready(&a->due, s->now_ns) ? &a->due : NULL;
        if (!q) return 0;
        if (!c->rx || c->outstanding >= c->window_max || out_room(c) < ROOM_OCTETS + DELIVER_OCTETS) return SMSC_LEFT;
        item *it = take(q);
        slot *free_slot;
        do {
            c->sequence = c->sequence == 0x7FFFFFFF ? 1 : c->sequence + 1;
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
            s->receipts_sent++;
        }
    }
}
static void on_deliver_answer(smsc *s, conn *c, uint32_t sequence, uint32_t status) {
    slot *from = c->window ? &c->window[sequence & c->window_mask] : NULL;
    item *it = from && from->sequence == sequence ? from->owed : NULL;
    if (!it) { s->unexpected_answers++; return; }
    from->owed = NULL;
    c->outstanding--;
    if (status == 0x64 || status == 0x14 || status == 0x58 || status == 0x08) { /* not now */
        s->came_again++;
        it->due_ns = s->now_ns + AGAIN_NS;
        push(&c->account->again, it);
        return;
    }
    if (it->pdu) { if (status) s->mo_refused++; else s->mo_answered++; }
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
    if (!back.head) return;
    queue *due = &c->account->due;
    back.tail->next = due->head;
    if (!due->tail) due->tail = back.tail;
    due->head = back.head;
    due->count += back.count;
}

/* A connection */
static int read_pdus(smsc *s, conn *c) {
    while (c->in_end - c->in_at >= 4 && !c->closing) {
        const uint8_t *p = c->in + c->in_at;
        uint32_t octets = be32(p), left = c->in_end - c->in_at, id;
        if (octets < 16 || octets > PDU_OCTETS_MAX) {
            s->malformed++;
            if (out_room(c) >= 16) send_short(c, 0x80000000, 0x02, 0);
            c->closing = 1;
            break;
        }
        if (left < octets || out_room(c) < ROOM_OCTETS || c->held_end - c->held_at >= HELD_MAX) break;
        if (s->log_end > LOG_OCTETS - LINE_OCTETS && flush_log(s)) return SMSC_LOG_FAILED;
        id = be32(p + 4);
        if (id == 0x04) on_submit(s, c, p, octets);
        else if (id == 0x80000005 || id == 0x80000000) on_deliver_answer(s, c, be32(p + 12), id == 0x80000000 ? 0xFF : be32(p + 8));
        else if (id == 0x15) { s->enquire_links++; send_short(c, 0x80000015, 0, be32(p + 12)); }
        else return SMSC_ODD;
        c->in_at += octets;
    }
    return 0;
}
static int send_out(conn *c) {
    while (c->out_at < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? SMSC_WRITE : SMSC_CLOSE;
        c->out_at += (uint32_t)n;
    }
    return 0;
}
/* What is owed and waiting, without reading more: for timers and for receipts that another bind brought. */
static int smsc_push(smsc *s, conn *c) {
    int what;
    do {
        release_held(s, c);
        what = deliver(s, c);
        if (s->log_end) what |= flush_log(s);
        if (!(what & SMSC_LOG_FAILED)) what |= send_out(c);
    } while (what == SMSC_LEFT && c->rx && c->outstanding < c->window_max); /* stopped for room that there is again */
    return what | (c->closing ? SMSC_CLOSE : 0) | (s->no_memory ? SMSC_NO_MEMORY : 0);
}
static int smsc_wake(smsc *s, conn *c) {
    for (int round = 0;; round++) {
        int odd = read_pdus(s, c);
        if (odd & SMSC_LOG_FAILED) return odd;
        int what = smsc_push(s, c) | odd;
        if (what & ~SMSC_LEFT) return what;
        uint32_t left = c->in_end - c->in_at;
        if (left >= 4 && left >= be32(c->in + c->in_at)) { /* stopped for room */
            if (c->held_end - c->held_at >= HELD_MAX) return what; /* the timer goes on */
            continue;
        }
        if (round >= ROUNDS) return what;
        memmove(c->in, c->in + c->in_at, left);
        c->in_at = 0;
        c->in_end = left;
        ssize_t n = recv(c->fd, c->in + left, IN_OCTETS - left, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return what;
        if (n <= 0) return what | SMSC_CLOSE;
        c->in_end += (uint32_t)n;
    }
}
#endif
