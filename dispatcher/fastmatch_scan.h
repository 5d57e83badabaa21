/* One program over a range of a tenant's blocks, in one call: blocks in place, changed members gathered beside them.
 *
 * A block is matched as it lies; its members that have a delta row which the program reads are left out of FM_LIVE there.
 * They are copied, block value under delta entry, into small arrays of FS_GATHER slots (just then, while the block's lines
 * are near), matched by the same program when those are full, and their bits put where they belong. So a change costs what
 * one member costs, not a copy of its block. Program must have FM_LIVE in every bitmap that it tallies or answers.
 */
#ifndef VOLLEY_FASTMATCH_SCAN_H
#define VOLLEY_FASTMATCH_SCAN_H

#include "column_blocks.h"
#include "fastmatch.h"

enum { FS_GATHER = 4096, FS_NO_ID = -1 };

typedef struct {
    const fm_loops *loops;
    const fm_program *program;
    const column_block **blocks;  /* by column position: an entry a block (NULL for the 2nd and 3rd place of a text) */
    const uint8_t **edges;        /* by column position: the edges of its codes, u64 each, or NULL */
    const int64_t *edge_counts;
    const int64_t *ids;           /* by column position: field << 8 | part, FS_NO_ID for what no delta row can change */
    const member_change *changes; /* those of all blocks, sorted */
    int64_t change_count;
    uint64_t *tallies, *zoned;
} fs_scan;

typedef struct {
    const fs_scan *scan;
    fm_array *arrays, *gathered;  /* by position: of the block at hand; of the changed members */
    uint8_t **fitted, **rows;     /* their memory: an array made longer; FS_GATHER slots */
    uint8_t *heap;                /* texts of changed members, all columns */
    size_t heap_octets, heap_room;
    uint32_t *numbers;            /* member_no of a gathered slot */
    int count;                    /* gathered so far */
    uint64_t *stack, *changed;
    fm_coded *coded;
    uint8_t *bitmaps;
    uint32_t first_block;
} fs_work;

static const uint8_t *fs_unknown(int kind) {
    static uint8_t zeros[FM_SLOTS_MAX * 8], least_i32[FM_SLOTS_MAX * 4], least_i64[FM_SLOTS_MAX * 8];
    if (!least_i64[sizeof least_i64 - 1]) { /* written alike by whoever comes first (module import: one thread) */
        for (size_t i = 3; i < sizeof least_i32; i += 4) least_i32[i] = 0x80;
        for (size_t i = 7; i < sizeof least_i64; i += 8) least_i64[i] = 0x80;
    }
    return kind == FM_I32 ? least_i32 : kind == FM_I64 ? least_i64 : zeros;
}

static fm_array fs_array(const uint8_t *data, int64_t octets, uint32_t slots) {
    const fm_array a = {data, octets, slots, 0, 0, 0, NULL};
    return a;
}

static void fs_no_one(int kind, fm_array *to) {
    *to = fs_array(fs_unknown(kind), FM_SLOTS_MAX * fm_width[kind], FM_SLOTS_MAX);
    if (kind < FM_PLANES) {
        to->zoned = 1;
        to->low = to->high = fm_number(kind, to->data, 0);
    }
    if (kind == FM_TEXT) {
        to[1] = to[0];
        to[2] = fs_array(to->data, 0, 0);
    }
}

static int fs_fit(fs_work *w, int64_t c, int kind, const column_block *b, uint32_t slots) {
    fm_array *to = w->arrays + c;
    const size_t width = fm_width[kind], room = FM_SLOTS_MAX * width * (kind == FM_TEXT ? 2 : 1);
    if (!w->fitted[c] && !(w->fitted[c] = malloc(room))) return FM_NO_MEMORY;
    uint8_t *copy = w->fitted[c];
    if (kind == FM_PLANES) {
        memset(copy, 0, slots);
        for (uint32_t p = 0; p < 8; p++) memcpy(copy + p * (slots / 8), b->data + p * (b->slots / 8), b->slots / 8);
        *to = fs_array(copy, slots, slots);
        return FM_OK;
    }
    const size_t have = b->slots * width, all = slots * width;
    memcpy(copy, b->data, have);
    memcpy(copy + have, fs_unknown(kind), all - have);
    *to = fs_array(copy, (int64_t)all, slots);
    if (kind == FM_TEXT) {
        memcpy(copy + all, b->data + 4, have);
        memset(copy + all + have, 0, all - have);
        to[1] = fs_array(copy + all, (int64_t)all, slots);
        to[2] = fs_array(b->data + have + 4, (int64_t)(b->octets - have - 4), 0);
    }
    return FM_OK;
}

/* the arrays of one block, each at least `slots` long */
static int fs_arrays(fs_work *w, uint32_t block, uint32_t slots) {
    const fm_program *p = w->scan->program;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        if (!kind) continue;
        const column_block *b = w->scan->blocks[c] + block;
        fm_array *to = w->arrays + c;
        if (!b->data) fs_no_one(kind, to);
        else if (b->slots < slots) {
            const int result = fs_fit(w, c, kind, b, slots);
            if (result != FM_OK) return result;
        } else if (kind == FM_TEXT) {
            const size_t octets = 4 * (size_t)b->slots;
            to[0] = fs_array(b->data, (int64_t)octets, b->slots);
            to[1] = fs_array(b->data + 4, (int64_t)octets, b->slots);
            to[2] = fs_array(b->data + octets + 4, (int64_t)(b->octets - octets - 4), 0);
        } else {
            *to = fs_array(b->data, (int64_t)b->octets, b->slots);
            to->zoned = b->zoned;
            to->low = b->low;
            to->high = b->high;
            to->derived = b->derived;
        }
    }
    return FM_OK;
}

static int64_t fs_position(const fs_scan *s, int64_t id) {
    for (int64_t c = 0; c < s->program->columns; c++)
        if (s->ids[c] == id) return c;
    return -1;
}

/* Whether the row says anything about a column of the program; FM_BAD_CHANGE when it is no row. said: bit c is set when
 * the row has the whole value of column c, of the first 64, so that the block's need not be looked for. */
static int fs_concerns(const fs_scan *s, const member_change *m, uint64_t *said) {
    uint32_t at = 0;
    int found = 0;
    *said = 0;
    while (at < m->octets) {
        if (m->octets - at < 6) return FM_BAD_CHANGE;
        const uint8_t *e = m->entries + at;
        const uint32_t octets = fm_u16(e + 4);
        if (octets > m->octets - at - 6) return FM_BAD_CHANGE;
        const int64_t c = fs_position(s, (int64_t)fm_u16(e) << 8 | e[2]);
        if (c >= 0) found = 1;
        if (c >= 0 && c < 64 && s->program->uses[c].kind != FM_PLANES) *said |= 1ULL << c;
        at += 6 + octets;
    }
    return found;
}

static int fs_put_text(fs_work *w, int64_t c, const uint8_t *text, uint32_t octets) {
    if (w->heap_octets + octets > UINT32_MAX) return FM_NO_MEMORY;
    if (w->heap_octets + octets > w->heap_room) {
        const size_t room = 2 * (w->heap_octets + octets) + 65536;
        uint8_t *heap = realloc(w->heap, room);
        if (!heap) return FM_NO_MEMORY;
        w->heap = heap;
        w->heap_room = room;
    }
    const uint32_t start = (uint32_t)w->heap_octets, end = start + octets;
    if (octets) memcpy(w->heap + start, text, octets);
    w->heap_octets = end;
    memcpy(w->rows[c] + 4 * (size_t)w->count, &start, 4);
    memcpy(w->rows[c] + 4 * (size_t)(FS_GATHER + w->count), &end, 4);
    return FM_OK;
}

static inline void fs_set_plane(fs_work *w, int64_t c, int plane, int on) {
    uint8_t *octet = w->rows[c] + (size_t)plane * (FS_GATHER / 8) + w->count / 8;
    const uint8_t bit = (uint8_t)(1 << (w->count & 7));
    *octet = on ? *octet | bit : *octet & (uint8_t)~bit;
}

/* ask for the lines that fs_gather will read, so that they come in side by side while the block is matched */
static void fs_prefetch(const fs_work *w, uint32_t block, uint32_t slot, uint64_t said) {
    const fm_program *p = w->scan->program;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        const column_block *b = kind ? w->scan->blocks[c] + block : NULL;
        if (!b || !b->data || slot >= b->slots || (c < 64 && said >> c & 1)) continue;
        if (kind != FM_PLANES) __builtin_prefetch(b->data + (size_t)slot * fm_width[kind]);
        else for (uint32_t used = p->uses[c].planes; used; used &= used - 1)
            __builtin_prefetch(b->data + (size_t)__builtin_ctz(used) * (b->slots / 8) + slot / 8);
    }
}

/* what the blocks say of one member, as row `count` of the gathered; columns that `said` has are left as they are */
static int fs_gather(fs_work *w, uint32_t block, uint32_t slot, uint64_t said) {
    const fm_program *p = w->scan->program;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        if (!kind || (c < 64 && said >> c & 1)) continue;
        const column_block *b = w->scan->blocks[c] + block;
        const int known = b->data && slot < b->slots;
        const uint8_t *a = known ? b->data : fs_unknown(kind);
        const size_t at = known ? slot : 0, n = (size_t)w->count;
        switch (kind) {
        case FM_U8: w->rows[c][n] = a[at]; break;
        case FM_U16: memcpy(w->rows[c] + 2 * n, a + 2 * at, 2); break;
        case FM_I32: memcpy(w->rows[c] + 4 * n, a + 4 * at, 4); break;
        case FM_PLANES:
            for (int plane = 0; plane < 8; plane++)
                if (p->uses[c].planes >> plane & 1)
                    fs_set_plane(w, c, plane, known && a[(size_t)plane * (b->slots / 8) + slot / 8] >> (slot & 7) & 1);
            break;
        case FM_TEXT: {
            const size_t heap = 4 * ((size_t)b->slots + 1);
            const uint32_t start = known ? fm_u32(a + 4 * at) : 0, end = known ? fm_u32(a + 4 * at + 4) : 0;
            if (start > end || (known && heap + end > b->octets)) return FM_BAD_TEXT;
            const int result = fs_put_text(w, c, known ? a + heap + start : NULL, end - start);
            if (result != FM_OK) return result;
            break;
        }
        default: memcpy(w->rows[c] + 8 * n, a + 8 * at, 8);
        }
    }
    return FM_OK;
}

/* the delta row's entries over it; a code of 8 bits is taken where the column has 16 by now, and the other way round */
static int fs_overlay(fs_work *w, const member_change *m) {
    for (uint32_t at = 0; at < m->octets;) {
        const uint8_t *e = m->entries + at, *value = e + 6;
        const uint32_t octets = fm_u16(e + 4);
        const int64_t c = fs_position(w->scan, (int64_t)fm_u16(e) << 8 | e[2]);
        at += 6 + octets;
        if (c < 0) continue;
        const int kind = w->scan->program->uses[c].kind;
        const size_t n = (size_t)w->count;
        if (kind == FM_PLANES) {
            if (e[3] != FM_PLANES || octets != 2) return FM_BAD_CHANGE;
            for (int plane = 0; plane < 8; plane++)
                if (value[0] >> plane & 1) fs_set_plane(w, c, plane, value[1] >> plane & 1);
        } else if (kind == FM_TEXT) {
            if (e[3] != FM_TEXT) return FM_BAD_CHANGE;
            const int result = fs_put_text(w, c, value, octets);
            if (result != FM_OK) return result;
        } else if (e[3] == kind && octets == fm_width[kind]) {
            memcpy(w->rows[c] + octets * n, value, octets);
        } else if (kind == FM_U16 && e[3] == FM_U8 && octets == 1) {
            w->rows[c][2 * n] = value[0];
            w->rows[c][2 * n + 1] = 0;
        } else if (kind == FM_U8 && e[3] == FM_U16 && octets == 2) {
            w->rows[c][n] = value[1] ? 0 : value[0];
        } else return FM_BAD_CHANGE;
    }
    return FM_OK;
}

static int fs_make_room(fs_work *w) {
    const fm_program *p = w->scan->program;
    if (w->numbers) return FM_OK;
    if (!(w->numbers = malloc(FS_GATHER * 4))) return FM_NO_MEMORY;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        if (kind && !(w->rows[c] = calloc(FS_GATHER, (size_t)fm_width[kind] * (kind == FM_TEXT ? 2 : 1)))) return FM_NO_MEMORY;
    }
    return FM_OK;
}

/* match the gathered and put their bits in place; returns how many matched */
static int64_t fs_flush(fs_work *w) {
    const fs_scan *s = w->scan;
    const fm_program *p = s->program;
    if (!w->count) return 0;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        if (!kind) continue;
        w->gathered[c] = fs_array(w->rows[c], FS_GATHER * fm_width[kind], FS_GATHER);
        if (kind == FM_TEXT) {
            w->gathered[c + 1] = fs_array(w->rows[c] + 4 * FS_GATHER, 4 * FS_GATHER, FS_GATHER);
            w->gathered[c + 2] = fs_array(w->heap ? w->heap : fs_unknown(FM_U8), (int64_t)w->heap_octets, 0);
        }
    }
    const int words = (w->count + 63) / 64;
    uint8_t *live = w->rows[p->live] + w->count / 8; /* rows of an earlier round lie past `count` */
    if (w->count & 7) *live++ &= (uint8_t)((1 << (w->count & 7)) - 1);
    memset(live, 0, (size_t)(w->rows[p->live] + FS_GATHER / 8 - live));
    for (int64_t c = 0; c < p->columns; c++) /* and their texts lay in another heap */
        if (p->uses[c].kind == FM_TEXT)
            for (int half = 0; half < 2; half++)
                memset(w->rows[c] + 4 * (size_t)(half * FS_GATHER + w->count), 0, 4 * (size_t)(FS_GATHER - w->count));
    const fm_input in = {s->loops, w->gathered, words, NULL, (const uint8_t *)w->numbers, 0, w->stack, s->tallies, NULL, NULL};
    const int result = fm_eval(p, &in);
    if (result != FM_OK) return result;
    int64_t matched = 0;
    for (int i = 0; i < words; i++)
        for (uint64_t left = w->stack[i]; left; left &= left - 1, matched++) {
            if (!w->bitmaps) continue;
            const uint32_t no = w->numbers[64 * i + __builtin_ctzll(left)], slot = no % FM_SLOTS_MAX;
            w->bitmaps[(size_t)(no / FM_SLOTS_MAX - w->first_block) * (FM_SLOTS_MAX / 8) + slot / 8] |= (uint8_t)(1 << (slot & 7));
        }
    w->count = 0;
    w->heap_octets = 0;
    return matched;
}

static int64_t fs_block(fs_work *w, uint32_t block, const member_change *from, const member_change *to) {
    const fs_scan *s = w->scan;
    const fm_program *p = s->program;
    const column_block *live = s->blocks[p->live] + block;
    const uint32_t slots = live->data ? live->slots : 0; /* beyond, nobody is live but by a delta row */
    const int words = (int)(slots / 64);
    int64_t matched = 0;
    uint64_t *changed = NULL;
    for (const member_change *m = from; m < to; m++) {
        uint64_t said;
        const int concerns = m->slot < FM_SLOTS_MAX ? fs_concerns(s, m, &said) : FM_BAD_CHANGE;
        if (concerns < 0) return concerns;
        if (!concerns) continue;
        fs_prefetch(w, block, m->slot, said);
        if (!changed) changed = memset(w->changed, 0, FM_SLOTS_MAX / 8);
        changed[m->slot / 64] |= 1ULL << (m->slot % 64);
    }
    if (words) {
        int result = fs_arrays(w, block, slots);
        const fm_input in = {s->loops, w->arrays, words, changed, NULL, block * FM_SLOTS_MAX, w->stack, s->tallies, s->zoned, w->coded};
        if (result == FM_OK) result = fm_eval(p, &in);
        if (result != FM_OK) return result;
        matched = s->loops->popcount(w->stack, words);
    }
    if (w->bitmaps) {
        uint8_t *bitmap = w->bitmaps + (size_t)(block - w->first_block) * (FM_SLOTS_MAX / 8);
        memcpy(bitmap, w->stack, (size_t)words * 8);
        memset(bitmap + 8 * words, 0, FM_SLOTS_MAX / 8 - 8 * (size_t)words);
    }
    for (const member_change *m = from; changed && m < to; m++) {
        if (!(changed[m->slot / 64] >> (m->slot % 64) & 1)) continue;
        uint64_t said;
        fs_concerns(s, m, &said);
        int64_t result = fs_make_room(w);
        if (result == FM_OK) result = fs_gather(w, block, m->slot, said);
        if (result == FM_OK) result = fs_overlay(w, m);
        if (result != FM_OK) return result;
        w->numbers[w->count++] = block * FM_SLOTS_MAX + m->slot;
        if (w->count == FS_GATHER) {
            if ((result = fs_flush(w)) < 0) return result;
            matched += result;
        }
    }
    return matched;
}

/* the code of a number: how many edges are at or below it */
static uint32_t fs_code(const uint8_t *edges, int64_t count, uint64_t turned) {
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (fm_u64(edges + 8 * middle) <= turned) low = middle + 1;
        else high = middle;
    }
    return (uint32_t)low;
}

static int fs_add_codes(uint8_t *pairs, uint32_t *count, uint32_t low, uint32_t high) {
    const uint64_t from = low, to = high;
    if (*count == FM_FEW) return 0;
    memcpy(pairs + 16 * *count, &from, 8);
    memcpy(pairs + 16 * *count + 8, &to, 8);
    ++*count;
    return 1;
}

/* a step of ranges said in codes; where that takes too many, it reads numbers */
static void fs_code_step(const fs_scan *s, int64_t n, fm_coded *to) {
    const fm_step *step = s->program->steps + n;
    if (step->op != FM_RANGES || step->kind < FM_I32 || step->count > FM_FEW || !s->edges[step->column]) return;
    const uint8_t *edges = s->edges[step->column];
    const int64_t count = s->edge_counts[step->column];
    const uint64_t turn = step->kind == FM_U64 ? 0 : 1ULL << 63;
    int64_t last = -1; /* the greatest code that is said already */
    for (uint32_t r = 0; r < step->count; r++) {
        const uint64_t low = fm_u64(s->program->octets + step->at + 16 * r) ^ turn;
        const uint64_t high = fm_u64(s->program->octets + step->at + 16 * r + 8) ^ turn;
        int64_t from = fs_code(edges, count, low), end = fs_code(edges, count, high);
        const int whole_from = low == (from ? fm_u64(edges + 8 * (from - 1)) : 0);
        const int whole_end = high == (end < count ? fm_u64(edges + 8 * end) - 1 : UINT64_MAX);
        const int64_t sure_from = whole_from ? from : from + 1, sure_end = whole_end ? end : end - 1;
        if (from == end && !(whole_from && whole_end)) { /* part of one code */
            if (from > last && !fs_add_codes(to->maybe, &to->maybes, (uint32_t)from, (uint32_t)from)) return;
        } else {
            if (!whole_from && from > last && !fs_add_codes(to->maybe, &to->maybes, (uint32_t)from, (uint32_t)from)) return;
            if (sure_from <= sure_end && !fs_add_codes(to->sure, &to->sures, (uint32_t)sure_from, (uint32_t)sure_end)) return;
            if (!whole_end && !fs_add_codes(to->maybe, &to->maybes, (uint32_t)end, (uint32_t)end)) return;
        }
        last = end;
    }
    to->use = 1;
}

/* Blocks first .. end - 1. bitmaps: FM_SLOTS_MAX / 8 octets a block, or NULL. Returns how many matched, or FM_... below 0. */
static int64_t fs_run(const fs_scan *s, uint32_t first, uint32_t end, uint8_t *bitmaps) {
    const fm_program *p = s->program;
    const size_t columns = (size_t)p->columns + 3;
    fs_work w;
    memset(&w, 0, sizeof w);
    w.scan = s;
    w.bitmaps = bitmaps;
    w.first_block = first;
    w.arrays = calloc(2 * columns, sizeof *w.arrays);
    w.gathered = w.arrays + columns;
    w.fitted = calloc(2 * columns, sizeof *w.fitted);
    w.rows = w.fitted + columns;
    w.stack = malloc(((size_t)p->depth + 1) * FM_WORDS_MAX * 8);
    w.changed = w.stack + (size_t)p->depth * FM_WORDS_MAX;
    w.coded = calloc((size_t)p->count + 1, sizeof *w.coded);
    int64_t matched = 0, result = p->live < 0 ? FM_BAD_PROGRAM : FM_OK;
    if (!w.arrays || !w.fitted || !w.stack || !w.coded) result = FM_NO_MEMORY;
    for (int64_t n = 0; n < p->count && result == FM_OK; n++) fs_code_step(s, n, w.coded + n);
    const member_change *m = s->changes, *last = s->changes + s->change_count;
    for (int64_t n = s->change_count; n > 0;) { /* the first of block `first` */
        const int64_t half = n / 2;
        if (m[half].block < first) { m += half + 1; n -= half + 1; }
        else n = half;
    }
    for (uint32_t block = first; block < end && result >= 0; block++) {
        const member_change *from = m;
        while (m < last && m->block == block) m++;
        result = fs_block(&w, block, from, m);
        matched += result;
    }
    if (result >= 0) {
        result = fs_flush(&w);
        matched += result;
    }
    for (size_t c = 0; w.fitted && c < columns; c++) {
        free(w.fitted[c]);
        free(w.rows[c]);
    }
    free(w.arrays);
    free(w.fitted);
    free(w.stack);
    free(w.coded);
    free(w.numbers);
    free(w.heap);
    return result < 0 ? result : matched;
}

#endif
