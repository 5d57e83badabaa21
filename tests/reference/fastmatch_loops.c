/* The loops of dispatcher/fastmatch_*.h against one slot at a time, on whatever machine and compiler this is built for.
 * Built and run by tests/test_fastmatch_compilers.py; says how many answers were wrong, for the loops named by argument.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "fastmatch_scan.h"

enum { ROUNDS = 60, SLOTS = FM_SLOTS_MAX, WORDS = FM_WORDS_MAX };

static uint64_t state = 88172645463325252ULL;

static uint64_t draw(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static long wrong, asked;
static uint64_t out[WORDS];

static void expect(int slot, int yes) {
    asked++;
    wrong += yes != (int)(out[slot / 64] >> (slot % 64) & 1);
}

static void ranges(const fm_loops *loops, const uint8_t *a, int wide) {
    uint8_t pairs[16 * FM_FEW];
    const uint32_t count = 1 + (uint32_t)(draw() % FM_FEW);
    for (uint32_t r = 0; r < count; r++) {
        const uint64_t low = draw() % 9, high = low + draw() % 40;
        memcpy(pairs + 16 * r, &low, 8);
        memcpy(pairs + 16 * r + 8, &high, 8);
    }
    loops->ranges[wide](a, WORDS, NULL, pairs, count, out);
    for (int slot = 0; slot < SLOTS; slot++) {
        uint64_t x = 0;
        int yes = 0;
        memcpy(&x, a + ((size_t)slot << wide), (size_t)1 << wide); /* little-endian */
        for (uint32_t r = 0; r < count; r++) yes |= fm_u64(pairs + 16 * r) <= x && x <= fm_u64(pairs + 16 * r + 8);
        expect(slot, yes);
    }
}

static void table(const fm_loops *loops, const uint8_t *a, int wide, uint32_t count) {
    uint8_t bits[256] = {0};
    for (uint32_t i = 0; i < count; i++) bits[i / 8] |= (uint8_t)((draw() & 1) << (i % 8));
    loops->table[wide](a, WORDS, NULL, bits, count, out);
    for (int slot = 0; slot < SLOTS; slot++) {
        const uint32_t x = wide ? fm_u16(a + 2 * slot) : a[slot];
        expect(slot, x < count && bits[x / 8] >> (x % 8) & 1);
    }
}

static void rest(const fm_loops *loops) {
    static uint32_t numbers[SLOTS + 16];
    loops->buckets(NULL, 77, WORDS, NULL, 5, 1ULL << 60, 1ULL << 62, out);
    int64_t set = 0;
    for (int slot = 0; slot < SLOTS; slot++) {
        const int yes = fm_mix64(77 + (uint64_t)slot + 5) - (1ULL << 60) <= 1ULL << 62;
        expect(slot, yes);
        set += yes;
    }
    wrong += loops->popcount(out, WORDS) != set || loops->members(out, WORDS, 1000, numbers) != set;
    for (int64_t i = 0; i < set; i++) wrong += !(out[(numbers[i] - 1000) / 64] >> (numbers[i] - 1000) % 64 & 1);
}

int main(int count, char **arguments) {
    static uint8_t a[SLOTS * 8];
    const fm_loops *loops = count > 1 ? fm_named(arguments[1]) : fm_best();
    if (!loops) return 77; /* this machine has no such instructions */
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof a; i++) a[i] = (uint8_t)(draw() % 3 ? draw() % 5 : draw());
        for (int wide = 0; wide < 4; wide++) ranges(loops, a, wide);
        table(loops, a, 0, 1 + (uint32_t)(draw() % 256));
        table(loops, a, 1, 1 + (uint32_t)(draw() % 1500));
        rest(loops);
    }
    printf("%s: %ld asked, %ld wrong\n", loops->name, asked, wrong);
    return wrong != 0;
}
