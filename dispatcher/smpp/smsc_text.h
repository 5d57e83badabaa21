/* Numbers and octets as text: what a log line, a message_id and a receipt are written with.
 *
 * Decimal is the simulator's dearest step after the system calls: eight digits at a time, two by a look-up.
 */
#ifndef VOLLEY_SMSC_TEXT_H
#define VOLLEY_SMSC_TEXT_H
#include <stdint.h>
#include <string.h>
#define ID_OCTETS_MAX 24u /* above any form of an id: "9000" and 20 digits */

/* Forms of an id, as smsc_options.py numbers them. */
enum { ID_DECIMAL, ID_HEX, ID_HEX_UPPER, ID_PADDED, ID_HEX_PADDED, ID_LONG };

static const char two_digits[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static inline uint8_t *put(uint8_t *p, const void *from, size_t n) { memcpy(p, from, n); return p + n; }
static inline void put_eight(uint8_t *p, uint32_t v) { /* v below 10^8 */
    uint32_t high = v / 10000, low = v % 10000;
    memcpy(p, two_digits + high / 100 * 2, 2);
    memcpy(p + 2, two_digits + high % 100 * 2, 2);
    memcpy(p + 4, two_digits + low / 100 * 2, 2);
    memcpy(p + 6, two_digits + low % 100 * 2, 2);
}
static inline uint8_t *put_short(uint8_t *p, uint32_t v) { /* v below 10^8, no leading zeros */
    uint8_t digits[8];
    int skip = v >= 10000000 ? 0 : v >= 1000000 ? 1 : v >= 100000 ? 2 : v >= 10000 ? 3 : v >= 1000 ? 4 : v >= 100 ? 5 : v >= 10 ? 6 : 7;
    put_eight(digits, v);
    for (int i = skip; i < 8; i++) *p++ = digits[i];
    return p;
}
static uint8_t *put_decimal(uint8_t *p, uint64_t v) {
    if (v < 100000000u) return put_short(p, (uint32_t)v);
    uint64_t high = v / 100000000u;
    if (high < 100000000u) p = put_short(p, (uint32_t)high);
    else {
        p = put_short(p, (uint32_t)(high / 100000000u));
        put_eight(p, (uint32_t)(high % 100000000u));
        p += 8;
    }
    put_eight(p, (uint32_t)(v % 100000000u));
    return p + 8;
}
static uint8_t *put_hex(uint8_t *p, uint64_t v, int least, const char *digits) {
    int n = v ? (67 - __builtin_clzll(v)) / 4 : 1;
    for (n = n < least ? least : n; n--;) *p++ = n < 16 ? (uint8_t)digits[v >> 4 * n & 15] : '0';
    return p;
}
static uint8_t *put_padded(uint8_t *p, uint64_t v) { /* 20 digits */
    uint8_t digits[20], *end = put_decimal(digits, v);
    memset(p, '0', 20);
    memcpy(p + 20 - (end - digits), digits, end - digits);
    return p + 20;
}
static uint8_t *put_id(uint8_t *p, uint64_t id, int form) {
    switch (form) {
    case ID_DECIMAL: return put_decimal(p, id);
    case ID_HEX: return put_hex(p, id, 1, "0123456789abcdef");
    case ID_HEX_UPPER: return put_hex(p, id, 1, "0123456789ABCDEF");
    case ID_HEX_PADDED: return put_hex(p, id, 20, "0123456789ABCDEF");
    case ID_PADDED: return put_padded(p, id);
    default: return put_padded(put(p, "9000", 4), id); /* above 64 bits in decimal */
    }
}
static inline uint8_t *put_shown(uint8_t *p, const uint8_t *from, size_t n) { /* no tab or line end of a peer's gets into the log */
    for (size_t i = 0; i < n; i++) *p++ = from[i] > 0x20 && from[i] < 0x7F ? from[i] : '?';
    return p;
}
#endif
