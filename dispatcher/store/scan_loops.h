/* The loops of store/_scan.pyx: what a block's header says of its array, and what is derived from it.
 *
 * Shapes: records/column_blocks.h. Arrays may lie at any alignment.
 */
#ifndef VOLLEY_SCAN_LOOPS_H
#define VOLLEY_SCAN_LOOPS_H

#include <stdint.h>
#include <string.h>
#define ENDS(TYPE, AS) { TYPE least, most, x; memcpy(&least, a, sizeof x); most = least;  \
    for (int64_t i = 0; i + (int64_t)sizeof x <= octets; i += sizeof x) {                  \
        memcpy(&x, a + i, sizeof x); least = x < least ? x : least; most = x > most ? x : most; } \
    *low = (uint64_t)(AS)least; *high = (uint64_t)(AS)most; break; }
static void ends(const uint8_t *a, int64_t octets, int kind, uint64_t *low, uint64_t *high) {
    if (octets < 8) return;
    switch (kind) {
    case 1: ENDS(uint8_t, uint64_t)
    case 2: ENDS(uint16_t, uint64_t)
    case 3: ENDS(int32_t, int64_t)
    case 4: ENDS(int64_t, int64_t)
    case 5: ENDS(uint64_t, uint64_t)
    }
}
/* four lanes of multiply and rotate, as fast as memory; 0 stands for "none" and is never given */
static uint64_t marked(const uint8_t *a, int64_t octets) {
    const uint64_t m = 0x9E3779B97F4A7C15ULL, k = 0xC2B2AE3D27D4EB4FULL;
    uint64_t lane[4] = {1, 2, 3, (uint64_t)octets}, x, all = 0;
    int64_t i = 0;
    for (; i + 32 <= octets; i += 32)
        for (int n = 0; n < 4; n++) {
            memcpy(&x, a + i + 8 * n, 8);
            x = lane[n] + x * m;
            lane[n] = (x << 31 | x >> 33) * k;
        }
    for (; i < octets; i++) lane[0] = (lane[0] ^ a[i]) * k + 1;
    for (int n = 0; n < 4; n++) {
        all = (all ^ lane[n]) * m;
        all ^= all >> 29;
    }
    return all ? all : 1;
}
static inline uint64_t turned(const uint8_t *a, int64_t slot, int kind) {
    int32_t i; uint64_t x;
    if (kind == 3) { memcpy(&i, a + 4 * slot, 4); return (uint64_t)(int64_t)i ^ 1ULL << 63; }
    memcpy(&x, a + 8 * slot, 8);
    return kind == 4 ? x ^ 1ULL << 63 : x;
}
/* a search of 8 steps without a branch over 255 edges, those missing being greater than any number */
static void encode(const uint8_t *a, int64_t slots, int kind, const uint8_t *edges, int64_t count, uint8_t *out) {
    uint64_t at[256];
    for (int64_t i = 0; i < 256; i++) {
        at[i] = UINT64_MAX;
        if (i < count) memcpy(&at[i], edges + 8 * i, 8);
    }
    for (int64_t i = 0; i < slots; i += 8) { /* eight searches side by side */
        uint64_t x[8]; uint32_t c[8] = {0};
        for (int n = 0; n < 8; n++) x[n] = turned(a, i + n, kind);
        for (uint32_t half = 128; half; half /= 2)
            for (int n = 0; n < 8; n++) c[n] += at[c[n] + half - 1] <= x[n] ? half : 0;
        for (int n = 0; n < 8; n++) out[i + n] = (uint8_t)(c[n] < count ? c[n] : count);
    }
}
static void spread(const uint8_t *a, uint32_t slots, uint8_t *out) {
    for (uint32_t i = 0; i < slots; i++) out[(size_t)a[i] * (slots / 8) + i / 8] |= (uint8_t)(1 << (i & 7));
}
static void post(const uint8_t *a, uint32_t slots, uint32_t high, uint16_t *out) {
    uint16_t *ends = out, *to = out + high + 1, x;
    uint16_t next[1024];
    memset(ends, 0, 2 * ((size_t)high + 1));
    for (uint32_t i = 0; i < slots; i++) { memcpy(&x, a + 2 * (size_t)i, 2); ends[x]++; }
    for (uint32_t v = 0, sum = 0; v <= high; v++) { next[v] = (uint16_t)sum; sum += ends[v]; ends[v] = (uint16_t)sum; }
    for (uint32_t i = 0; i < slots; i++) { memcpy(&x, a + 2 * (size_t)i, 2); to[next[x]++] = (uint16_t)i; }
}

#endif
