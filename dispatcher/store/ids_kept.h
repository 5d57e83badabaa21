/* A segment of kept message_ids, drawn; octets are little-endian, bits go from the least one of an octet up.
 *
 * value   header | owners x owner | (1 << bucket_bits) + 1 x u32, where each bucket begins | entries | 16 zero octets
 * header  magic u16 | version u8 | bucket_bits u8 | rank_bits u8 | owner_bits u8 | part_bits u8 | zero u8 | entries u32 |
 *         owners u32 | first_ms u64 | last_ms u64: when its first and its last ids were put in |
 *         crc32 u32 of what follows | zero u32
 * owner   id u64 (campaign or batch) | endpoint u16 | zero u16 | first_rank u32: ranks are counted from it
 * entry   key's bits below the bucket's: 64 - bucket_bits | rank: rank_bits | owner: owner_bits | part: part_bits
 *         ascending by key, of one key in the order in which they were accepted
 */
#ifndef VOLLEY_IDS_KEPT_H
#define VOLLEY_IDS_KEPT_H
#include <stdint.h>
#include <string.h>
#define KEPT_MAGIC 0x5649
#define KEPT_VERSION 1
#define KEPT_PAD 16 /* so that 16 octets can be read wherever an entry begins */
typedef struct {
    uint16_t magic;
    uint8_t version, bucket_bits, rank_bits, owner_bits, part_bits, zero;
    uint32_t entries, owners;
    uint64_t first_ms, last_ms;
    uint32_t crc, zero_too;
} kept_header;
typedef struct { uint64_t id; uint16_t endpoint, zero; uint32_t first_rank; } kept_owner;
typedef struct { uint64_t key; uint32_t rank, owner, part; } kept_entry;

static inline uint64_t get_bits(const uint8_t *p, uint64_t at, int width) {
    unsigned __int128 w;
    memcpy(&w, p + (at >> 3), 16);
    w >>= at & 7;
    return width == 64 ? (uint64_t)w : (uint64_t)w & (((uint64_t)1 << width) - 1);
}
/* into octets that are zero there */
static inline void put_bits(uint8_t *p, uint64_t at, uint64_t value) {
    unsigned __int128 w;
    memcpy(&w, p + (at >> 3), 16);
    w |= (unsigned __int128)value << (at & 7);
    memcpy(p + (at >> 3), &w, 16);
}
static inline int bits_of(uint64_t v) { return v ? 64 - __builtin_clzll(v) : 0; }
#endif
