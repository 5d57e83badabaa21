/* What a message_id is known by, in the index of those that await their receipt and among those kept of a log that is gone
 * (store/ids_kept.py). */
#ifndef VOLLEY_MESSAGE_ID_H
#define VOLLEY_MESSAGE_ID_H
#include <stdint.h>
#include <string.h>

/* 64 bits of an octet string; never 0 */
static inline uint64_t hash_octets(const uint8_t *p, size_t n, uint64_t seed) {
    uint64_t h = (seed + 1) * 0x9FB21C651E98DF25u ^ n, w;
    while (n) {
        size_t k = n < 8 ? n : 8;
        w = 0;
        memcpy(&w, p, k);
        h = (h ^ w) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
        p += k;
        n -= k;
    }
    h *= 0xD6E8FEB86659FD93u;
    h ^= h >> 29;
    return h ? h : 1;
}

/* A message_id in the one form both sides are compared in: lower case, no leading zeros; with `from_hex`, a string of
 * at most 32 hex digits as its decimal value (SMPP_FACTS 10). Anything else stays text. Returns the hash. */
static inline uint64_t hash_id(const uint8_t *id, size_t n, int from_hex, uint64_t seed) {
    uint8_t t[72];
    if (n > 64) n = 64;
    while (n > 1 && id[0] == '0') { id++; n--; }
    int hex = from_hex && n <= 32;
    unsigned __int128 value = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = id[i];
        if (c >= 'A' && c <= 'Z') c = (uint8_t)(c + 32);
        t[i] = c;
        if (hex) {
            if (c >= '0' && c <= '9') value = value << 4 | (unsigned)(c - '0');
            else if (c >= 'a' && c <= 'f') value = value << 4 | (unsigned)(c - 'a' + 10);
            else hex = 0;
        }
    }
    if (!hex) return hash_octets(t, n, seed);
    uint8_t d[40];
    int k = 40;
    do { d[--k] = (uint8_t)('0' + (int)(value % 10)); value /= 10; } while (value);
    return hash_octets(d + k, (size_t)(40 - k), seed);
}
#endif
