/* The outcome log, drawn once for every kernel that writes or reads it. Little-endian.
 *
 * key  u64 big-endian: offset of the value's first octet in the log, counted in units of 8 octets
 * value = header, records, run table; everything padded to 8 octets
 *   header  magic u16 (0x564F) | runs u16 | records u32 | base_ms u64 | octets u32 of all records | endpoint u32
 *           (its number, store/endpoints.py: a value is one endpoint's; 0, the first one's, in values of before there were several)
 *   run     id u64 (campaign, or batch with bit 63) | run u16 | endpoint u16 | zero u32
 *   record  kind u8 | part u8 | state u8 | id_octets u8 | rank u32 | run u16 | delta_ms u16 | status u32 | id, padded to 8
 *   claim   kind u8 = 1 | pool u8 | again u16 | first_rank u32 | run u16 | delta_ms u16 | count u32 |
 *           claim_no u64 (of the first part) | count x (decision or parts u8) padded to 8 | count x (text_hash u32) padded to 8
 *           again: of the last rank, when only some of its parts are claimed: bit p = part p, bit 15 = 15 and up; 0 = all
 *   held    kind u8 = 8 like a record, id as usual, then number u64 (the subscriber); id_octets counts only the id; rank 0
 * A log position (ledger array log_no) is (key + octet in value / 8): units of 8 octets from the log's beginning, less the
 * campaign's first position.
 */
#ifndef VOLLEY_OUTCOME_LOG_H
#define VOLLEY_OUTCOME_LOG_H
#include <stdint.h>
#define LOG_MAGIC 0x564F
#define LOG_RUNS 4096 /* campaigns and batches alive in one process: run numbers are below it */
enum {
    K_CLAIM = 1,      /* ranks taken for sending (parts 1..127), or skipped with a reason (>= 128: 128 + decision) */
    K_ACCEPTED = 2,   /* ESME_ROK; id = message_id as received */
    K_REFUSED = 3,    /* permanent; status = command_status; state 1: answered after its timer, settles only an uncertain one */
    K_RETRY = 4,      /* for now; status = command_status; state 1: no attempt used up (throttled, queue full), tries does not count it */
    K_RELEASED = 5,   /* never reached the socket: not sent, no attempt used */
    K_UNCERTAIN = 6,  /* may have left, no answer; state = reason (1 timeout, 2 bind lost, 3 kill, 4 power cut) */
    K_RECEIPT = 7,    /* state = our State; status = error code of the receipt; kinds of match in the high octet of status */
    K_HELD = 8,       /* receipt of an unknown id, kept */
    K_SKIPPED = 9,    /* claimed, then stopped at the socket; state = Decision; status = parts of the message stopped together */
    K_SETTLED = 10    /* by a person or by time: state = new State; high octet of status 2: by a person, who saw it uncertain */
};
typedef struct { uint16_t magic, runs; uint32_t records; uint64_t base_ms; uint32_t octets, endpoint; } log_header;
typedef struct { uint64_t id; uint16_t run, endpoint; uint32_t zero; } log_run;
typedef struct { uint8_t kind, part, state, id_octets; uint32_t rank; uint16_t run, delta_ms; uint32_t status; } log_record;
typedef struct { uint8_t kind, pool; uint16_t again; uint32_t first_rank; uint16_t run, delta_ms; uint32_t count; uint64_t claim_no; } log_claim;
#define PAD8(n) (((n) + 7) & ~(size_t)7)
/* octets of the record at p, or 0 when it does not fit in what is left */
static inline size_t log_record_octets(const uint8_t *p, size_t left) {
    if (left < sizeof(log_record)) return 0;
    size_t n;
    if (p[0] == K_CLAIM) {
        const log_claim *c = (const log_claim *)p;
        if (left < sizeof(log_claim)) return 0;
        n = sizeof(log_claim) + PAD8((size_t)c->count) + PAD8(4 * (size_t)c->count);
    } else n = sizeof(log_record) + PAD8((size_t)p[3]) + (p[0] == K_HELD ? 8 : 0);
    return n <= left ? n : 0;
}
#endif
