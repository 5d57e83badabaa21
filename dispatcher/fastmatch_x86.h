/* The loops of fastmatch_plain.h in AVX2 and AVX-512, compiled whatever the baseline and chosen at run time by what the
 * machine has. gcc and clang. Meaning and arguments: fastmatch_plain.h.
 *
 * Rests on: the compare of AVX-512 answers 16 to 64 slots as bits, so no packing; AVX2 answers an octet or more a slot,
 * and movemask packs. Numbers without sign are compared as max(x - low, span) == span; 64 bits, where there is no max,
 * by turning the top bit over.
 */
#ifndef VOLLEY_FASTMATCH_X86_H
#define VOLLEY_FASTMATCH_X86_H

#include <immintrin.h>

#include "fastmatch_plain.h"

#define FM_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")))
#define FM_AVX2 __attribute__((target("avx2,popcnt")))

/* the expression sets r, the answer of word w */
#define FM_EACH_WORD(...)                                                                   \
    if (skip) for (int w = 0; w < words; w++) {                                               \
        uint64_t r = 0;                                                                       \
        if (skip[w]) { __VA_ARGS__; }                                                              \
        out[w] = r;                                                                           \
    }                                                                                         \
    else for (int w = 0; w < words; w++) { uint64_t r = 0; __VA_ARGS__; out[w] = r; }

/* one range, the usual, keeps its ends in registers; more of them read the array once and the ends from the first cache */
#define FM_512_RANGES(NAME, TYPE, SET1, SUB, LE, PER)                                                                  \
    FM_AVX512 static void NAME(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *pairs, uint32_t count, \
                               uint64_t *out) {                                                                        \
        __m512i lows[8], spans[8];                                                                                     \
        for (uint32_t k = 0; k < count; k++) {                                                                         \
            lows[k] = SET1((TYPE)fm_u64(pairs + 16 * k));                                                              \
            spans[k] = SET1((TYPE)(fm_u64(pairs + 16 * k + 8) - fm_u64(pairs + 16 * k)));                              \
        }                                                                                                              \
        const __m512i low = lows[0], span = spans[0];                                                                  \
        if (count == 1) {                                                                                              \
            FM_EACH_WORD(for (int q = 0; q < 64 / PER; q++) {                                                          \
                const __m512i x = _mm512_loadu_si512(a + (size_t)(64 / PER * w + q) * 64);                             \
                r |= (uint64_t)LE(SUB(x, low), span) << (q * PER % 64);                                                \
            })                                                                                                         \
        } else {                                                                                                       \
            FM_EACH_WORD(for (int q = 0; q < 64 / PER; q++) {                                                          \
                const __m512i x = _mm512_loadu_si512(a + (size_t)(64 / PER * w + q) * 64);                             \
                uint64_t hit = 0;                                                                                      \
                for (uint32_t k = 0; k < count; k++) hit |= (uint64_t)LE(SUB(x, lows[k]), spans[k]);                   \
                r |= hit << (q * PER % 64);                                                                            \
            })                                                                                                         \
        }                                                                                                              \
    }
FM_512_RANGES(fm_512_ranges1, char, _mm512_set1_epi8, _mm512_sub_epi8, _mm512_cmple_epu8_mask, 64)
FM_512_RANGES(fm_512_ranges2, short, _mm512_set1_epi16, _mm512_sub_epi16, _mm512_cmple_epu16_mask, 32)
FM_512_RANGES(fm_512_ranges4, int, _mm512_set1_epi32, _mm512_sub_epi32, _mm512_cmple_epu32_mask, 16)
FM_512_RANGES(fm_512_ranges8, long long, _mm512_set1_epi64, _mm512_sub_epi64, _mm512_cmple_epu64_mask, 8)

/* 256 numbers: the octet of the table by a shuffle of either half, then the bit in it */
FM_AVX512 static void fm_512_table1(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *bits, uint32_t count,
                                    uint64_t *out) {
    (void)count; /* bits beyond it are 0 */
    const __m512i first = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)bits));
    const __m512i second = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(bits + 16)));
    const __m512i one = _mm512_set1_epi64((long long)0x8040201008040201ULL), seven = _mm512_set1_epi8(7);
    const __m512i five = _mm512_set1_epi8(31), half = _mm512_set1_epi8((char)0x80);
    FM_EACH_WORD(
        const __m512i x = _mm512_loadu_si512(a + (size_t)w * 64);
        const __m512i at = _mm512_and_si512(_mm512_srli_epi16(x, 3), five);
        const __m512i octet = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(first, _mm512_and_si512(at, _mm512_set1_epi8(15))),
                                                       _mm512_test_epi8_mask(x, half), second,
                                                       _mm512_and_si512(at, _mm512_set1_epi8(15)));
        r = _mm512_test_epi8_mask(octet, _mm512_shuffle_epi8(one, _mm512_and_si512(x, seven)));)
}

/* 512 numbers lie in one register, 1,024 in two: one permute each 32 slots. More are looked up. */
FM_AVX512 static void fm_512_table2(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *bits, uint32_t count,
                                    uint64_t *out) {
    if (count > 1024) { fm_plain_table2(a, words, skip, bits, count, out); return; }
    const __m512i first = _mm512_loadu_si512(bits), one = _mm512_set1_epi16(1), low = _mm512_set1_epi16(15);
    const __m512i second = count > 512 ? _mm512_loadu_si512(bits + 64) : _mm512_setzero_si512();
    const __m512i most = _mm512_set1_epi16((short)count);
    FM_EACH_WORD(for (int q = 0; q < 2; q++) {
        const __m512i x = _mm512_loadu_si512(a + (size_t)(2 * w + q) * 64);
        const __m512i group = _mm512_permutex2var_epi16(first, _mm512_srli_epi16(x, 4), second);
        const __mmask32 known = _mm512_cmplt_epu16_mask(x, most);
        const __mmask32 hit = _mm512_mask_test_epi16_mask(known, _mm512_srlv_epi16(group, _mm512_and_si512(x, low)), one);
        r |= (uint64_t)hit << (32 * q);
    })
}

FM_AVX512 static void fm_512_buckets(const uint8_t *numbers, uint32_t first, int words, const uint64_t *skip, uint64_t seed,
                                     uint64_t low, uint64_t span, uint64_t *out) {
    const __m512i m1 = _mm512_set1_epi64((long long)0xBF58476D1CE4E5B9ULL), m2 = _mm512_set1_epi64((long long)0x94D049BB133111EBULL);
    const __m512i l = _mm512_set1_epi64((long long)low), s = _mm512_set1_epi64((long long)span);
    const __m512i step = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    FM_EACH_WORD(for (int q = 0; q < 8; q++) {
        const size_t slot = 64 * (size_t)w + 8 * (size_t)q;
        __m512i x = numbers ? _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(numbers + 4 * slot)))
                            : _mm512_add_epi64(_mm512_set1_epi64((long long)(first + (uint32_t)slot)), step);
        x = _mm512_add_epi64(x, _mm512_set1_epi64((long long)seed));
        x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 30)), m1);
        x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 27)), m2);
        x = _mm512_xor_si512(x, _mm512_srli_epi64(x, 31));
        r |= (uint64_t)_mm512_cmple_epu64_mask(_mm512_sub_epi64(x, l), s) << (8 * q);
    })
}

FM_AVX512 static int64_t fm_512_members(const uint64_t *a, int words, uint32_t base, uint32_t *out) {
    const __m512i step = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t *to = out;
    for (int w = 0; w < words; w++, base += 64) {
        uint64_t left = a[w];
        if (__builtin_popcountll(left) < 6) {
            for (; left; left &= left - 1) *to++ = base + (uint32_t)__builtin_ctzll(left);
            continue;
        }
        for (uint32_t q = 0; q < 64; q += 16, left >>= 16) {
            const __m512i numbers = _mm512_add_epi32(step, _mm512_set1_epi32((int)(base + q)));
            _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)left, numbers));
            to += __builtin_popcount((unsigned)left & 0xFFFF);
        }
    }
    return to - out;
}

#define FM_LOAD2(p) _mm256_loadu_si256((const __m256i *)(p))
#define FM_WITHIN2(MAX, EQ, x, span) EQ(MAX(x, span), span)
#define FM_PACK16(x, y) ((uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(x, y), 0xD8)))

#define FM_AVX2_RANGES(NAME, SETUP, ...)                                                                           \
    FM_AVX2 static void NAME(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *pairs, uint32_t count,  \
                             uint64_t *out) {                                                                          \
        __m256i lows[8], spans[8];                                                                                     \
        for (uint32_t k = 0; k < count; k++) {                                                                         \
            const uint64_t least = fm_u64(pairs + 16 * k), wide = fm_u64(pairs + 16 * k + 8) - least;                  \
            SETUP                                                                                                      \
        }                                                                                                              \
        if (count == 1) { FM_EACH_WORD(const uint32_t k = 0; __VA_ARGS__) }                                                 \
        else { FM_EACH_WORD(for (uint32_t k = 0; k < count; k++) { __VA_ARGS__ }) }                                         \
    }
FM_AVX2_RANGES(fm_avx2_ranges1, lows[k] = _mm256_set1_epi8((char)least); spans[k] = _mm256_set1_epi8((char)wide);,
    for (int q = 0; q < 2; q++) {
        const __m256i x = _mm256_sub_epi8(FM_LOAD2(a + (size_t)(2 * w + q) * 32), lows[k]);
        r |= (uint64_t)(uint32_t)_mm256_movemask_epi8(FM_WITHIN2(_mm256_max_epu8, _mm256_cmpeq_epi8, x, spans[k])) << (32 * q);
    })
FM_AVX2_RANGES(fm_avx2_ranges2, lows[k] = _mm256_set1_epi16((short)least); spans[k] = _mm256_set1_epi16((short)wide);,
    for (int q = 0; q < 2; q++) {
        const __m256i x = _mm256_sub_epi16(FM_LOAD2(a + (size_t)(4 * w + 2 * q) * 32), lows[k]);
        const __m256i y = _mm256_sub_epi16(FM_LOAD2(a + (size_t)(4 * w + 2 * q + 1) * 32), lows[k]);
        r |= FM_PACK16(FM_WITHIN2(_mm256_max_epu16, _mm256_cmpeq_epi16, x, spans[k]),
                       FM_WITHIN2(_mm256_max_epu16, _mm256_cmpeq_epi16, y, spans[k])) << (32 * q);
    })
FM_AVX2_RANGES(fm_avx2_ranges4, lows[k] = _mm256_set1_epi32((int)least); spans[k] = _mm256_set1_epi32((int)wide);,
    for (int q = 0; q < 8; q++) {
        const __m256i x = _mm256_sub_epi32(FM_LOAD2(a + (size_t)(8 * w + q) * 32), lows[k]);
        r |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(FM_WITHIN2(_mm256_max_epu32, _mm256_cmpeq_epi32, x, spans[k]))) << (8 * q);
    })
/* both sides with the top bit turned over, so that the compare with sign orders them without */
FM_AVX2_RANGES(fm_avx2_ranges8, lows[k] = _mm256_set1_epi64x((long long)(least + (1ULL << 63))); spans[k] = _mm256_set1_epi64x((long long)(wide ^ 1ULL << 63));,
    for (int q = 0; q < 16; q++) {
        const __m256i x = _mm256_sub_epi64(FM_LOAD2(a + (size_t)(16 * w + q) * 32), lows[k]);
        r |= (uint64_t)(15 & ~_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(x, spans[k])))) << (4 * q);
    })

/* 32 numbers of 0 .. 511 as at >> 3 (0 .. 63) and the bit's place: which of the table's octets has that bit set */
#define FM_AVX2_LOOKUP(at, place, T0, T1, T2, T3)                                                              \
    __m256i octet = _mm256_blendv_epi8(_mm256_shuffle_epi8(T0, at), _mm256_shuffle_epi8(T1, at), _mm256_slli_epi16(at, 3)); \
    const __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(T2, at), _mm256_shuffle_epi8(T3, at), _mm256_slli_epi16(at, 3)); \
    octet = _mm256_blendv_epi8(octet, upper, _mm256_slli_epi16(at, 2));                                        \
    const __m256i bit = _mm256_shuffle_epi8(one, place);                                                       \
    const uint64_t hit = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(octet, bit), bit));

#define FM_AVX2_TABLES                                                                              \
    const __m256i t0 = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bits));         \
    const __m256i t1 = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bits + 16)));  \
    const __m256i t2 = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bits + 32)));  \
    const __m256i t3 = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bits + 48)));  \
    const __m256i one = _mm256_set1_epi64x((long long)0x8040201008040201ULL);

FM_AVX2 static void fm_avx2_table1(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *bits, uint32_t count,
                                   uint64_t *out) {
    (void)count;
    FM_AVX2_TABLES
    FM_EACH_WORD(for (int q = 0; q < 2; q++) {
        const __m256i x = FM_LOAD2(a + (size_t)(2 * w + q) * 32);
        const __m256i at = _mm256_and_si256(_mm256_srli_epi16(x, 3), _mm256_set1_epi8(31));
        FM_AVX2_LOOKUP(at, _mm256_and_si256(x, _mm256_set1_epi8(7)), t0, t1, t2, t3)
        r |= hit << (32 * q);
    })
}

FM_AVX2 static void fm_avx2_table2(const uint8_t *a, int words, const uint64_t *skip, const uint8_t *bits, uint32_t count,
                                   uint64_t *out) {
    if (count > 512) { fm_plain_table2(a, words, skip, bits, count, out); return; }
    FM_AVX2_TABLES
    const __m256i seven = _mm256_set1_epi16(7), most = _mm256_set1_epi16(511), zero = _mm256_setzero_si256();
    FM_EACH_WORD(for (int q = 0; q < 2; q++) {
        const __m256i x = FM_LOAD2(a + (size_t)(4 * w + 2 * q) * 32), y = FM_LOAD2(a + (size_t)(4 * w + 2 * q + 1) * 32);
        /* one that is too great asks for bit 7 of nothing: its octet index is made negative, which shuffles to 0 */
        const __m256i big_x = _mm256_cmpeq_epi16(_mm256_subs_epu16(x, most), zero), big_y = _mm256_cmpeq_epi16(_mm256_subs_epu16(y, most), zero);
        const __m256i small = _mm256_permute4x64_epi64(_mm256_packs_epi16(big_x, big_y), 0xD8);
        const __m256i at = _mm256_permute4x64_epi64(_mm256_packus_epi16(
            _mm256_and_si256(_mm256_srli_epi16(x, 3), _mm256_set1_epi16(63)),
            _mm256_and_si256(_mm256_srli_epi16(y, 3), _mm256_set1_epi16(63))), 0xD8);
        const __m256i place = _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_and_si256(x, seven), _mm256_and_si256(y, seven)), 0xD8);
        FM_AVX2_LOOKUP(at, place, t0, t1, t2, t3)
        r |= (hit & (uint32_t)_mm256_movemask_epi8(small)) << (32 * q);
    })
}

__attribute__((target("popcnt"))) static int64_t fm_x86_popcount(const uint64_t *a, int words) {
    int64_t total = 0;
    for (int i = 0; i < words; i++) total += __builtin_popcountll(a[i]);
    return total;
}

__attribute__((target("popcnt"))) static int64_t fm_x86_popcount_and(const uint64_t *a, const uint64_t *b, int words) {
    int64_t total = 0;
    for (int i = 0; i < words; i++) total += __builtin_popcountll(a[i] & b[i]);
    return total;
}

static const fm_loops fm_avx2 = {
    "avx2", {fm_avx2_ranges1, fm_avx2_ranges2, fm_avx2_ranges4, fm_avx2_ranges8}, {fm_avx2_table1, fm_avx2_table2},
    fm_plain_buckets, fm_x86_popcount, fm_x86_popcount_and, fm_plain_members,
};
static const fm_loops fm_avx512 = {
    "avx512", {fm_512_ranges1, fm_512_ranges2, fm_512_ranges4, fm_512_ranges8}, {fm_512_table1, fm_512_table2},
    fm_512_buckets, fm_x86_popcount, fm_x86_popcount_and, fm_512_members,
};
#endif
