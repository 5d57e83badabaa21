/* The loops of matching in plain C: one octet a slot, which any compiler vectorises at any baseline (SSE2, NEON), then eight
 * octets packed into eight bits. What a test means is said here; the AVX files say the same in fewer instructions.
 *
 * Every loop answers `words` x 64 slots of array `a` into bitmap `out`. skip: a bitmap, or NULL; words that are 0 there may
 * go unread, and answer 0. pairs: count x (low u64, high u64), both inside, sorted, disjoint. bits: a table of 64-octet
 * multiples, bit x says whether number x is in; numbers at or above `count` are not.
 */
#ifndef VOLLEY_FASTMATCH_PLAIN_H
#define VOLLEY_FASTMATCH_PLAIN_H

#include <stdint.h>
#include <string.h>

static inline uint16_t fm_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t fm_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t fm_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline int32_t fm_i32(const uint8_t *p) { int32_t v; memcpy(&v, p, 4); return v; }
static inline int64_t fm_i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }
static inline uint8_t fm_u8(const uint8_t *p) { return *p; }

typedef void (*fm_ranges)(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *pairs, uint32_t count, uint64_t *out);
typedef void (*fm_table)(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *bits, uint32_t count, uint64_t *out);
typedef struct {
    const char *name;
    fm_ranges ranges[4]; /* by width: 1, 2, 4, 8 octets; numbers with and without sign alike, see below */
    fm_table table[2];   /* 1, 2 octets */
    void (*buckets)(const uint8_t *numbers, uint32_t first, int words, const uint64_t *skip, uint64_t seed, uint64_t low,
                    uint64_t span, uint64_t *out);
    int64_t (*popcount)(const uint64_t *a, int words);
    int64_t (*popcount_and)(const uint64_t *a, const uint64_t *b, int words);
    int64_t (*members)(const uint64_t *a, int words, uint32_t base, uint32_t *out); /* positions of set bits; room for 16 more */
} fm_loops;

/* mask: one octet a slot, 0 or 1 -> 64 slots a word */
static inline uint64_t fm_pack64(const uint8_t *mask) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= ((fm_u64(mask + 8 * i) * 0x0102040810204080ULL) >> 56) << (8 * i);
    return word;
}

/* in arithmetic: at the x86-64 baseline the compiler's own popcount is a call into a table */
static inline uint64_t fm_bits(uint64_t x) {
    x -= x >> 1 & 0x5555555555555555ULL;
    x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
    return (((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0FULL) * 0x0101010101010101ULL) >> 56;
}

/* low <= x <= high is x - low <= high - low without sign, for either kind of number */
#define FM_PLAIN_RANGES(NAME, TYPE, LOAD)                                                                             \
    static void NAME(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *pairs, uint32_t count,         \
                     uint64_t *out) {                                                                                 \
        uint8_t mask[64];                                                                                             \
        for (int w = 0; w < words; w++, a += 64 * sizeof(TYPE)) {                                                     \
            if (skip && !skip[w]) { out[w] = 0; continue; }                                                           \
            for (uint32_t r = 0; r < count; r++) {                                                                    \
                const TYPE low = (TYPE)fm_u64(pairs + 16 * r), span = (TYPE)(fm_u64(pairs + 16 * r + 8) - low);       \
                if (r == 0) for (int i = 0; i < 64; i++) mask[i] = (TYPE)(LOAD(a + i * sizeof(TYPE)) - low) <= span;  \
                else for (int i = 0; i < 64; i++) mask[i] |= (TYPE)(LOAD(a + i * sizeof(TYPE)) - low) <= span;        \
            }                                                                                                         \
            out[w] = fm_pack64(mask);                                                                                 \
        }                                                                                                             \
    }
FM_PLAIN_RANGES(fm_plain_ranges1, uint8_t, fm_u8)
FM_PLAIN_RANGES(fm_plain_ranges2, uint16_t, fm_u16)
FM_PLAIN_RANGES(fm_plain_ranges4, uint32_t, fm_u32)
FM_PLAIN_RANGES(fm_plain_ranges8, uint64_t, fm_u64)

#define FM_PLAIN_TABLE(NAME, TYPE, LOAD)                                                                              \
    static void NAME(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *bits, uint32_t count,          \
                     uint64_t *out) {                                                                                 \
        uint8_t mask[64];                                                                                             \
        for (int w = 0; w < words; w++, a += 64 * sizeof(TYPE)) {                                                     \
            if (skip && !skip[w]) { out[w] = 0; continue; }                                                           \
            for (int i = 0; i < 64; i++) {                                                                            \
                const uint32_t x = LOAD(a + i * sizeof(TYPE)), at = x < count ? x : 0;                                \
                mask[i] = (x < count) & (bits[at >> 3] >> (at & 7));                                                  \
            }                                                                                                         \
            out[w] = fm_pack64(mask);                                                                                 \
        }                                                                                                             \
    }
FM_PLAIN_TABLE(fm_plain_table1, uint8_t, fm_u8)
FM_PLAIN_TABLE(fm_plain_table2, uint16_t, fm_u16)

/* the finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of x moves half the bits of the answer */
static inline uint64_t fm_mix64(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ x >> 27) * 0x94D049BB133111EBULL;
    return x ^ x >> 31;
}

/* numbers: member_no u32 a slot, or NULL: first, first + 1, ... A hash in low .. low + span is in. */
static void fm_plain_buckets(const uint8_t *numbers, uint32_t first, int words, const uint64_t *skip, uint64_t seed,
                             uint64_t low, uint64_t span, uint64_t *out) {
    for (int w = 0; w < words; w++) {
        uint64_t word = 0;
        if (!skip || skip[w])
            for (int i = 0; i < 64; i++) {
                const size_t slot = 64 * (size_t)w + i;
                const uint64_t no = numbers ? fm_u32(numbers + 4 * slot) : first + (uint32_t)slot;
                word |= (uint64_t)(fm_mix64(no + seed) - low <= span) << i;
            }
        out[w] = word;
    }
}

static int64_t fm_plain_popcount(const uint64_t *a, int words) {
    uint64_t total = 0;
    for (int i = 0; i < words; i++) total += fm_bits(a[i]);
    return (int64_t)total;
}

static int64_t fm_plain_popcount_and(const uint64_t *a, const uint64_t *b, int words) {
    uint64_t total = 0;
    for (int i = 0; i < words; i++) total += fm_bits(a[i] & b[i]);
    return (int64_t)total;
}

static int64_t fm_plain_members(const uint64_t *a, int words, uint32_t base, uint32_t *out) {
    uint32_t *to = out;
    for (int w = 0; w < words; w++)
        for (uint64_t left = a[w]; left; left &= left - 1) *to++ = base + 64 * (uint32_t)w + (uint32_t)__builtin_ctzll(left);
    return to - out;
}

static const fm_loops fm_plain = {
    "plain", {fm_plain_ranges1, fm_plain_ranges2, fm_plain_ranges4, fm_plain_ranges8}, {fm_plain_table1, fm_plain_table2},
    fm_plain_buckets, fm_plain_popcount, fm_plain_popcount_and, fm_plain_members,
};
#endif
