# batch.h and outcome_log.h for every kernel that cimports them; what the fields mean stands there.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "batch.h" nogil:
    ctypedef struct part_row:
        uint64_t destination
        uint32_t rank, octets_at, text_hash
        uint16_t octets
        uint8_t part, parts, esm_class, data_coding, decision, tries
        uint32_t slot
        uint8_t skip, told
        uint16_t ref
        uint32_t since_s

cdef extern from "outcome_log.h" nogil:
    enum: LOG_MAGIC, LOG_RUNS
    enum: K_CLAIM, K_ACCEPTED, K_REFUSED, K_RETRY, K_RELEASED, K_UNCERTAIN, K_RECEIPT, K_HELD, K_SKIPPED, K_SETTLED
    ctypedef struct log_header:
        uint16_t magic, runs
        uint32_t records
        uint64_t base_ms
        uint32_t octets, endpoint
    ctypedef struct log_run:
        uint64_t id
        uint16_t run, endpoint
        uint32_t zero
    ctypedef struct log_record:
        uint8_t kind, part, state, id_octets
        uint32_t rank
        uint16_t run, delta_ms
        uint32_t status
    ctypedef struct log_claim:
        uint8_t kind, pool
        uint16_t again
        uint32_t first_rank
        uint16_t run, delta_ms
        uint32_t count
        uint64_t claim_no
    size_t PAD8(size_t)
    size_t log_record_octets(const uint8_t *p, size_t left)
