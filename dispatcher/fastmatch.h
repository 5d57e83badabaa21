/* Runs one matching program over 64-slot words of members: column arrays in, bitmap out.
 *
 * Touches: only the memory it is handed. The loops over arrays are those of one instruction set (fastmatch_plain.h,
 * fastmatch_x86.h), chosen at run time; fastmatch_program.h draws the program; fastmatch_scan.h walks whole blocks.
 */
#ifndef VOLLEY_FASTMATCH_H
#define VOLLEY_FASTMATCH_H

#include "fastmatch_program.h"
#if defined(__x86_64__) && defined(__GNUC__)
#include "fastmatch_x86.h"
#endif

/* ---- tests that ask slot by slot ---- */

/* sorted disjoint ranges: the last one that begins at or below x decides */
static int fm_search(const uint8_t *pairs, uint32_t count, uint64_t x, int has_sign) {
    const uint64_t turn = has_sign ? 1ULL << 63 : 0; /* so that numbers with sign are ordered without */
    uint32_t base = 0, n = count;
    x ^= turn;
    while (n > 1) {
        const uint32_t half = n / 2;
        base += (fm_u64(pairs + 16 * (size_t)(base + half)) ^ turn) <= x ? half : 0;
        n -= half;
    }
    return (fm_u64(pairs + 16 * (size_t)base) ^ turn) <= x && x <= (fm_u64(pairs + 16 * (size_t)base + 8) ^ turn);
}

static inline uint64_t fm_number(uint32_t kind, const uint8_t *a, size_t slot) {
    switch (kind) {
    case FM_U8: return a[slot];
    case FM_U16: return fm_u16(a + 2 * slot);
    case FM_I32: return (uint64_t)(int64_t)fm_i32(a + 4 * slot);
    default: return fm_u64(a + 8 * slot);
    }
}

static inline int fm_one(const uint8_t *program, const fm_step *s, const uint8_t *a, size_t slot) {
    const uint8_t *constants = program + s->at;
    const uint64_t x = fm_number(s->kind, a, slot);
    if (s->op == FM_TABLE) return x < s->count && constants[x >> 3] >> (x & 7) & 1;
    if (s->count > FM_FEW) return fm_search(constants, s->count, x, s->kind == FM_I32 || s->kind == FM_I64);
    int hit = 0;
    for (uint32_t r = 0; r < s->count; r++) {
        const uint64_t low = fm_u64(constants + 16 * r), high = fm_u64(constants + 16 * r + 8);
        hit |= x - low <= high - low;
    }
    return hit;
}

/* first where, then what: the loads of the second loop wait for no branch, so that cold lines come in side by side */
static void fm_each(const uint8_t *program, const fm_step *s, const uint8_t *a, int words, const uint64_t *within, uint64_t *out) {
    uint16_t at[FM_SLOTS_MAX];
    int n = 0;
    for (int w = 0; w < words; w++)
        for (uint64_t left = within ? within[w] : ~0ULL; left; left &= left - 1) {
            at[n] = (uint16_t)(64 * w + __builtin_ctzll(left));
            __builtin_prefetch(a + (size_t)at[n++] * fm_width[s->kind]);
        }
    memset(out, 0, (size_t)words * 8);
    for (int i = 0; i < n; i++) out[at[i] / 64] |= (uint64_t)fm_one(program, s, a, at[i]) << (at[i] % 64);
}

static int fm_compare(const uint8_t *a, uint32_t a_octets, const uint8_t *b, uint32_t b_octets) {
    if (a_octets != b_octets) return a_octets < b_octets ? -1 : 1;
    return memcmp(a, b, a_octets);
}

/* needles: count x (at:4 octets:4), sorted by length, then octets */
static int fm_text_in(const uint8_t *program, const fm_step *s, const uint8_t *text, uint32_t octets) {
    uint32_t low = 0, high = s->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const uint8_t *needle = program + s->at + 8 * (size_t)middle;
        const int order = fm_compare(text, octets, program + fm_u32(needle), fm_u32(needle + 4));
        if (order == 0) return 1;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return 0;
}

/* Where `needle` is next met at or after `from`, looked for at most a little ahead: texts lie one behind the other,
 * so one search serves many slots; but a patched slot lies elsewhere, and must not cost a walk of the whole heap. */
typedef struct { uint32_t from, known_to, hit; } fm_seen;
enum { FM_AHEAD = 4096 };

static int fm_contains(const fm_array *heap, const uint8_t *needle, uint32_t octets, uint32_t start, uint32_t end, fm_seen *seen) {
    if (end - start < octets) return 0;
    if (start < seen->from || start > seen->hit || (seen->hit == UINT32_MAX && end > seen->known_to)) {
        uint64_t stop = (uint64_t)start + FM_AHEAD;
        if (stop < end) stop = end;
        if (stop > (uint64_t)heap->octets) stop = (uint64_t)heap->octets;
        const uint8_t *found = memmem(heap->data + start, (size_t)(stop - start), needle, octets);
        seen->from = start;
        seen->known_to = (uint32_t)stop;
        seen->hit = found ? (uint32_t)(found - heap->data) : UINT32_MAX;
    }
    return seen->hit != UINT32_MAX && (uint64_t)seen->hit + octets <= end;
}

static int fm_text(const uint8_t *program, const fm_step *s, const fm_array *column, int words, const uint64_t *within, uint64_t *out) {
    const fm_array *heap = column + 2;
    const uint8_t *needle = program + s->at;
    fm_seen seen = {UINT32_MAX, 0, 0};
    for (int w = 0; w < words; w++) {
        uint64_t word = 0;
        for (uint64_t left = within ? within[w] : ~0ULL; left; left &= left - 1) {
            const int bit = __builtin_ctzll(left);
            const size_t slot = 64 * (size_t)w + (size_t)bit;
            const uint32_t start = fm_u32(column[0].data + 4 * slot), end = fm_u32(column[1].data + 4 * slot);
            if (start > end || end > (uint64_t)heap->octets) return FM_BAD_TEXT;
            const uint32_t octets = end - start;
            const uint8_t *text = heap->data + start;
            int yes = 0;
            if (octets)
                switch (s->op) {
                case FM_TEXT_KNOWN: yes = 1; break;
                case FM_TEXT_IN: yes = fm_text_in(program, s, text, octets); break;
                case FM_TEXT_STARTS: yes = octets >= s->count && !memcmp(text, needle, s->count); break;
                case FM_TEXT_ENDS: yes = octets >= s->count && !memcmp(text + octets - s->count, needle, s->count); break;
                default: yes = fm_contains(heap, needle, s->count, start, end, &seen);
                }
            word |= (uint64_t)yes << bit;
        }
        out[w] = word;
    }
    return FM_OK;
}

/* ---- tests of whole words ---- */

static void fm_planes(const fm_array *a, int words, uint32_t wanted, int all, uint64_t *out) {
    memset(out, all ? 0xFF : 0, (size_t)words * 8);
    for (int p = 0; p < 8; p++) {
        if (!(wanted >> p & 1)) continue;
        const uint8_t *plane = a->data + (size_t)p * (a->slots / 8);
        if (all) for (int w = 0; w < words; w++) out[w] &= fm_u64(plane + 8 * (size_t)w);
        else for (int w = 0; w < words; w++) out[w] |= fm_u64(plane + 8 * (size_t)w);
    }
}

/* what the least and greatest number of the array say of RANGES: 0 nobody, 1 everybody, -1 read it */
static int fm_zone(const uint8_t *program, const fm_step *s, const fm_array *a) {
    if (!a->zoned || s->op != FM_RANGES) return -1;
    const uint64_t turn = s->kind == FM_I32 || s->kind == FM_I64 ? 1ULL << 63 : 0, low = a->low ^ turn, high = a->high ^ turn;
    const uint8_t *pairs = program + s->at;
    uint32_t base = 0, n = s->count;
    while (n > 1) {
        const uint32_t half = n / 2;
        base += (fm_u64(pairs + 16 * (size_t)(base + half)) ^ turn) <= high ? half : 0;
        n -= half;
    }
    const uint64_t from = fm_u64(pairs + 16 * (size_t)base) ^ turn, to = fm_u64(pairs + 16 * (size_t)base + 8) ^ turn;
    if (from > high || to < low) return 0;
    return from <= low && high <= to ? 1 : -1;
}

/* codes first, an octet a slot; numbers only of the slots whose code leaves it open */
static void fm_by_codes(const fm_program *p, const fm_step *s, const fm_coded *coded, const fm_input *in, const uint64_t *within,
                        const uint64_t *skip, uint64_t *out) {
    const fm_array *a = in->arrays + s->column;
    const int words = in->words;
    uint64_t open[FM_WORDS_MAX], exact[FM_WORDS_MAX];
    if (coded->sures) in->loops->ranges[0](a->derived, words, skip, coded->sure, coded->sures, out);
    else memset(out, 0, (size_t)words * 8);
    if (coded->maybes) {
        in->loops->ranges[0](a->derived, words, skip, coded->maybe, coded->maybes, open);
        if (within) for (int w = 0; w < words; w++) open[w] &= within[w];
        fm_each(p->octets, s, a->data, words, open, exact);
        for (int w = 0; w < words; w++) out[w] |= exact[w];
    }
}

/* the bitmaps of the numbers asked for, put together */
static void fm_by_values(const uint8_t *program, const fm_step *s, const fm_array *a, int words, uint64_t *out) {
    int empty = 1;
    for (uint64_t value = 0; value <= a->high; value++) {
        const uint8_t *table = program + s->at;
        if (s->op == FM_TABLE ? value >= s->count || !(table[value >> 3] >> (value & 7) & 1) : !fm_search(table, s->count, value, 0)) continue;
        const uint8_t *plane = a->derived + value * (a->slots / 8);
        if (empty) memcpy(out, plane, (size_t)words * 8);
        else for (int w = 0; w < words; w++) out[w] |= fm_u64(plane + 8 * (size_t)w);
        empty = 0;
    }
    if (empty) memset(out, 0, (size_t)words * 8);
}

/* the slots of the numbers asked for, when they are few; 0 when the array is read sooner */
static int fm_by_postings(const uint8_t *program, const fm_step *s, const fm_array *a, int words, uint64_t *out) {
    const uint8_t *ends = a->derived, *slots = ends + 2 * (a->high + 1), *pairs = program + s->at;
    uint32_t from[FM_FEW], to[FM_FEW], total = 0;
    for (uint32_t r = 0; r < s->count; r++) {
        const uint64_t low = fm_u64(pairs + 16 * r), high = fm_u64(pairs + 16 * r + 8);
        from[r] = to[r] = 0;
        if (low > a->high) continue;
        from[r] = low ? fm_u16(ends + 2 * (low - 1)) : 0;
        to[r] = fm_u16(ends + 2 * (high < a->high ? high : a->high));
        total += to[r] - from[r];
    }
    if (total * 16 > (uint32_t)words * 64) return 0;
    memset(out, 0, (size_t)words * 8);
    for (uint32_t r = 0; r < s->count; r++)
        for (uint32_t i = from[r]; i < to[r]; i++) {
            const uint32_t slot = fm_u16(slots + 2 * (size_t)i);
            if (slot < (uint32_t)words * 64) out[slot / 64] |= 1ULL << (slot % 64);
        }
    return 1;
}

/* below: the bitmap on top, asked for only with FM_WITHIN */
static int fm_column_test(const fm_program *p, int64_t n, const fm_input *in, const uint64_t *below, uint64_t *out) {
    const fm_step *s = p->steps + n;
    const fm_coded *coded = in->coded && in->coded[n].use ? in->coded + n : NULL;
    uint64_t *zoned = in->zoned ? in->zoned + n : NULL;
    const fm_array *a = in->arrays + s->column;
    const int words = in->words;
    const uint64_t *within = s->arg & FM_WITHIN ? below : NULL;
    if (s->kind == FM_TEXT) return fm_text(p->octets, s, a, words, within, out);
    const int zone = fm_zone(p->octets, s, a);
    if (zone >= 0) {
        if (zone && within) memcpy(out, within, (size_t)words * 8);
        else memset(out, zone ? 0xFF : 0, (size_t)words * 8);
        if (zoned) ++*zoned;
        return FM_OK;
    }
    if (a->derived && s->kind == FM_U8) {
        fm_by_values(p->octets, s, a, words, out);
        if (within) for (int w = 0; w < words; w++) out[w] &= within[w];
        return FM_OK;
    }
    if (a->derived && s->kind == FM_U16 && s->op == FM_RANGES && s->count <= FM_FEW && fm_by_postings(p->octets, s, a, words, out)) {
        if (within) for (int w = 0; w < words; w++) out[w] &= within[w];
        return FM_OK;
    }
    const uint64_t *skip = NULL;
    if (!a->derived) coded = NULL;
    const int64_t row = coded ? 64 : fm_width[s->kind] * 64;
    if (within) {
        if (in->loops->popcount(within, words) * FM_SPARSE < row * words) {
            fm_each(p->octets, s, a->data, words, within, out);
            return FM_OK;
        }
        int empty = 0;
        for (int w = 0; w < words; w++) empty += !within[w];
        if (empty * row >= words * 96) skip = within; /* a branch a word pays when it saves lines enough (measured) */
    }
    const uint8_t *constants = p->octets + s->at;
    if (coded) fm_by_codes(p, s, coded, in, within, skip, out);
    else if (s->op == FM_TABLE) in->loops->table[s->kind - FM_U8](a->data, words, skip, constants, s->count, out);
    else if (s->count > FM_FEW) fm_each(p->octets, s, a->data, words, within, out);
    else in->loops->ranges[s->kind < FM_I64 ? s->kind - FM_U8 : 3](a->data, words, skip, constants, s->count, out);
    if (within)
        for (int w = 0; w < words; w++) out[w] &= within[w];
    return FM_OK;
}

static inline int fm_any(const uint64_t *a, int words) {
    uint64_t any = 0;
    for (int w = 0; w < words; w++) any |= a[w];
    return any != 0;
}

/* The program must be one that fm_open took, the arrays those that fm_check_arrays did. Adds to tallies. */
static int fm_eval(const fm_program *p, const fm_input *in) {
    const int words = in->words;
    int64_t top = 0;
    for (int64_t n = 0; n < p->count; n++) {
        const fm_step *s = p->steps + n;
        uint64_t *next = in->stack + top * FM_WORDS_MAX;          /* where a test puts its answer */
        uint64_t *b = next - FM_WORDS_MAX, *a = b - FM_WORDS_MAX; /* top of the stack, and below it */
        switch (s->op) {
        case FM_CONST: memset(next, s->arg & 1 ? 0xFF : 0, (size_t)words * 8); top++; break;
        case FM_PLANES_ANY: case FM_PLANES_ALL:
            fm_planes(in->arrays + s->column, words, s->arg, s->op == FM_PLANES_ALL, next);
            top++;
            break;
        case FM_LIVE:
            memcpy(next, in->arrays[s->column].data, (size_t)words * 8);
            if (in->changed) for (int w = 0; w < words; w++) next[w] &= ~in->changed[w];
            top++;
            break;
        case FM_BUCKETS: {
            const uint8_t *constants = p->octets + s->at;
            const uint64_t *within = s->arg & FM_WITHIN ? b : NULL;
            in->loops->buckets(in->numbers, in->first, words, within, fm_u64(constants), fm_u64(constants + 8), fm_u64(constants + 16), next);
            if (within) for (int w = 0; w < words; w++) next[w] &= within[w];
            top++;
            break;
        }
        case FM_AND: for (int w = 0; w < words; w++) a[w] &= b[w]; top--; break;
        case FM_OR: for (int w = 0; w < words; w++) a[w] |= b[w]; top--; break;
        case FM_AND_NOT: for (int w = 0; w < words; w++) a[w] &= ~b[w]; top--; break;
        case FM_NOT: for (int w = 0; w < words; w++) b[w] = ~b[w]; break;
        case FM_DROP: top--; break;
        case FM_TALLY: in->tallies[s->count] += (uint64_t)in->loops->popcount(b, words); break;
        case FM_TALLY_CUT:
            in->tallies[s->count] += (uint64_t)in->loops->popcount_and(a, b, words);
            for (int w = 0; w < words; w++) a[w] &= ~b[w];
            top--;
            break;
        case FM_SKIP: if (!fm_any(b, words)) n += s->count; break;
        default: {
            const int result = fm_column_test(p, n, in, b, next);
            if (result != FM_OK) return result;
            top++;
        }
        }
    }
    return FM_OK;
}

static const fm_loops *fm_best(void) {
#ifdef VOLLEY_FASTMATCH_X86_H
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &fm_avx512;
    if (__builtin_cpu_supports("avx2")) return &fm_avx2;
#endif
    return &fm_plain;
}

/* by name, when the machine has it; else NULL */
static const fm_loops *fm_named(const char *name) {
    const fm_loops *best = fm_best();
    if (!strcmp(name, best->name)) return best;
#ifdef VOLLEY_FASTMATCH_X86_H
    if (best != &fm_plain && !strcmp(name, fm_avx2.name) && __builtin_cpu_supports("avx2")) return &fm_avx2;
#endif
    return strcmp(name, fm_plain.name) ? NULL : &fm_plain;
}

/* One block whose arrays the caller holds. out: FM_WORDS_MAX words, those past `slots` zeroed. Returns the bits set in
 * out, or FM_... below 0. */
static int64_t fm_run(const fm_loops *loops, const uint8_t *octets, int64_t length, const fm_array *arrays, int64_t array_count,
                      int slots, uint32_t first, uint8_t *out, uint64_t *tallies, int64_t tally_count) {
    fm_program program;
    uint64_t *stack = NULL;
    int64_t result = fm_open(octets, length, &program);
    if (result == FM_OK && program.tallies > tally_count) result = FM_BAD_PROGRAM;
    if (result == FM_OK) result = fm_check_arrays(&program, arrays, array_count, slots);
    if (result == FM_OK && !(stack = malloc((size_t)program.depth * FM_WORDS_MAX * 8))) result = FM_NO_MEMORY;
    if (result == FM_OK) {
        const fm_input in = {loops, arrays, slots / 64, NULL, NULL, first, stack, tallies, NULL, NULL};
        result = fm_eval(&program, &in);
    }
    if (result == FM_OK) {
        memcpy(out, stack, (size_t)(slots / 64) * 8);
        memset(out + slots / 8, 0, (size_t)(FM_SLOTS_MAX - slots) / 8);
        result = loops->popcount(stack, slots / 64);
    }
    free(stack);
    fm_close(&program);
    return result;
}

#endif
