/* Runs one matching program over one block of members: column arrays in, bitmap out.
 *
 * Touches: only the memory it is handed. Plain C; the loops compare into one octet a slot, which gcc and clang
 * vectorise at any baseline, and then pack eight octets into eight bits.
 *
 * program       header:32  instructions:16 each  constants
 * header        magic:4 "VFM1"  instructions:4  depth:4  columns:4  tallies:4  zero:12
 * instruction   op:1  kind:1  column:2  count:4  at:4  arg:4        (little-endian; `at` counts from the program's start)
 * arg           planes: a mask in bits 0..7; const: bit 0; column tests: bit 8, FM_WITHIN: only slots set in the bitmap
 *               on top are asked, the others answer no. Where few are left this costs little, however dear the test.
 *
 * Weak spot: a range of 64-bit numbers has no SSE2 form, so it costs about three times one of 32 bits.
 */
#ifndef VOLLEY_FASTMATCH_H
#define VOLLEY_FASTMATCH_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FM_SLOTS_MAX = 16320, FM_WORDS_MAX = FM_SLOTS_MAX / 64, FM_HEADER = 32, FM_INSTRUCTION = 16, FM_DEPTH_MAX = 1024 };
enum { FM_FEW = 8 };     /* up to here one pass a range; above, a table or a binary search */
enum { FM_SPARSE = 16 }; /* below slots / 16 set bits asking each beats a pass over all (measured: 2 ns against 0.1 to 0.6) */
enum { FM_WITHIN = 0x100 };
enum { FM_U8 = 1, FM_U16, FM_I32, FM_I64, FM_U64, FM_PLANES, FM_TEXT };
enum {
    FM_CONST = 0, FM_RANGES, FM_TABLE, FM_PLANES_ANY, FM_PLANES_ALL,
    FM_TEXT_IN, FM_TEXT_CONTAINS, FM_TEXT_STARTS, FM_TEXT_ENDS, FM_TEXT_KNOWN,
    FM_AND = 16, FM_OR, FM_AND_NOT, FM_NOT, FM_DROP, FM_TALLY, FM_TALLY_CUT
};
enum { FM_OK = 0, FM_BAD_PROGRAM = -1, FM_BAD_ARRAY = -2, FM_BAD_TEXT = -3, FM_NO_MEMORY = -4 };

typedef struct { const uint8_t *data; int64_t octets; } fm_array;
typedef struct { uint32_t op, kind, column, count, at, arg; } fm_step;

static inline uint16_t fm_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t fm_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t fm_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline int32_t fm_i32(const uint8_t *p) { int32_t v; memcpy(&v, p, 4); return v; }
static inline int64_t fm_i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }
static inline uint8_t fm_u8(const uint8_t *p) { return *p; }

static inline fm_step fm_read_step(const uint8_t *p) {
    fm_step s = {p[0], p[1], fm_u16(p + 2), fm_u32(p + 4), fm_u32(p + 8), fm_u32(p + 12)};
    return s;
}

/* The same plain loops compiled twice and chosen at load, where gcc and the loader can: counts of 64-bit columns gain most. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FM_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define FM_CLONES
#endif

/* mask: one octet a slot, 0 or 1 -> 64 slots a word */
FM_CLONES static void fm_pack(const uint8_t *mask, int slots, uint64_t *out) {
    for (int w = 0; w < slots / 64; w++) {
        uint64_t word = 0;
        for (int i = 0; i < 8; i++)
            word |= ((fm_u64(mask + 64 * w + 8 * i) * 0x0102040810204080ULL) >> 56) << (8 * i);
        out[w] = word;
    }
}

/* in arithmetic: at the x86-64 baseline the compiler's own popcount is a call into a table */
static inline uint64_t fm_bits(uint64_t x) {
    x -= x >> 1 & 0x5555555555555555ULL;
    x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
    return (((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0FULL) * 0x0101010101010101ULL) >> 56;
}

static int64_t fm_popcount(const uint64_t *words, int n) {
    uint64_t total = 0;
    for (int i = 0; i < n; i++) total += fm_bits(words[i]);
    return (int64_t)total;
}

static int64_t fm_popcount_octets(const uint8_t *data, int64_t octets) {
    uint64_t total = 0;
    int64_t i = 0;
    for (; i + 8 <= octets; i += 8) total += fm_bits(fm_u64(data + i));
    for (; i < octets; i++) total += fm_bits(data[i]);
    return (int64_t)total;
}

/* one pass a range: low <= x <= high is x - low <= high - low without sign, for either kind of number */
#define FM_RANGE_PASSES(NAME, TYPE, LOAD)                                                              \
    FM_CLONES static void NAME(const uint8_t *restrict a, int slots, const uint8_t *pairs, uint32_t count, \
                     uint8_t *restrict mask) {                                                         \
        for (uint32_t r = 0; r < count; r++) {                                                         \
            const TYPE low = (TYPE)fm_u64(pairs + 16 * r), span = (TYPE)(fm_u64(pairs + 16 * r + 8) - low); \
            if (r == 0)                                                                                \
                for (int i = 0; i < slots; i++)                                                        \
                    mask[i] = (TYPE)(LOAD(a + (size_t)i * sizeof(TYPE)) - low) <= span;                \
            else                                                                                       \
                for (int i = 0; i < slots; i++)                                                        \
                    mask[i] |= (TYPE)(LOAD(a + (size_t)i * sizeof(TYPE)) - low) <= span;               \
        }                                                                                              \
    }
FM_RANGE_PASSES(fm_range_u8, uint8_t, fm_u8)
FM_RANGE_PASSES(fm_range_u16, uint16_t, fm_u16)
FM_RANGE_PASSES(fm_range_u32, uint32_t, fm_u32)
FM_RANGE_PASSES(fm_range_u64, uint64_t, fm_u64)

/* sorted disjoint ranges: the last one that begins at or below x decides */
#define FM_RANGE_SEARCH(NAME, TYPE, LOAD)                                                              \
    static void NAME(const uint8_t *a, int slots, const uint8_t *pairs, uint32_t count, uint8_t *mask) { \
        for (int i = 0; i < slots; i++) {                                                              \
            const TYPE x = LOAD(a + (size_t)i * sizeof(TYPE));                                         \
            uint32_t base = 0, n = count;                                                              \
            while (n > 1) {                                                                            \
                const uint32_t half = n / 2;                                                           \
                base += (TYPE)fm_u64(pairs + 16 * (size_t)(base + half)) <= x ? half : 0;              \
                n -= half;                                                                             \
            }                                                                                          \
            mask[i] = (TYPE)fm_u64(pairs + 16 * (size_t)base) <= x &&                                  \
                      x <= (TYPE)fm_u64(pairs + 16 * (size_t)base + 8);                                \
        }                                                                                              \
    }
FM_RANGE_SEARCH(fm_search_u16, uint16_t, fm_u16)
FM_RANGE_SEARCH(fm_search_i32, int32_t, fm_i32)
FM_RANGE_SEARCH(fm_search_i64, int64_t, fm_i64)
FM_RANGE_SEARCH(fm_search_u64, uint64_t, fm_u64)

/* 64-bit compares have no SSE2 form, but two halves that are equal do */
FM_CLONES static void fm_equal_u64(const uint8_t *restrict a, int slots, uint64_t value, uint8_t *restrict mask) {
    const uint32_t low = (uint32_t)value, high = (uint32_t)(value >> 32);
    for (int i = 0; i < slots; i++)
        mask[i] = (fm_u32(a + 8 * (size_t)i) == low) & (fm_u32(a + 8 * (size_t)i + 4) == high);
}

/* an octet a number below `count`, then a 0 for all others (an octet reads twice as fast as a bit) */
static void fm_table_u8(const uint8_t *restrict a, int slots, const uint8_t *table, uint32_t count, uint8_t *restrict mask) {
    uint8_t whole[256] = {0};
    memcpy(whole, table, count < 256 ? count : 256);
    for (int i = 0; i < slots; i++) mask[i] = whole[a[i]];
}

static void fm_table_u16(const uint8_t *restrict a, int slots, const uint8_t *table, uint32_t count, uint8_t *restrict mask) {
    for (int i = 0; i < slots; i++) {
        const uint32_t x = fm_u16(a + 2 * (size_t)i);
        mask[i] = table[x < count ? x : count];
    }
}

/* 8 planes of slots / 8 octets each */
static void fm_planes(const uint8_t *a, int slots, uint32_t wanted, int all, uint64_t *out) {
    const int words = slots / 64;
    for (int w = 0; w < words; w++) out[w] = all ? ~0ULL : 0;
    for (int p = 0; p < 8; p++) {
        if (!(wanted >> p & 1)) continue;
        const uint8_t *plane = a + (size_t)p * words * 8;
        if (all) for (int w = 0; w < words; w++) out[w] &= fm_u64(plane + 8 * (size_t)w);
        else for (int w = 0; w < words; w++) out[w] |= fm_u64(plane + 8 * (size_t)w);
    }
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

static int fm_text(const uint8_t *program, const fm_step *s, const fm_array *column, int slots, const uint64_t *within,
                   uint8_t *mask) {
    const fm_array *heap = column + 2;
    const uint8_t *needle = program + s->at;
    fm_seen seen = {UINT32_MAX, 0, 0};
    for (int i = 0; i < slots; i++) {
        if (within && !(within[i / 64] >> (i % 64) & 1)) { mask[i] = 0; continue; }
        const uint32_t start = fm_u32(column[0].data + 4 * (size_t)i), end = fm_u32(column[1].data + 4 * (size_t)i);
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
        mask[i] = (uint8_t)yes;
    }
    return FM_OK;
}

/* the same question as the passes above, of one slot; RANGES has at most FM_FEW */
static int fm_one(const uint8_t *program, const fm_step *s, const uint8_t *a, size_t slot) {
    const uint8_t *constants = program + s->at;
    uint64_t x;
    switch (s->kind) {
    case FM_U8: x = a[slot]; break;
    case FM_U16: x = fm_u16(a + 2 * slot); break;
    case FM_I32: x = (uint64_t)(int64_t)fm_i32(a + 4 * slot); break;
    default: x = fm_u64(a + 8 * slot);
    }
    if (s->op == FM_TABLE) return constants[x < s->count ? x : s->count] & 1;
    int hit = 0;
    for (uint32_t r = 0; r < s->count; r++) {
        const uint64_t low = fm_u64(constants + 16 * r), high = fm_u64(constants + 16 * r + 8);
        hit |= x - low <= high - low;
    }
    return hit;
}

/* first where, then what: the loads of the second loop wait for no branch, so that cold lines come in side by side */
static void fm_sparse(const uint8_t *program, const fm_step *s, const uint8_t *a, int words, const uint64_t *within, uint64_t *out) {
    uint16_t at[FM_SLOTS_MAX / FM_SPARSE + 1];
    int n = 0;
    for (int w = 0; w < words; w++)
        for (uint64_t left = within[w]; left; left &= left - 1) at[n++] = (uint16_t)(64 * w + __builtin_ctzll(left));
    memset(out, 0, (size_t)words * 8);
    for (int i = 0; i < n; i++) out[at[i] / 64] |= (uint64_t)fm_one(program, s, a, at[i]) << (at[i] % 64);
}

static void fm_dense(const uint8_t *program, const fm_step *s, const uint8_t *a, int slots, uint8_t *mask) {
    const uint8_t *constants = program + s->at;
    const int few = s->count <= FM_FEW;
    if (s->op == FM_TABLE) {
        (s->kind == FM_U8 ? fm_table_u8 : fm_table_u16)(a, slots, constants, s->count, mask);
        return;
    }
    if (s->kind >= FM_I64 && s->count == 1 && fm_u64(constants) == fm_u64(constants + 8)) {
        fm_equal_u64(a, slots, fm_u64(constants), mask);
        return;
    }
    switch (s->kind) {
    case FM_U8: fm_range_u8(a, slots, constants, s->count, mask); break;
    case FM_U16: (few ? fm_range_u16 : fm_search_u16)(a, slots, constants, s->count, mask); break;
    case FM_I32: (few ? fm_range_u32 : fm_search_i32)(a, slots, constants, s->count, mask); break;
    case FM_I64: (few ? fm_range_u64 : fm_search_i64)(a, slots, constants, s->count, mask); break;
    default: (few ? fm_range_u64 : fm_search_u64)(a, slots, constants, s->count, mask);
    }
}

/* below: the bitmap on top, asked for only with FM_WITHIN */
static int fm_column_test(const uint8_t *program, const fm_step *s, const fm_array *column, int slots, const uint64_t *below,
                          uint8_t *mask, uint64_t *out) {
    const int words = slots / 64, text = s->kind == FM_TEXT;
    const uint64_t *within = s->arg & FM_WITHIN ? below : NULL;
    if (within && !text && (s->op == FM_TABLE || s->count <= FM_FEW) && fm_popcount(within, words) * FM_SPARSE < slots) {
        fm_sparse(program, s, column->data, words, within, out);
        return FM_OK;
    }
    if (text) {
        const int result = fm_text(program, s, column, slots, within, mask);
        if (result != FM_OK) return result;
    } else fm_dense(program, s, column->data, slots, mask);
    fm_pack(mask, slots, out);
    if (within && !text)
        for (int w = 0; w < words; w++) out[w] &= within[w];
    return FM_OK;
}

/* what an instruction reads lies inside the program and the arrays; takes from and adds to the stack as declared */
static int fm_check_step(const uint8_t *program, int64_t octets, const fm_step *s, const fm_array *arrays, int64_t array_count,
                         int slots, int64_t tallies, int64_t top) {
    static const uint8_t width[8] = {0, 1, 2, 4, 8, 8, 1, 4};
    int64_t constants = 0, needed = 0, count = s->count;
    if (s->op < FM_AND && s->arg & FM_WITHIN && top < 1) return FM_BAD_PROGRAM;
    switch (s->op) {
    case FM_CONST: return FM_OK;
    case FM_AND: case FM_OR: case FM_AND_NOT: return top >= 2 ? FM_OK : FM_BAD_PROGRAM;
    case FM_NOT: case FM_DROP: return top >= 1 ? FM_OK : FM_BAD_PROGRAM;
    case FM_TALLY: return top >= 1 && count < tallies ? FM_OK : FM_BAD_PROGRAM;
    case FM_TALLY_CUT: return top >= 2 && count < tallies ? FM_OK : FM_BAD_PROGRAM;
    case FM_RANGES:
        if (s->kind < FM_U8 || s->kind > FM_U64 || !count) return FM_BAD_PROGRAM;
        constants = 16 * count;
        break;
    case FM_TABLE:
        if (s->kind != FM_U8 && s->kind != FM_U16) return FM_BAD_PROGRAM;
        constants = count + 1;
        break;
    case FM_PLANES_ANY: case FM_PLANES_ALL:
        if (s->kind != FM_PLANES) return FM_BAD_PROGRAM;
        break;
    case FM_TEXT_IN: case FM_TEXT_CONTAINS: case FM_TEXT_STARTS: case FM_TEXT_ENDS: case FM_TEXT_KNOWN:
        if (s->kind != FM_TEXT) return FM_BAD_PROGRAM;
        constants = s->op == FM_TEXT_KNOWN ? 0 : s->op == FM_TEXT_IN ? 8 * count : count;
        if (!count && s->op != FM_TEXT_KNOWN) return FM_BAD_PROGRAM;
        break;
    default: return FM_BAD_PROGRAM;
    }
    if ((int64_t)s->at + constants > octets) return FM_BAD_PROGRAM;
    if (s->op == FM_TEXT_IN)
        for (int64_t i = 0; i < count; i++) {
            const uint8_t *needle = program + s->at + 8 * i;
            if ((int64_t)fm_u32(needle) + fm_u32(needle + 4) > octets) return FM_BAD_PROGRAM;
        }
    const int64_t last = (int64_t)s->column + (s->kind == FM_TEXT ? 2 : 0);
    if (last >= array_count) return FM_BAD_ARRAY;
    needed = (int64_t)width[s->kind] * slots;
    if (arrays[s->column].octets < needed) return FM_BAD_ARRAY;
    if (s->kind == FM_TEXT && arrays[s->column + 1].octets < needed) return FM_BAD_ARRAY;
    return FM_OK;
}

/* out: FM_WORDS_MAX words, those past `slots` zeroed. Adds to `tallies`. Returns the bits set in out, or FM_... below 0. */
static int64_t fm_run(const uint8_t *program, int64_t octets, const fm_array *arrays, int64_t array_count, int slots,
                      uint8_t *out, uint64_t *tallies, int64_t tally_count) {
    if (octets < FM_HEADER || memcmp(program, "VFM1", 4)) return FM_BAD_PROGRAM;
    const int64_t steps = fm_u32(program + 4), depth = fm_u32(program + 8);
    if (FM_HEADER + steps * FM_INSTRUCTION > octets || depth < 1 || depth > FM_DEPTH_MAX) return FM_BAD_PROGRAM;
    if (fm_u32(program + 16) > tally_count) return FM_BAD_PROGRAM;
    const int words = slots / 64;
    uint64_t *stack = malloc((size_t)depth * FM_WORDS_MAX * 8);
    uint8_t *mask = malloc(FM_SLOTS_MAX);
    int64_t top = 0, result = stack && mask ? FM_OK : FM_NO_MEMORY;
    for (int64_t n = 0; n < steps && result == FM_OK; n++) {
        const fm_step s = fm_read_step(program + FM_HEADER + n * FM_INSTRUCTION);
        result = fm_check_step(program, octets, &s, arrays, array_count, slots, tally_count, top);
        if (result != FM_OK) break;
        if (s.op < FM_AND && top == depth) { result = FM_BAD_PROGRAM; break; }
        uint64_t *next = stack + top * FM_WORDS_MAX; /* where a test puts its answer */
        uint64_t *b = next - FM_WORDS_MAX, *a = b - FM_WORDS_MAX; /* top of the stack, and below it */
        switch (s.op) {
        case FM_CONST: memset(next, s.arg ? 0xFF : 0, (size_t)words * 8); top++; break;
        case FM_PLANES_ANY: case FM_PLANES_ALL:
            fm_planes(arrays[s.column].data, slots, s.arg, s.op == FM_PLANES_ALL, next); top++; break;
        case FM_AND: for (int w = 0; w < words; w++) a[w] &= b[w]; top--; break;
        case FM_OR: for (int w = 0; w < words; w++) a[w] |= b[w]; top--; break;
        case FM_AND_NOT: for (int w = 0; w < words; w++) a[w] &= ~b[w]; top--; break;
        case FM_NOT: for (int w = 0; w < words; w++) b[w] = ~b[w]; break;
        case FM_DROP: top--; break;
        case FM_TALLY: tallies[s.count] += (uint64_t)fm_popcount(b, words); break;
        case FM_TALLY_CUT:
            for (int w = 0; w < words; w++) {
                tallies[s.count] += fm_bits(a[w] & b[w]);
                a[w] &= ~b[w];
            }
            top--;
            break;
        default:
            result = fm_column_test(program, &s, arrays + s.column, slots, b, mask, next);
            top++;
        }
    }
    if (result == FM_OK && top != 1) result = FM_BAD_PROGRAM;
    if (result == FM_OK) {
        memcpy(out, stack, (size_t)words * 8);
        memset(out + words * 8, 0, (size_t)(FM_WORDS_MAX - words) * 8);
        result = fm_popcount(stack, words);
    }
    free(stack);
    free(mask);
    return result;
}

#endif
