/* One program over a range of a tenant's blocks, in one call: blocks in place, changed members after them.
 *
 * A block is matched as it lies; its members that have a delta row are left out of FM_LIVE there. Their values, row over
 * block, stand aside in blocks of their own (store/aside.py), in member order: the same program is asked of those, and
 * the bits are put where they belong. Program must have FM_LIVE in every bitmap that it tallies or answers.
 */
#ifndef VOLLEY_FASTMATCH_SCAN_H
#define VOLLEY_FASTMATCH_SCAN_H

#include "column_blocks.h"
#include "fastmatch.h"

typedef struct {
    const fm_loops *loops;
    const fm_program *program;
    const column_block **blocks;  /* by column position: an entry a block (NULL for the 2nd and 3rd place of a text) */
    const column_block **aside;   /* the same of the changed members */
    const uint8_t **edges;        /* by column position: the edges of its codes, u64 each, or NULL */
    const int64_t *edge_counts;
    const uint32_t *numbers;      /* member_no of the changed, ascending; as many as whole blocks have slots */
    int64_t changed;
    uint64_t *tallies, *zoned;
} fs_scan;

typedef struct {
    const fs_scan *scan;
    fm_array *arrays; /* by position: of the block at hand */
    uint8_t **fitted; /* by position: memory of an array made longer */
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
static int fs_arrays(fs_work *w, const column_block **blocks, uint32_t block, uint32_t slots) {
    const fm_program *p = w->scan->program;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        if (!kind) continue;
        const column_block *b = blocks[c] + block;
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

static int64_t fs_matched(fs_work *w, uint32_t words, const fm_input *in) {
    const int result = fm_eval(w->scan->program, in);
    return result != FM_OK ? result : w->scan->loops->popcount(w->stack, (int)words);
}

static int64_t fs_block(fs_work *w, uint32_t block, const uint32_t *from, const uint32_t *to) {
    const fs_scan *s = w->scan;
    const column_block *live = s->blocks[s->program->live] + block;
    const uint32_t slots = live->data ? live->slots : 0, base = block * FM_SLOTS_MAX; /* nobody beyond is live */
    const uint32_t words = slots / 64;
    int64_t matched = 0;
    if (words) {
        uint64_t *changed = from < to ? memset(w->changed, 0, FM_SLOTS_MAX / 8) : NULL;
        for (; from < to; from++) changed[(*from - base) / 64] |= 1ULL << ((*from - base) % 64);
        const fm_input in = {s->loops, w->arrays, (int)words, changed, NULL, base, w->stack, s->tallies, s->zoned, w->coded};
        const int result = fs_arrays(w, s->blocks, block, slots);
        matched = result == FM_OK ? fs_matched(w, words, &in) : result;
        if (matched < 0) return matched;
    }
    if (w->bitmaps) {
        uint8_t *bitmap = w->bitmaps + (size_t)(block - w->first_block) * (FM_SLOTS_MAX / 8);
        memcpy(bitmap, w->stack, (size_t)words * 8);
        memset(bitmap + 8 * words, 0, FM_SLOTS_MAX / 8 - 8 * (size_t)words);
    }
    return matched;
}

/* changed members from .. to - 1 by their place aside, all of one block of such; their bits are put where they belong */
static int64_t fs_aside(fs_work *w, int64_t from, int64_t to) {
    const fs_scan *s = w->scan;
    const uint32_t block = (uint32_t)(from / FM_SLOTS_MAX), words = (uint32_t)((to - 1) % FM_SLOTS_MAX) / 64 + 1;
    const uint32_t *numbers = s->numbers + (size_t)block * FM_SLOTS_MAX;
    const uint32_t first = (uint32_t)(from % FM_SLOTS_MAX), end = (uint32_t)((to - 1) % FM_SLOTS_MAX) + 1;
    memset(w->changed, 0, FM_SLOTS_MAX / 8); /* here: who is not asked, being of other threads' blocks */
    memset(w->changed, 0xFF, first / 64 * 8);
    if (first % 64) w->changed[first / 64] = (1ULL << first % 64) - 1;
    if (end % 64) w->changed[end / 64] |= ~((1ULL << end % 64) - 1);
    const fm_input in = {s->loops, w->arrays, (int)words, w->changed, (const uint8_t *)numbers, 0, w->stack, s->tallies, NULL, NULL};
    const int result = fs_arrays(w, s->aside, block, FM_SLOTS_MAX);
    const int64_t matched = result == FM_OK ? fs_matched(w, words, &in) : result;
    for (uint32_t i = first / 64; matched > 0 && w->bitmaps && i < words; i++)
        for (uint64_t left = w->stack[i]; left; left &= left - 1) {
            const uint32_t no = numbers[64 * i + (uint32_t)__builtin_ctzll(left)], slot = no % FM_SLOTS_MAX;
            w->bitmaps[(size_t)(no / FM_SLOTS_MAX - w->first_block) * (FM_SLOTS_MAX / 8) + slot / 8] |= (uint8_t)(1 << (slot & 7));
        }
    return matched;
}

/* the place aside of the first changed member of a block or one behind it */
static int64_t fs_first_aside(const fs_scan *s, uint32_t block) {
    int64_t low = 0, high = s->changed;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (s->numbers[middle] / FM_SLOTS_MAX < block) low = middle + 1;
        else high = middle;
    }
    return low;
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
    w.arrays = calloc(columns, sizeof *w.arrays);
    w.fitted = calloc(columns, sizeof *w.fitted);
    w.stack = malloc(((size_t)p->depth + 1) * FM_WORDS_MAX * 8);
    w.changed = w.stack + (size_t)p->depth * FM_WORDS_MAX;
    w.coded = calloc((size_t)p->count + 1, sizeof *w.coded);
    int64_t matched = 0, result = p->live < 0 ? FM_BAD_PROGRAM : FM_OK;
    if (!w.arrays || !w.fitted || !w.stack || !w.coded) result = FM_NO_MEMORY;
    for (int64_t n = 0; n < p->count && result == FM_OK; n++) fs_code_step(s, n, w.coded + n);
    const int64_t changed = s->changed ? fs_first_aside(s, first) : 0;
    int64_t at = changed;
    for (uint32_t block = first; block < end && result >= 0; block++) {
        const int64_t from = at;
        while (at < s->changed && s->numbers[at] / FM_SLOTS_MAX == block) at++;
        result = fs_block(&w, block, s->numbers + from, s->numbers + at);
        matched += result;
    }
    for (int64_t from = changed, to; from < at && result >= 0; from = to) {
        to = (from / FM_SLOTS_MAX + 1) * FM_SLOTS_MAX;
        to = to < at ? to : at;
        result = fs_aside(&w, from, to);
        matched += result;
    }
    for (size_t c = 0; w.fitted && c < columns; c++) free(w.fitted[c]);
    free(w.arrays);
    free(w.fitted);
    free(w.stack);
    free(w.coded);
    return result < 0 ? result : matched;
}

#endif
