/* The pump's small plain-C helpers: octets, hashes of message_ids, clocks. No state. */
#ifndef VOLLEY_PUMP_H
#define VOLLEY_PUMP_H
#include "message_id.h" /* hash_octets, hash_id */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static inline void put_u32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24); p[1] = (uint8_t)(v >> 16); p[2] = (uint8_t)(v >> 8); p[3] = (uint8_t)v;
}
static inline uint32_t get_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline uint64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static inline uint64_t epoch_ms(void) { return clock_ns(CLOCK_REALTIME) / 1000000u; }

/* decimal digits of v; returns how many */
static inline int put_decimal(uint8_t *out, uint64_t v) {
    uint8_t t[20];
    int k = 20;
    do { t[--k] = (uint8_t)('0' + v % 10); v /= 10; } while (v);
    memcpy(out, t + k, (size_t)(20 - k));
    return 20 - k;
}

/* which of 128 buckets a time falls into: four to a doubling, from a microsecond to two hours */
static inline int bucket_of(uint64_t ns) {
    uint64_t v = ns >> 10;
    if (v < 4) return (int)v;
    int e = 63 - __builtin_clzll(v);
    int i = 4 * (e - 1) + (int)(v >> (e - 2) & 3);
    return i < 128 ? i : 127;
}

/* our State of a receipt's seven letters: DELIVRD 4, EXPIRED 5, failed 6, UNKNOWN 7, 0 = not final, -1 = not in the table */
static inline int receipt_state(const uint8_t *p, size_t n) {
    static const struct { char word[8]; int state; } table[] = {
        {"DELIVRD", 4}, {"EXPIRED", 5}, {"UNDELIV", 6}, {"REJECTD", 6}, {"DELETED", 6}, {"FAILED", 6}, {"UNKNOWN", 7},
        {"ACCEPTD", 0}, {"ENROUTE", 0}, {"ACKED", 0}, {"BUFFERD", 0}, {"BUFFRED", 0}, {"SCHEDLD", 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].word) == n && !memcmp(p, table[i].word, n)) return table[i].state;
    return -1;
}
/* our State of the message_state TLV; -1 = not in the table */
static inline int tlv_state(int v) {
    static const int8_t table[10] = {0, 0, 4, 5, 6, 6, 0, 7, 6, 6};
    return v >= 0 && v < 10 ? table[v] : -1;
}
#endif
