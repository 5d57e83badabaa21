/* One row a part: what rendering hands to the pump. 40 octets, little-endian, drawn once for both kernels.
 *  0 destination u64 (E.164 digits) | 8 rank u32 | 12 octets_at u32 (into the octets buffer) | 16 text_hash u32
 * 20 octets u16 | 22 part u8 (0-based) | 23 parts u8 | 24 esm_class u8 | 25 data_coding u8 | 26 decision u8 | 27 tries u8
 * 28 slot u32 (member_no, or position in a batch) | 32 part_mask_skip u8 (1: claimed elsewhere, do not send)
 * 33 told u8 (0: its octets are the short_message; 1: and SAR parameters follow; 2: they are a message_payload)
 * 34 ref u16 (sar_msg_ref_num; 0 where told is not 1)
 * 36 since_s u32 (monotonic; when it was refused for now for the first time, 0 = never)
 * A skipped recipient is one row with decision >= 16, parts 0, octets 0.
 */
#ifndef VOLLEY_BATCH_H
#define VOLLEY_BATCH_H
#include <stdint.h>
typedef struct {
    uint64_t destination;
    uint32_t rank, octets_at, text_hash;
    uint16_t octets;
    uint8_t part, parts, esm_class, data_coding, decision, tries;
    uint32_t slot;
    uint8_t skip, told;
    uint16_t ref;
    uint32_t since_s;
} part_row;
#endif
