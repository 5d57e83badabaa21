/* The loops of store/_aside.pyx: one column's values of the members that have a delta row, the row laid over the block.
 *
 * Shapes: records/column_blocks.h. Members stand in a row, ascending; came[i] says where member i stood among the members
 * of the delta before, with the same row, or AS_NEW: then its value is `old`'s, and no block is touched.
 * Blocks are read at random, so AS_AHEAD members' lines are asked for before any of them is read.
 */
#ifndef VOLLEY_ASIDE_LOOPS_H
#define VOLLEY_ASIDE_LOOPS_H

#include "column_blocks.h"
#include <string.h>

enum { AS_AHEAD = 32, AS_U8 = 1, AS_U16 = 2, AS_I32 = 3, AS_I64 = 4, AS_PLANES = 6, AS_TEXT = 7, AS_BAD = -1 };
#define AS_NEW UINT32_MAX

typedef struct {
    const column_block *rows; /* by block */
    int64_t row_count;
    const member_change *changes;
    int64_t count;
    const uint32_t *came;     /* NULL: all are new */
    const uint8_t *old;
    int64_t id;               /* field << 8 | part, or -1: no delta row has it */
    int kind, width, planes;
} as_column;

static inline uint32_t as_u16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }

/* a row is entries to its last octet */
static int as_whole(const uint8_t *entries, uint32_t octets) {
    uint32_t at = 0;
    while (octets - at >= 6 && as_u16(entries + at + 4) <= octets - at - 6) at += 6 + as_u16(entries + at + 4);
    return at == octets;
}

static inline const uint8_t *as_entry(const member_change *m, int64_t id) {
    const uint8_t *found = NULL;
    for (uint32_t at = 0; at < m->octets; at += 6 + as_u16(m->entries + at + 4)) {
        const uint8_t *e = m->entries + at;
        if (((int64_t)as_u16(e) << 8 | e[2]) == id) found = e;
    }
    return found;
}

static inline const column_block *as_block(const as_column *c, const member_change *m) {
    const column_block *b = m->block < c->row_count ? c->rows + m->block : NULL;
    return b && b->data && m->slot < b->slots ? b : NULL;
}

static inline void as_unknown(int kind, uint8_t *to, int width) {
    memset(to, 0, (size_t)width);
    if (kind == AS_I32 || kind == AS_I64) to[width - 1] = 0x80;
}

/* a code of 8 bits is taken where the column has 16 by now, and the other way round */
static inline int as_number(int kind, int width, const uint8_t *e, uint8_t *to) {
    const uint32_t octets = as_u16(e + 4);
    const uint8_t *value = e + 6;
    if (e[3] == kind && (int)octets == width) memcpy(to, value, octets);
    else if (kind == AS_U16 && e[3] == AS_U8 && octets == 1) { to[0] = value[0]; to[1] = 0; }
    else if (kind == AS_U8 && e[3] == AS_U16 && octets == 2) to[0] = value[1] ? 0 : value[0];
    else return AS_BAD;
    return 0;
}

static inline uint8_t as_bits(const as_column *c, const column_block *b, uint32_t slot) {
    uint32_t bits = 0;
    for (int p = 0; b && p < c->planes; p++)
        bits |= (uint32_t)(b->data[(size_t)p * (b->slots / 8) + slot / 8] >> (slot & 7) & 1) << p;
    return (uint8_t)bits;
}

/* members i .. end - 1, which are new */
static int as_new(const as_column *c, int64_t i, int64_t end, int planes, int width, uint8_t *out) {
    const uint8_t *entries[AS_AHEAD];
    for (int64_t n = i; n < end; n++) {
        const member_change *m = c->changes + n;
        const uint8_t *e = entries[n - i] = c->id < 0 ? NULL : as_entry(m, c->id);
        const column_block *b = e && !planes ? NULL : as_block(c, m);
        if (b && !planes) __builtin_prefetch(b->data + (size_t)m->slot * width);
        for (int p = 0; b && planes && p < c->planes; p++)
            __builtin_prefetch(b->data + (size_t)p * (b->slots / 8) + m->slot / 8);
    }
    for (int64_t n = i; n < end; n++) {
        const member_change *m = c->changes + n;
        uint8_t *to = out + n * width;
        const uint8_t *e = entries[n - i];
        const column_block *b = as_block(c, m);
        if (planes) {
            if (e && (e[3] != AS_PLANES || as_u16(e + 4) != 2)) return AS_BAD;
            *to = as_bits(c, b, m->slot);
            if (e) *to = (uint8_t)((*to & ~e[6]) | (e[7] & e[6]));
        } else if (e) {
            if (as_number(c->kind, width, e, to)) return AS_BAD;
        } else if (b) memcpy(to, b->data + (size_t)m->slot * width, (size_t)width);
        else as_unknown(c->kind, to, width);
    }
    return 0;
}

/* numbers as they lie in a block; planes as an octet a member, bit p its plane p */
static int as_values(const as_column *c, uint8_t *out) {
    const int planes = c->kind == AS_PLANES, width = planes ? 1 : c->width;
    for (int64_t i = 0, end; i < c->count; i = end) {
        end = i + 1;
        if (c->came && c->came[i] != AS_NEW) { /* most come in runs */
            while (end < c->count && c->came[end] == c->came[i] + (uint32_t)(end - i)) end++;
            memcpy(out + i * width, c->old + (size_t)c->came[i] * width, (size_t)(end - i) * width);
            continue;
        }
        while (end < c->count && end - i < AS_AHEAD && (!c->came || c->came[end] == AS_NEW)) end++;
        if (as_new(c, i, end, planes, width, out)) return AS_BAD;
    }
    return 0;
}

/* octets of `slots` members to 8 bitmaps of slots / 8 octets, 8 members at a time: a matrix of 8 x 8 bits turned over */
static void as_turn(const uint8_t *bits, int64_t slots, uint8_t *out) {
    for (int64_t i = 0; i < slots / 8; i++) {
        uint64_t x, t;
        memcpy(&x, bits + 8 * i, 8);
        t = (x ^ x >> 7) & 0x00AA00AA00AA00AAULL; x ^= t ^ t << 7;
        t = (x ^ x >> 14) & 0x0000CCCC0000CCCCULL; x ^= t ^ t << 14;
        t = (x ^ x >> 28) & 0x00000000F0F0F0F0ULL; x ^= t ^ t << 28;
        for (int p = 0; p < 8; p++) out[p * (slots / 8) + i] = (uint8_t)(x >> 8 * p);
    }
}

/* one text: where it lies and its octets; AS_BAD when row or block is damaged */
static int64_t as_text(const as_column *c, int64_t n, const uint8_t **text) {
    const member_change *m = c->changes + n;
    const uint8_t *e = as_entry(m, c->id);
    const column_block *b = e ? NULL : as_block(c, m);
    uint32_t start, end;
    *text = NULL;
    if (e) {
        if (e[3] != AS_TEXT) return AS_BAD;
        *text = e + 6;
        return as_u16(e + 4);
    }
    if (!b) return 0;
    memcpy(&start, b->data + 4 * (size_t)m->slot, 4);
    memcpy(&end, b->data + 4 * (size_t)m->slot + 4, 4);
    const uint64_t heap = 4 * ((uint64_t)b->slots + 1);
    if (start > end || heap + end > b->octets) return AS_BAD;
    *text = b->data + heap + start;
    return end - start;
}

#endif
