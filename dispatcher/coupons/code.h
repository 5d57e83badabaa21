/* A member's code in a coupon pool, derived and not stored: shared by coupons/_code and campaigns/_render.
 *
 * 60 bits: member_no:32, 28 zero bits; a Feistel network of six rounds over its halves of 30 bits, each round SipHash-2-4
 * under the pool's key of the right half and the round's number (5 octets, so one block); twelve characters of Crockford's
 * base 32, the highest first. A code decodes to 28 zero bits or is nobody's. Meaning: tests/reference/coupons.py.
 */
#ifndef VOLLEY_COUPON_CODE_H
#define VOLLEY_COUPON_CODE_H
#include <stdint.h>

#define COUPON_CHARACTERS 12
#define COUPON_ROUNDS 6
#define COUPON_ZEROS 28
#define COUPON_HALF 0x3FFFFFFFu /* 30 bits */
static const char COUPON_ALPHABET[33] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

typedef struct { uint64_t k0, k1; } coupon_key;

/* Of 16 octets, little-endian on any machine. */
static inline coupon_key coupon_key_of(const uint8_t *octets) {
    coupon_key key = {0, 0};
    for (int i = 7; i >= 0; i--) {
        key.k0 = key.k0 << 8 | octets[i];
        key.k1 = key.k1 << 8 | octets[8 + i];
    }
    return key;
}
static inline uint64_t coupon_rotl(uint64_t v, int bits) { return v << bits | v >> (64 - bits); }
static inline void coupon_sip_round(uint64_t v[4]) {
    v[0] += v[1]; v[2] += v[3];
    v[1] = coupon_rotl(v[1], 13) ^ v[0]; v[3] = coupon_rotl(v[3], 16) ^ v[2];
    v[0] = coupon_rotl(v[0], 32);
    v[2] += v[1]; v[0] += v[3];
    v[1] = coupon_rotl(v[1], 17) ^ v[2]; v[3] = coupon_rotl(v[3], 21) ^ v[0];
    v[2] = coupon_rotl(v[2], 32);
}
/* SipHash-2-4 of half:4 round:1, little-endian. */
static inline uint64_t coupon_sip(coupon_key key, uint32_t half, uint32_t round) {
    const uint64_t block = (uint64_t)5 << 56 | (uint64_t)round << 32 | half;
    uint64_t v[4] = {key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du,
                     key.k0 ^ 0x6c7967656e657261u, key.k1 ^ 0x7465646279746573u};
    v[3] ^= block;
    coupon_sip_round(v); coupon_sip_round(v);
    v[0] ^= block;
    v[2] ^= 0xFF;
    coupon_sip_round(v); coupon_sip_round(v); coupon_sip_round(v); coupon_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
/* w has room for COUPON_CHARACTERS. */
static inline void coupon_code(coupon_key key, uint32_t member_no, uint8_t *w) {
    uint64_t bits = (uint64_t)member_no << COUPON_ZEROS;
    uint32_t left = (uint32_t)(bits >> 30), right = (uint32_t)bits & COUPON_HALF;
    for (uint32_t round = 0; round < COUPON_ROUNDS; round++) {
        const uint32_t mixed = left ^ ((uint32_t)coupon_sip(key, right, round) & COUPON_HALF);
        left = right;
        right = mixed;
    }
    bits = (uint64_t)left << 30 | right;
    for (int i = 0; i < COUPON_CHARACTERS; i++) w[i] = (uint8_t)COUPON_ALPHABET[bits >> (55 - 5 * i) & 31];
}
/* The member of twelve characters of the alphabet, as values below 32; -1: nobody's. */
static inline int64_t coupon_member(coupon_key key, const uint8_t *values) {
    uint64_t bits = 0;
    for (int i = 0; i < COUPON_CHARACTERS; i++) bits = bits << 5 | values[i];
    uint32_t left = (uint32_t)(bits >> 30), right = (uint32_t)bits & COUPON_HALF;
    for (uint32_t round = COUPON_ROUNDS; round-- > 0;) {
        const uint32_t mixed = right ^ ((uint32_t)coupon_sip(key, left, round) & COUPON_HALF);
        right = left;
        left = mixed;
    }
    bits = (uint64_t)left << 30 | right;
    return bits & (((uint64_t)1 << COUPON_ZEROS) - 1) ? -1 : (int64_t)(bits >> COUPON_ZEROS);
}
#endif
