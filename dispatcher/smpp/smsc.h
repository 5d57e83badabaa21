/* The simulator's hot path: a connection's octets in, answers, log lines and receipts out, one call a wake-up.
 *
 * Order of a wake-up, which is the log's promise: read PDUs; write(2) the log lines; only then send(2) the answers.
 * Receipts: smsc_receipts.h; statuses and waiting answers: smsc_rules.h; who asks for a message: smsc_kept.h.
 * What is not submit_sm, deliver_sm_resp, enquire_link or generic_nack stops the call and is left to Python.
 * Meaning: tests/reference/smsc.py. Numbers: consts.py.
 */
#ifndef VOLLEY_SMSC_H
#define VOLLEY_SMSC_H
#include "smsc_receipts.h"

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
static void log_line(smsc *s, const submit *m) {
    uint8_t *p = s->log + s->log_end;
    if (s->ms_shown != s->now_ms || !s->ms_octets) {
        s->ms_octets = (uint32_t)(put_decimal(s->ms_text, (uint64_t)s->now_ms) - s->ms_text);
        s->ms_shown = s->now_ms;
    }
    p = put(p, s->ms_text, s->ms_octets); *p++ = '\t';
    p = put_shown(p, m->source, m->source_octets); *p++ = '\t';
    p = put_shown(p, m->dest, m->dest_octets); *p++ = '\t';
    p = put_hex(p, m->crc, 8, "0123456789abcdef"); *p++ = '\t';
    p = put_short(p, m->part); *p++ = '\t';
    p = put_short(p, m->total); *p++ = '\t';
    p = put(p, s->id_text, s->id_octets); *p++ = '\n';
    s->log_end = (uint32_t)(p - s->log);
}
/* The id; *least_ns: how long the answer waits at least, for a receipt that is to overtake it. */
static uint64_t accept_submit(smsc *s, conn *c, submit *m, int64_t *least_ns, uint64_t id) { /* id 0: the next */
    if (!id) id = s->next_id++;
    account *a = c->account;
    if (!s->accepted++) s->first_ns = s->now_ns;
    s->last_ns = s->now_ns;
    second_add(s, &s->seconds, s->now_ns);
    second_add(s, &a->accepted, s->now_ns);
    if (a->bind_tps) second_add(s, &c->accepted, s->now_ns);
    if (s->queue_max) {
        if (a->queued_until_ns < s->now_ns) a->queued_until_ns = s->now_ns;
        a->queued_until_ns += s->queue_step_ns;
    }
    s->id_octets = (uint32_t)(put_id(s->id_text, id, s->ids) - s->id_text);
    if (s->log_fd >= 0 || s->count_repeats) m->crc = ~crc32_update(0xFFFFFFFF, m->text, m->text_octets);
    if (s->log_fd >= 0) log_line(s, m);
    if (s->count_repeats) note_repeat(s, m);
    keep_message(s, c, m, id);
    if (m->registered_delivery & 3) owe_receipt(s, c, m, id, least_ns);
    if (s->delivery_ack_share | s->user_ack_share) owe_acks(s, c, m, id);
    return id;
}
static int drop(smsc *s, conn *c, submit *m, uint32_t status) { /* 1: nothing more to do for this submit_sm */
    int64_t least_ns = 0;
    s->dropped++;
    if (s->drop_how == DROP_CLOSE) c->closing = c->dropped = 1;
    else {
        c->unbinding = 1;
        send_short(c, 6, 0, 0x7FFFFFFF);
    }
    if (s->drop_how == DROP_UNBIND_LATE) return 0;
    if (s->dropped % 2 == 0 && !status) { /* every second one is accepted and only its answer is lost */
        count_status(c->account, 0);
        accept_submit(s, c, m, &least_ns, 0);
    }
    return 1;
}
static void put_garbage(smsc *s, conn *c, const blob *b, uint32_t sequence) {
    memcpy(c->out + c->out_end, s->garbage_octets + b->at, b->octets);
    if (b->instead && b->octets >= 16) put32(c->out + c->out_end + 12, sequence);
    c->out_end += b->octets;
}
static void on_submit(smsc *s, conn *c, const uint8_t *p, uint32_t n) {
    submit m;
    uint32_t sequence = be32(p + 12), status = 0;
    uint64_t id = 0;
    int64_t least_ns = 0;
    s->submits++;
    if (c->account) c->account->submits++;
    if (!c->tx) status = 0x04;
    else if ((status = read_submit(p, n, &m))) s->malformed++;
    if (!c->unbinding && c->account && every(s->drop_every, s->submits) && drop(s, c, &m, status)) return;
    if (every(s->mute_every, s->submits)) { s->muted++; return; }
    if (!status) status = refusal_of(s, c, &m);
    if (!status) id = accept_submit(s, c, &m, &least_ns, 0);
    else if (status == 0x58) s->throttled++;
    else s->refused++;
    if (c->account) count_status(c->account, status);
    if (every(s->lost_every, s->submits)) { s->answers_lost++; return; }
    if (s->blobs && every(s->garbage_every, s->submits)) {
        const blob *b = &s->garbage[s->garbage_sent++ % s->blobs];
        put_garbage(s, c, b, sequence);
        if (b->instead) return;
    }
    answer_submit(s, c, sequence, status, id, least_ns);
    if (every(s->answer_twice_every, s->submits)) {
        s->answers_doubled++;
        answer_submit(s, c, sequence, status, id, least_ns);
    }
}

/* One destination of a submit_multi, as a submit_sm of its own; *id: 0, or that of the destinations before it. */
static uint32_t smsc_accept(smsc *s, conn *c, const uint8_t *p, uint32_t n, uint64_t *id) {
    submit m;
    int64_t least_ns = 0;
    uint32_t status = c->tx ? read_submit(p, n, &m) : 0x04;
    s->submits++;
    c->account->submits++;
    if (s->log_end > LOG_OCTETS - LINE_OCTETS && flush_log(s)) return 0x08;
    if (!status) status = refusal_of(s, c, &m);
    if (!status) *id = accept_submit(s, c, &m, &least_ns, *id);
    else if (status == 0x58) s->throttled++;
    else s->refused++;
    count_status(c->account, status);
    return status;
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
        if (left < octets || out_room(c) < ROOM_OCTETS || c->held_count >= HELD_MAX) break;
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
        uint32_t most = c->out_end - c->out_at;
        if (c->write_most && most > c->write_most) most = c->write_most;
        ssize_t n = send(c->fd, c->out + c->out_at, most, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            c->blocked = errno == EAGAIN || errno == EWOULDBLOCK;
            return c->blocked ? SMSC_WRITE : SMSC_CLOSE;
        }
        c->out_at += (uint32_t)n;
        if (c->write_most) return c->out_at < c->out_end ? SMSC_WRITE : 0;
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
    return what | (c->closing ? SMSC_CLOSE : 0) | (c->dropped ? SMSC_DROP : 0) | (s->no_memory ? SMSC_NO_MEMORY : 0);
}
static int smsc_wake(smsc *s, conn *c) {
    c->blocked = 0;
    for (int round = 0;; round++) {
        int odd = read_pdus(s, c);
        if (odd & SMSC_LOG_FAILED) return odd;
        int what = smsc_push(s, c) | odd;
        if (what & ~SMSC_LEFT) return what;
        uint32_t left = c->in_end - c->in_at;
        if (left >= 4 && left >= be32(c->in + c->in_at)) { /* stopped for room */
            if (c->held_count >= HELD_MAX) return what; /* the timer goes on */
            continue;
        }
        if (round >= ROUNDS) return what;
        memmove(c->in, c->in + c->in_at, left);
        c->in_at = 0;
        c->in_end = left;
        uint32_t most = IN_OCTETS - left;
        if (c->read_most) {
            if (round) return what;
            if (most > c->read_most) most = c->read_most;
        }
        ssize_t n = recv(c->fd, c->in + left, most, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return what;
        if (n <= 0) return what | SMSC_CLOSE;
        c->heard_ns = s->now_ns;
        c->in_end += (uint32_t)n;
    }
}
/* One wake-up for each bind that has something to read, again and again while any has: what a busy loop would do with a
 * poll and a task's turn between each. Stops at the first that needs more than that: *at is it, the flags are returned. */
static int smsc_sweep(smsc *s, conn **at) {
    uint32_t binds = 0, busy = 1;
    for (conn *c = s->bound; c; c = c->next) if (++binds > SWEPT_MAX) return 0;
    for (int pass = 0; pass < SWEEPS && busy; pass++) {
        busy = 0;
        for (conn *c = s->bound; c; c = c->next) {
            if (c->closing || c->blocked || c->unbinding || c->read_most || c->write_most) continue;
            uint64_t before = s->submits + s->receipts_answered;
            int what = smsc_wake(s, c);
            if (what & ~SMSC_LEFT) { *at = c; return what; }
            if (what || c->moved) *at = c;
            busy |= before != s->submits + s->receipts_answered;
        }
    }
    return *at ? SMSC_LEFT : 0;
}
#endif
