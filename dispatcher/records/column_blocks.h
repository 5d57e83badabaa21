/* What the store tells the matching kernel about columns and changed members: addresses, little-endian, drawn once.
 *
 * column_block  one block of one column. data: the array, behind the value's header; 0: nobody's value is known there.
 *   0 data address | 8 octets u64 (of the array) | 16 slots u32 (as stored) | 20 zoned u32 (1: low and high hold)
 *  24 low u64 | 32 high u64 (least and greatest number of the array, in the column's own kind)
 *  40 derived address | 0 when there is none. 48 octets.
 * derived       what a process keeps beside an array to read less of it (store/derived.py):
 *   I32 I64 U64   codes u8[slots]: how many of the column's edges are at or below the number; at most 255 edges, u64, sorted
 *                 without sign, numbers with sign with their top bit turned over
 *   U16           postings: ends u16[high + 1], where the slots of a number end, then slots u16[slots] by number
 * member_change one delta row; sorted by block, then slot.
 *   0 entries address | 8 octets u32 | 12 block u32 | 16 slot u32 | 20 zero u32. 24 octets.
 * entry         field u16 | part u8 | kind u8 | octets u16 | value (store/delta.py)
 *   U8            planes: a bitmap of slots / 8 octets for each number 0 .. high
 */
#ifndef VOLLEY_COLUMN_BLOCKS_H
#define VOLLEY_COLUMN_BLOCKS_H
#include <stdint.h>
typedef struct {
    const uint8_t *data;
    uint64_t octets;
    uint32_t slots, zoned;
    uint64_t low, high;
    const uint8_t *derived;
} column_block;
typedef struct {
    const uint8_t *entries;
    uint32_t octets, block, slot, zero;
} member_change;
#endif
