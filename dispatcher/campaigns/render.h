/* One recipient of a column block to a decision and the octets of its text; a todo bitmap to rows. No policy:
 * which plane is the opt-out and how many parts are allowed comes with the job. Meaning: tests/reference/render.py.
 *
 * A text is tried in the alphabets of the endpoint in turn, the next one when a value has a character outside it; the
 * last, UCS-2, has them all, and an endpoint without it does not take what is in none. Literals, fallbacks and dictionary values lie ready in each; text_hash leaps over literals
 * (crc32.h).
 */
#ifndef VOLLEY_RENDER_H
#define VOLLEY_RENDER_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "../text/octets.h"
#include "../text/crc32.h"
#include "../coupons/code.h"
#include "batch.h"

#define NONE 0xFFFFFFFFu
#define LEAP_FROM 24 /* octets of a literal from which four look-ups beat walking it (bench_render) */
#define LONGEST 5
#define BILLED 1023 /* 100 parts of 153 characters are 229 of 67 */
enum { OP_LITERAL, OP_COUPON, OP_TEXT, OP_DICT8, OP_DICT16, OP_I32, OP_I64, OP_U64, OP_DATE, OP_MONTH_DAY, OP_MONEY }; /* from OP_TEXT on they read a column */
enum { SENT = 1, NO_VALID_NUMBER = 16, NO_ALPHABET = 17, SUPPRESSED = 19, OPTED_OUT = 20, ERASED = 27, NO_VALUE = 28, TEXT_GREW = 29 };
enum { PLANE_LIVE, PLANE_SUPPRESSED };
enum { NOT_IN_IT = -1 };
enum { SHORT, SAR, PAYLOAD }; /* `told` of a row, batch.h */
enum { AHEAD = 8, AHEAD_MEMBERS = 12 }; /* words of todo; members a word above which the machine sees what comes */

typedef struct { uint32_t at, octets; } piece; /* one an alphabet; octets NONE: not in that alphabet */
/* literal: count is its first leap; verbatim: a value that stands in a web address, which has no look-alikes */
typedef struct { uint32_t kind, column, piece, count, fallback, max, verbatim; } op;
typedef struct { const uint8_t *data, *ends, *heap; size_t heap_octets; } column; /* text: data is where it begins */
typedef struct {
    const op *ops;
    const piece *pieces;
    const uint8_t *heap;
    const crc_leap *leaps; /* one a literal and alphabet */
    const column *columns;
    const uint8_t *flags, *msisdn;
    uint32_t op_count, slots, max_parts, optout_plane; /* optout_plane NONE: this purpose has none */
    uint32_t possible;         /* a bit an alphabet: those that have every literal */
    uint32_t bill_first, bill_more; /* characters that one and each further billed part hold; 0: billed as cut */
    uint32_t first_member;     /* member_no of slot 0: what codes are of */
    coupon_key coupon;
    coder coder;
    uint64_t *met;             /* a bit a look-alike that took its character's place; NULL: nobody asks */
} job;
typedef struct { uint32_t octets, hash; const alphabet *in; } message;

/* columns may lie unaligned */
static inline uint16_t u16_at(const uint8_t *p, size_t i) { uint16_t n; memcpy(&n, p + 2 * i, 2); return n; }
static inline uint32_t u32_at(const uint8_t *p, size_t i) { uint32_t n; memcpy(&n, p + 4 * i, 4); return n; }
static inline uint64_t u64_at(const uint8_t *p, size_t i) { uint64_t n; memcpy(&n, p + 8 * i, 8); return n; }

/* Decimal digits before `end`, at least `least` of them; returns where they begin. */
static inline uint8_t *digits(uint8_t *end, uint64_t n, int least) {
    uint8_t *w = end;
    for (; n || end - w < least; n /= 10) *--w = (uint8_t)('0' + n % 10);
    return w;
}
static inline uint8_t *signed_digits(uint8_t *end, int64_t n) {
    uint8_t *w = digits(end, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 1);
    if (n < 0) *--w = '-';
    return w;
}
/* YYYY-MM-DD of a day since 1970, years 1 to 9999, else NULL. Years are counted from March, so a leap day ends one. */
static inline uint8_t *date_digits(uint8_t *end, int32_t day) {
    if (day < -719162 || day > 2932896) return NULL;
    uint32_t n = (uint32_t)(day + 719468), era = n / 146097, of_era = n % 146097;
    uint32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year + year / 4 - year / 100), shifted = (5 * of_year + 2) / 153;
    uint32_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    uint8_t *w = digits(end, of_year - (153 * shifted + 2) / 5 + 1, 2);
    *--w = '-';
    w = digits(w, month, 2);
    *--w = '-';
    return digits(w, year + 400 * era + (month <= 2), 4);
}
static inline uint8_t *money_digits(uint8_t *end, int64_t micros) {
    uint64_t cents = ((micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros) + 5000) / 10000;
    uint8_t *w = digits(end, cents % 100, 2);
    *--w = '.';
    w = digits(w, cents / 100, 1);
    if (micros < 0 && cents) *--w = '-';
    return w;
}

typedef struct { const uint8_t *utf8; size_t octets; const piece *piece; } value;
/* One value: valid UTF-8, or a piece; 0 when unknown, which a text that is no UTF-8 is too. `room` has 32 octets. */
static inline int fetch(const job *j, const op *o, uint32_t slot, uint8_t *room, value *v) {
    const column *c = j->columns + o->column;
    uint8_t *end = room + 32, *w;
    uint32_t code;
    v->piece = NULL;
    switch (o->kind) {
    case OP_COUPON:
        coupon_code(j->coupon, j->first_member + slot, room);
        v->utf8 = room;
        v->octets = COUPON_CHARACTERS;
        return 1;
    case OP_TEXT: {
        uint32_t from = u32_at(c->data, slot), to = u32_at(c->ends, slot);
        if (from >= to || to > c->heap_octets) return 0;
        v->utf8 = c->heap + from;
        v->octets = to - from;
        return utf8_valid(v->utf8, v->octets);
    }
    case OP_DICT8: case OP_DICT16:
        code = o->kind == OP_DICT8 ? c->data[slot] : u16_at(c->data, slot);
        if (!code || code > o->count) return 0;
        v->piece = j->pieces + o->piece + (code - 1) * j->coder.count;
        return 1;
    case OP_I32: case OP_DATE: {
        int32_t n = (int32_t)u32_at(c->data, slot);
        if (n == INT32_MIN) return 0;
        w = o->kind == OP_DATE ? date_digits(end, n) : signed_digits(end, n);
        if (!w) return 0;
        break;
    }
    case OP_I64: case OP_MONEY: {
        int64_t n = (int64_t)u64_at(c->data, slot);
        if (n == INT64_MIN) return 0;
        w = o->kind == OP_MONEY ? money_digits(end, n) : signed_digits(end, n);
        break;
    }
    case OP_MONTH_DAY: {
        code = u16_at(c->data, slot);
        uint32_t month = code >> 5, day = code & 31;
        if (!month || month > 12 || !day) return 0;
        w = digits(end, day, 2);
        *--w = '-';
        w = digits(w, month, 2);
        break;
    }
    case OP_U64: {
        uint64_t n = u64_at(c->data, slot);
        if (!n) return 0;
        w = digits(end, n, 1);
        break;
    }
    default: return 0;
    }
    v->utf8 = w;
    v->octets = (size_t)(end - w);
    return 1;
}
/* Whether a value holds a web address: its characters are those of the address, no look-alikes. */
static inline int has_address(const uint8_t *s, size_t n) {
    for (size_t i = 0; i + 3 < n; i++) {
        if (s[i] == ':' && s[i + 1] == '/' && s[i + 2] == '/') return 1;
        if ((s[i] | 32) == 'w' && (s[i + 1] | 32) == 'w' && (s[i + 2] | 32) == 'w' && s[i + 3] == '.') return 1;
    }
    return 0;
}
/* One value in one alphabet: octets, PUT_NOT_IN_IT or PUT_OVERFLOW. */
static inline long put_value(const job *j, const op *o, const alphabet *a, const value *v, uint8_t *w, const uint8_t *end,
                             uint64_t *met) {
    if (a->expansions && (o->verbatim || has_address(v->utf8, v->octets))) a = j->coder.plain;
    return put_utf8(a, v->utf8, v->octets, o->max, w, end, met);
}
/* The text of one slot in one alphabet into `out`, which has room for limit_octets and 8: SENT, NO_VALUE, TEXT_GREW or
 * NOT_IN_IT. A text past the limit is still looked through for an unknown value, the earlier guard, and for characters
 * outside the alphabet: in the next it may be shorter. */
static inline int render_in(const job *j, uint32_t slot, uint32_t no, uint8_t *out, message *m, uint64_t *met) {
    const alphabet *a = j->coder.of + no;
    const uint8_t *end = out + limit_octets(a, j->max_parts);
    uint8_t *w = out, room[32];
    uint32_t crc = 0xFFFFFFFFu;
    int grew = 0;
    for (const op *o = j->ops, *last = o + j->op_count; o < last; o++) {
        value v = {0};
        if (o->kind == OP_LITERAL) v.piece = j->pieces + o->piece;
        else if (!fetch(j, o, slot, room, &v)) {
            if (o->fallback == NONE) return NO_VALUE;
            v.piece = j->pieces + o->fallback;
        }
        long n;
        if (v.piece) {
            const piece *p = v.piece + no;
            if (p->octets == NONE) return NOT_IN_IT;
            if (grew || p->octets > (size_t)(end - w)) { grew = 1; continue; }
            memcpy(w, j->heap + p->at, p->octets);
            n = p->octets;
        } else {
            n = grew ? PUT_OVERFLOW : put_value(j, o, a, &v, w, end, met);
            if (n == PUT_OVERFLOW) {
                grew = 1;
                if (!fits_utf8(a, v.utf8, v.octets, o->max)) return NOT_IN_IT;
                continue;
            }
            if (n == PUT_NOT_IN_IT) return NOT_IN_IT;
        }
        crc = o->kind == OP_LITERAL && n >= LEAP_FROM ? crc_leap_over(j->leaps + o->count + no, crc) : crc32_update(crc, w, (size_t)n);
        w += n;
    }
    m->octets = (uint32_t)(w - out);
    m->hash = ~crc;
    m->in = a;
    return grew ? TEXT_GREW : SENT;
}
static inline int bit(const uint8_t *plane, uint32_t slot) { return plane[slot >> 3] >> (slot & 7) & 1; }
/* Whether a text that no alphabet has lacks no value besides: that guard comes first. */
static inline int has_values(const job *j, uint32_t slot) {
    uint8_t room[32];
    for (const op *o = j->ops, *last = o + j->op_count; o < last; o++) {
        value v = {0};
        if (o->kind != OP_LITERAL && o->fallback == NONE && !fetch(j, o, slot, room, &v)) return 0;
    }
    return 1;
}
/* The guards, in the order of DESIGN 6, then the text. */
static inline int decide(const job *j, uint32_t slot, uint8_t *out, message *m) {
    uint32_t plane = j->slots / 8;
    if (slot >= j->slots || !bit(j->flags + PLANE_LIVE * plane, slot)) return ERASED;
    if (!u64_at(j->msisdn, slot)) return NO_VALID_NUMBER;
    if (bit(j->flags + PLANE_SUPPRESSED * plane, slot)) return SUPPRESSED;
    if (j->optout_plane != NONE && bit(j->flags + j->optout_plane * plane, slot)) return OPTED_OUT;
    for (uint32_t no = 0; no < j->coder.count; no++) {
        if (!(j->possible >> no & 1)) continue;
        uint64_t met[MET_WORDS];
        int watched = j->met && j->coder.of[no].expansions;
        if (watched) memset(met, 0, sizeof met);
        int decision = render_in(j, slot, no, out, m, watched ? met : NULL);
        if (decision == NOT_IN_IT) continue;
        if (watched && decision == SENT) for (int i = 0; i < MET_WORDS; i++) j->met[i] |= met[i];
        return decision;
    }
    return has_values(j, slot) ? NO_ALPHABET : NO_VALUE;
}

typedef struct { uint32_t rows, members, octets; int32_t last_slot; } taken;
/* Where few of a block are asked for, each value is a line of its own that nothing has fetched: ask for those of the
 * members some words on, and for their texts once it is known where they lie. Measured at 2 % of a block: 1.7 times. */
static inline void ahead(const job *j, const uint8_t *todo, size_t words, size_t word) {
    static const uint8_t widths[] = {0, 0, 4, 1, 2, 4, 8, 8, 4, 2, 8}; /* by op */
    const uint64_t near = word + AHEAD < words ? u64_at(todo, word + AHEAD) : 0;
    const uint64_t next = word + AHEAD / 2 < words ? u64_at(todo, word + AHEAD / 2) : 0;
    if (__builtin_popcountll(near) <= AHEAD_MEMBERS)
        for (uint64_t left = near; left; left &= left - 1) {
            const size_t slot = 64 * (word + AHEAD) + (size_t)__builtin_ctzll(left);
            __builtin_prefetch(j->msisdn + 8 * slot);
            for (uint32_t n = 0; n < j->op_count; n++)
                if (j->ops[n].kind >= OP_TEXT)
                    __builtin_prefetch(j->columns[j->ops[n].column].data + widths[j->ops[n].kind] * slot);
        }
    if (__builtin_popcountll(next) > AHEAD_MEMBERS) return;
    for (uint64_t left = next; left; left &= left - 1) {
        const size_t slot = 64 * (word + AHEAD / 2) + (size_t)__builtin_ctzll(left);
        for (uint32_t n = 0; n < j->op_count && slot < j->slots; n++)
            if (j->ops[n].kind == OP_TEXT) {
                const column *c = j->columns + j->ops[n].column;
                __builtin_prefetch(c->heap + u32_at(c->data, slot));
            }
    }
}
/* What a part carries of the text; returns its octets. w has room for n + 8. */
static inline uint32_t put_body(const alphabet *a, uint8_t *w, const uint8_t *text, uint32_t n, uint32_t udh) {
    if (a->packed) return pack_septets(w, text, n, fill_bits(udh));
    memcpy(w, text, n);
    return n;
}
/* The rows of one message whose parts end at `ends`; their octets follow those of the batch. */
static inline void put_rows(const job *j, const message *m, part_row row, uint16_t reference, const uint8_t *text,
                            const uint32_t *ends, uint32_t parts, part_row *rows, uint8_t *octets, taken *t) {
    const int told = j->coder.told;
    row.text_hash = m->hash;
    row.data_coding = m->in->data_coding;
    if (parts > 1 && told == TOLD_PAYLOAD && !m->in->elements) { /* the SMSC cuts it */
        row.told = PAYLOAD;
        row.parts = 1;
        row.octets_at = t->octets;
        row.octets = (uint16_t)put_body(m->in, octets + t->octets, text, m->octets, 0);
        if (m->in->packed) row.text_hash = ~crc32_update(0xFFFFFFFFu, octets + t->octets, row.octets);
        t->octets += row.octets;
        rows[t->rows++] = row;
        return;
    }
    row.parts = (uint8_t)parts;
    if (parts > 1 && told == TOLD_SAR) {
        row.told = SAR;
        row.ref = reference & 0xFF; /* some SMSCs make an 8-bit UDH of it */
    }
    part_row *first = rows + t->rows;
    uint32_t crc = 0xFFFFFFFFu; /* of packed bodies: what the wire carries */
    for (uint32_t i = 0, from = 0; i < parts; i++) {
        uint8_t *w = octets + t->octets;
        uint32_t udh = put_udh(m->in, told, w, reference, parts, i + 1);
        uint32_t n = put_body(m->in, w + udh, text + from, ends[i] - from, udh);
        from = ends[i];
        row.esm_class = udh ? 0x40 : 0;
        row.part = (uint8_t)i;
        row.octets = (uint16_t)(n + udh);
        row.octets_at = t->octets;
        t->octets += n + udh;
        rows[t->rows++] = row;
        if (m->in->packed) crc = crc32_update(crc, w + udh, n);
    }
    for (; m->in->packed && first < rows + t->rows; first++) first->text_hash = ~crc;
}
/* Slots of todo and audience, the lowest first, as rows until `max_rows` of them or as many octets; at least one member
 * whole. Room: max_rows + max_parts rows, 160 octets for each and 16; scratch limit_octets and 8.
 * rank = rank_base + audience bits below. */
static void render_slots(const job *j, const uint8_t *todo, const uint8_t *audience, size_t words, uint32_t rank_base,
                         uint32_t seed, uint32_t max_rows, part_row *rows, uint8_t *octets, uint8_t *scratch, taken *t) {
    uint32_t ends[MAX_PARTS];
    *t = (taken){0, 0, 0, -1};
    for (size_t word = 0; word < words; word++) {
        uint64_t in = u64_at(audience, word), left = u64_at(todo, word) & in;
        ahead(j, todo, words, word);
        for (; left; left &= left - 1) {
            int at = __builtin_ctzll(left);
            uint32_t slot = (uint32_t)(64 * word) + (uint32_t)at, parts = 0;
            message m = {0};
            int decision = decide(j, slot, scratch, &m);
            if (decision == SENT && !(parts = cut_parts(m.in, scratch, m.octets, j->max_parts, ends))) decision = TEXT_GREW;
            const uint32_t rows_of = parts ? parts : 1, octets_of = parts ? m.octets : 0;
            if (t->rows && (t->rows + rows_of > max_rows || t->octets + octets_of > 160 * max_rows)) return;
            part_row row = {0};
            row.rank = rank_base + (uint32_t)__builtin_popcountll(in & (((uint64_t)1 << at) - 1));
            row.slot = j->first_member + slot;
            row.decision = (uint8_t)decision;
            if (parts) {
                row.destination = u64_at(j->msisdn, slot);
                put_rows(j, &m, row, (uint16_t)(row.rank + seed), scratch, ends, parts, rows, octets, t);
            } else rows[t->rows++] = row;
            t->members++;
            t->last_slot = (int32_t)slot;
        }
        rank_base += (uint32_t)__builtin_popcountll(in);
    }
}
/* As render_slots, for slots that are not sent to: a row each. */
static void skip_slots(const uint8_t *skipped, const uint8_t *audience, size_t words, uint32_t rank_base,
                       uint32_t first_member, uint8_t decision, uint32_t max_rows, part_row *rows, taken *t) {
    *t = (taken){0, 0, 0, -1};
    for (size_t word = 0; word < words; word++) {
        const uint64_t in = u64_at(audience, word);
        for (uint64_t left = u64_at(skipped, word) & in; left; left &= left - 1) {
            if (t->rows == max_rows) return;
            int at = __builtin_ctzll(left);
            part_row *row = rows + t->rows++;
            *row = (part_row){0};
            row->rank = rank_base + (uint32_t)__builtin_popcountll(in & (((uint64_t)1 << at) - 1));
            row->slot = first_member + (uint32_t)(t->last_slot = (int32_t)(64 * word) + at);
            row->decision = decision;
            t->members++;
        }
        rank_base += (uint32_t)__builtin_popcountll(in);
    }
}

typedef struct { uint32_t slot, parts, octets; } longest;
/* `parts` as they leave, `billed` as they are paid for, its last for all above */
typedef struct {
    uint32_t decisions[256], parts[MAX_PARTS + 1], billed[BILLED + 1], ucs2, longest_count;
    longest longest[LONGEST];
} histogram;
static inline void keep_longest(histogram *h, longest found) {
    uint32_t i = h->longest_count < LONGEST ? h->longest_count++ : LONGEST;
    for (; i; i--) {
        const longest *other = h->longest + i - 1;
        if (other->parts > found.parts || (other->parts == found.parts && other->octets >= found.octets)) break;
        if (i < LONGEST) h->longest[i] = *other;
    }
    if (i < LONGEST) h->longest[i] = found;
}
/* What render_slots would do to every slot of todo, counted. */
static void count_slots(const job *j, const uint8_t *todo, size_t words, uint8_t *scratch, histogram *h) {
    uint32_t ends[MAX_PARTS];
    for (size_t word = 0; word < words; word++) {
        ahead(j, todo, words, word);
        for (uint64_t left = u64_at(todo, word); left; left &= left - 1) {
            uint32_t slot = (uint32_t)(64 * word) + (uint32_t)__builtin_ctzll(left), parts = 0;
            message m = {0};
            int decision = decide(j, slot, scratch, &m);
            if (decision == SENT && !(parts = cut_parts(m.in, scratch, m.octets, j->max_parts, ends))) decision = TEXT_GREW;
            h->decisions[decision]++;
            if (!parts) continue;
            const int payload = j->coder.told == TOLD_PAYLOAD && !m.in->elements;
            uint32_t billed = parts;
            if (j->bill_more) {
                uint32_t units = units_of(m.in, scratch, m.octets);
                billed = units <= j->bill_first ? 1 : (units + j->bill_more - 1) / j->bill_more;
            }
            h->parts[payload ? 1 : parts]++;
            h->billed[billed < BILLED ? billed : BILLED]++;
            h->ucs2 += m.in->ucs2;
            keep_longest(h, (longest){slot, parts, m.octets});
        }
    }
}
#endif
