/* zlib's crc32 (IEEE 802.3, reflected 0xEDB88320) eight octets a step, and its way past a known run of octets.
 *
 * A CRC register is linear over GF(2): taking it through n octets L is advance(register, n zero octets) ^ crc(0, L).
 * For a literal both are known beforehand, so its cost is four look-ups however long it is (crc_leap).
 * Registers here are raw: begin with 0xFFFFFFFF, invert at the end.
 */
#ifndef VOLLEY_CRC32_H
#define VOLLEY_CRC32_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
static uint32_t crc_table[8][256];
typedef struct { uint32_t own, zero, by_octet[4][256]; } crc_leap;

static inline void crc32_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;
        for (int k = 0; k < 8; k++) r = r >> 1 ^ (r & 1 ? 0xEDB88320u : 0);
        crc_table[0][i] = r;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++) crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 0xFF];
}
static inline uint32_t crc32_update(uint32_t r, const uint8_t *p, size_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t a = (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24) ^ r;
        uint32_t b = p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
        r = crc_table[7][a & 0xFF] ^ crc_table[6][a >> 8 & 0xFF] ^ crc_table[5][a >> 16 & 0xFF] ^ crc_table[4][a >> 24]
          ^ crc_table[3][b & 0xFF] ^ crc_table[2][b >> 8 & 0xFF] ^ crc_table[1][b >> 16 & 0xFF] ^ crc_table[0][b >> 24];
    }
    if (n >= 4) {
        uint32_t a = (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24) ^ r;
        r = crc_table[3][a & 0xFF] ^ crc_table[2][a >> 8 & 0xFF] ^ crc_table[1][a >> 16 & 0xFF] ^ crc_table[0][a >> 24];
        p += 4, n -= 4;
    }
    while (n--) r = r >> 8 ^ crc_table[0][(r ^ *p++) & 0xFF];
    return r;
}
static inline void crc_leap_init(crc_leap *leap, const uint8_t *p, size_t n) {
    memset(leap, 0, sizeof *leap);
    leap->own = crc32_update(0, p, n);
    for (int octet = 0; octet < 4; octet++)
        for (int bit = 0; bit < 8; bit++) {
            uint32_t r = 1u << (8 * octet + bit);
            for (size_t i = 0; i < n; i++) r = r >> 8 ^ crc_table[0][r & 0xFF];
            for (int v = 0; v < 256; v++)
                if (v >> bit & 1) leap->by_octet[octet][v] ^= r;
        }
}
static inline uint32_t crc_leap_over(const crc_leap *leap, uint32_t r) {
    return leap->own ^ leap->by_octet[0][r & 0xFF] ^ leap->by_octet[1][r >> 8 & 0xFF]
         ^ leap->by_octet[2][r >> 16 & 0xFF] ^ leap->by_octet[3][r >> 24];
}
#endif
