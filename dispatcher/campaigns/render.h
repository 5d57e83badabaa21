/* One recipient of a column block to a decision and the octets of its text; a todo bitmap to rows. No policy:
 * which plane is the opt-out and how many parts are allowed comes with the job. Meaning: tests/reference/render.py.
 *
 * A text is tried in GSM 7-bit first and again in UCS-2 when a value has a character outside it. Literals,
 * fallbacks and dictionary values lie ready in both alphabets; text_hash leaps over literals (crc32.h).
 */
#ifndef VOLLEY_RENDER_H
#define VOLLEY_RENDER_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "../text/octets.h"
#include "../text/crc32.h"
#include "batch.h"

#define NONE 0xFFFFFFFFu
#define LEAP_FROM 24 /* octets of a literal from which four look-ups beat walking it (bench_render) */
#define LONGEST 5
enum { OP_LITERAL, OP_TEXT, OP_DICT8, OP_DICT16, OP_I32, OP_I64, OP_U64, OP_DATE, OP_MONTH_DAY, OP_MONEY };
enum { SENT = 1, NO_VALID_NUMBER = 16, SUPPRESSED = 19, OPTED_OUT = 20, ERASED = 27, NO_VALUE = 28, TEXT_GREW = 29 };
enum { PLANE_LIVE, PLANE_SUPPRESSED };
enum { NOT_GSM = -1 };
enum { AHEAD = 8, AHEAD_MEMBERS = 12 }; /* words of todo; members a word above which the machine sees what comes */

typedef struct { uint32_t gsm_at, gsm_octets, ucs_at, ucs_octets; } piece; /* gsm_octets NONE: not in that alphabet */
typedef struct { uint32_t kind, column, piece, count, fallback, max; } op;  /* literal: count is its first leap */
typedef struct { const uint8_t *data, *ends, *heap; size_t heap_octets; } column; /* text: data is where it begins */
typedef struct {
    const op *ops;
    const piece *pieces;
    const uint8_t *heap;
    const crc_leap *leaps; /* two a literal: GSM, UCS-2 */
    const column *columns;
    const uint8_t *flags, *msisdn;
    uint32_t op_count, slots, max_parts, optout_plane; /* optout_plane NONE: this purpose has none */
    int only_ucs2;
} job;
typedef struct { uint32_t octets, hash; int ucs2; } message;

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
        v->piece = j->pieces + o->piece + code - 1;
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
/* The text of one slot in one alphabet into `out`, which has room for limit_octets: SENT, NO_VALUE, TEXT_GREW or
 * NOT_GSM. A text past the limit is still looked through for an unknown value, the earlier guard; past it in
 * septets it is past it in UCS-2 too (a unit is at most two septets, and 67 x 2 < 153). */
static inline int render_in(const job *j, uint32_t slot, int ucs2, uint8_t *out, message *m) {
    const uint8_t *end = out + limit_octets(ucs2, j->max_parts);
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
        if (grew) continue;
        long n;
        if (v.piece) {
            uint32_t at = ucs2 ? v.piece->ucs_at : v.piece->gsm_at, octets = ucs2 ? v.piece->ucs_octets : v.piece->gsm_octets;
            if (octets == NONE) return NOT_GSM;
            if (octets > (size_t)(end - w)) { grew = 1; continue; }
            memcpy(w, j->heap + at, octets);
            n = octets;
        } else {
            n = put_utf8(v.utf8, v.octets, o->max, ucs2, w, end);
            if (n == PUT_NOT_GSM) return NOT_GSM;
            if (n == PUT_OVERFLOW) { grew = 1; continue; }
        }
        crc = o->kind == OP_LITERAL && n >= LEAP_FROM ? crc_leap_over(j->leaps + o->count + ucs2, crc) : crc32_update(crc, w, (size_t)n);
        w += n;
    }
    m->octets = (uint32_t)(w - out);
    m->hash = ~crc;
    m->ucs2 = ucs2;
    return grew ? TEXT_GREW : SENT;
}
static inline int bit(const uint8_t *plane, uint32_t slot) { return plane[slot >> 3] >> (slot & 7) & 1; }
/* The guards, in the order of DESIGN 6, then the text. */
static inline int decide(const job *j, uint32_t slot, uint8_t *out, message *m) {
    uint32_t plane = j->slots / 8;
    if (slot >= j->slots || !bit(j->flags + PLANE_LIVE * plane, slot)) return ERASED;
    if (!u64_at(j->msisdn, slot)) return NO_VALID_NUMBER;
    if (bit(j->flags + PLANE_SUPPRESSED * plane, slot)) return SUPPRESSED;
    if (j->optout_plane != NONE && bit(j->flags + j->optout_plane * plane, slot)) return OPTED_OUT;
    int decision = j->only_ucs2 ? NOT_GSM : render_in(j, slot, 0, out, m);
    return decision == NOT_GSM ? render_in(j, slot, 1, out, m) : decision;
}

typedef struct { uint32_t rows, members, octets; int32_t last_slot; } taken;
/* Where few of a block are asked for, each value is a line of its own that nothing has fetched: ask for those of the
 * members some words on, and for their texts once it is known where they lie. Measured at 2 % of a block: 1.7 times. */
static inline void ahead(const job *j, const uint8_t *todo, size_t words, size_t word) {
    static const uint8_t widths[] = {0, 4, 1, 2, 4, 8, 8, 4, 2, 8}; /* by op */
    const uint64_t near = word + AHEAD < words ? u64_at(todo, word + AHEAD) : 0;
    const uint64_t next = word + AHEAD / 2 < words ? u64_at(todo, word + AHEAD / 2) : 0;
    if (__builtin_popcountll(near) <= AHEAD_MEMBERS)
        for (uint64_t left = near; left; left &= left - 1) {
            const size_t slot = 64 * (word + AHEAD) + (size_t)__builtin_ctzll(left);
            __builtin_prefetch(j->msisdn + 8 * slot);
            for (uint32_t n = 0; n < j->op_count; n++)
                if (j->ops[n].kind != OP_LITERAL)
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
/* Slots of todo and audience, the lowest first, as rows until `max_rows` of them; at least one member whole.
 * Room: max_rows + max_parts rows and 160 octets for each; scratch limit_octets. rank = rank_base + audience bits below. */
static void render_slots(const job *j, const uint8_t *todo, const uint8_t *audience, size_t words, uint32_t rank_base,
                         uint32_t first_member, uint32_t reference, uint32_t max_rows, part_row *rows, uint8_t *octets,
                         uint8_t *scratch, taken *t) {
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
            if (decision == SENT && !(parts = cut_parts(scratch, m.octets, m.ucs2, j->max_parts, ends))) decision = TEXT_GREW;
            uint32_t need = parts ? parts : 1;
            if (t->rows && t->rows + need > max_rows) return;
            part_row row = {0};
            row.rank = rank_base + (uint32_t)__builtin_popcountll(in & (((uint64_t)1 << at) - 1));
            row.slot = first_member + slot;
            row.decision = (uint8_t)decision;
            row.parts = (uint8_t)parts;
            if (parts) {
                row.destination = u64_at(j->msisdn, slot);
                row.text_hash = m.hash;
                row.data_coding = m.ucs2 ? 8 : 0;
                row.esm_class = parts > 1 ? 0x40 : 0;
            }
            for (uint32_t i = 0, from = 0; i < need; i++) {
                if (parts) {
                    uint8_t *w = octets + t->octets;
                    uint32_t n = ends[i] - from, udh = parts > 1 ? 6 : 0;
                    if (udh) put_udh(w, (uint8_t)(row.rank + reference), (uint8_t)parts, (uint8_t)(i + 1));
                    memcpy(w + udh, scratch + from, n);
                    from = ends[i];
                    row.part = (uint8_t)i;
                    row.octets = (uint16_t)(n + udh);
                    row.octets_at = t->octets;
                    t->octets += n + udh;
                }
                rows[t->rows++] = row;
            }
            t->members++;
            t->last_slot = (int32_t)slot;
        }
        rank_base += (uint32_t)__builtin_popcountll(in);
    }
}

typedef struct { uint32_t slot, parts, octets; } longest;
typedef struct { uint32_t decisions[256], parts[MAX_PARTS + 1], ucs2, longest_count; longest longest[LONGEST]; } histogram;
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
            if (decision == SENT && !(parts = cut_parts(scratch, m.octets, m.ucs2, j->max_parts, ends))) decision = TEXT_GREW;
            h->decisions[decision]++;
            if (!parts) continue;
            h->parts[parts]++;
            h->ucs2 += (uint32_t)m.ucs2;
            keep_longest(h, (longest){slot, parts, m.octets});
        }
    }
}
#endif
