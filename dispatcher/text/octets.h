/* Characters to short_message octets, and where a long text is cut: shared by text/_octets and campaigns/_render.
 *
 * The table of the default alphabet is filled from text/alphabet.py when a kernel is imported: one octet, or
 * 0x1B00 | octet for an extension pair, or GSM_NONE. NUL, ESC and surrogates stand there as a space.
 */
#ifndef VOLLEY_OCTETS_H
#define VOLLEY_OCTETS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define GSM_NONE 0xFFFF
#define GSM_CODES 0x400    /* Latin-1 and Greek; above it only the euro sign is in the alphabet */
#define MAX_PARTS 255      /* the UDH counts in one octet */
enum { PUT_NOT_GSM = -1, PUT_OVERFLOW = -2 };
static uint16_t gsm_codes[GSM_CODES], gsm_euro = GSM_NONE;
static uint8_t gsm_plain[256]; /* an octet of ASCII to its septet; 0x80 where it takes more than that */

static inline void gsm_clear(void) {
    for (int i = 0; i < GSM_CODES; i++) gsm_codes[i] = GSM_NONE;
    memset(gsm_plain, 0x80, sizeof gsm_plain);
    gsm_codes[0] = gsm_codes[0x1B] = gsm_plain[0] = gsm_plain[0x1B] = ' ';
}
/* 0, or -1 when the character lies where this table has no room */
static inline int gsm_set(uint32_t code, uint16_t value) {
    if (code < 0x80 && value < 0x80) gsm_plain[code] = (uint8_t)value;
    if (code < GSM_CODES) gsm_codes[code] = value;
    else if (code == 0x20AC) gsm_euro = value;
    else return -1;
    return 0;
}
static inline uint16_t gsm_of(uint32_t code) {
    if (code < GSM_CODES) return gsm_codes[code];
    if (code == 0x20AC) return gsm_euro;
    return code >= 0xD800 && code <= 0xDFFF ? ' ' : GSM_NONE;
}
static inline int gsm_put(uint32_t code, uint8_t *w) {
    uint16_t g = gsm_of(code);
    if (g < 0x80) { w[0] = (uint8_t)g; return 1; }
    if (g == GSM_NONE) return PUT_NOT_GSM;
    w[0] = 0x1B; w[1] = (uint8_t)g;
    return 2;
}
static inline int ucs2_put(uint32_t code, uint8_t *w) {
    if (code == 0 || code == 0x1B || (code >= 0xD800 && code <= 0xDFFF)) code = ' ';
    if (code < 0x10000) { w[0] = (uint8_t)(code >> 8); w[1] = (uint8_t)code; return 2; }
    code -= 0x10000;
    uint32_t high = 0xD800 | code >> 10, low = 0xDC00 | (code & 0x3FF);
    w[0] = (uint8_t)(high >> 8); w[1] = (uint8_t)high; w[2] = (uint8_t)(low >> 8); w[3] = (uint8_t)low;
    return 4;
}

/* Octets of leading ASCII. */
static inline size_t ascii_octets(const uint8_t *s, size_t n) {
    size_t i = 0;
    for (uint64_t word; i + 8 <= n; i += 8) {
        memcpy(&word, s + i, 8);
        if (word & 0x8080808080808080u) break;
    }
    while (i < n && s[i] < 0x80) i++;
    return i;
}
/* 1 when s is UTF-8 (RFC 3629), surrogates let through: they become spaces, as in a Python text. */
static inline int utf8_valid(const uint8_t *s, size_t n) {
    size_t i = ascii_octets(s, n);
    while (i < n) {
        uint8_t c = s[i];
        if (c < 0x80) { i++; continue; }
        size_t more = c >= 0xC2 && c < 0xE0 ? 1 : c >= 0xE0 && c < 0xF0 ? 2 : c >= 0xF0 && c < 0xF5 ? 3 : 0;
        if (!more || n - i <= more) return 0;
        uint8_t d = s[i + 1];
        if ((c == 0xE0 && d < 0xA0) || (c == 0xF0 && d < 0x90) || (c == 0xF4 && d > 0x8F)) return 0;
        for (size_t k = 1; k <= more; k++) if ((s[i + k] & 0xC0) != 0x80) return 0;
        i += more + 1;
    }
    return 1;
}
/* The next code of valid UTF-8. */
static inline uint32_t utf8_next(const uint8_t **at) {
    const uint8_t *s = *at;
    uint32_t c = s[0];
    if (c < 0x80) { *at = s + 1; return c; }
    if (c < 0xE0) { *at = s + 2; return (c & 0x1F) << 6 | (s[1] & 0x3F); }
    if (c < 0xF0) { *at = s + 3; return (c & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F); }
    *at = s + 4;
    return (c & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3F);
}
/* Valid UTF-8, at most `max` characters of it (0: all), into w..end: octets written or PUT_NOT_GSM, PUT_OVERFLOW. */
static inline long put_utf8(const uint8_t *s, size_t n, uint32_t max, int ucs2, uint8_t *w, const uint8_t *end) {
    const uint8_t *stop = s + n;
    uint8_t *first = w, seen = 0;
    if (!ucs2 && n <= (size_t)(end - w) && (!max || n <= max)) { /* nearly always: one septet an octet */
        for (size_t i = 0; i < n; i++) seen |= w[i] = gsm_plain[s[i]];
        if (seen < 0x80) return (long)n;
    }
    for (uint32_t taken = 0; s < stop && (!max || taken < max); taken++) {
        uint8_t pair[4];
        uint32_t code = utf8_next(&s);
        int octets = ucs2 ? ucs2_put(code, pair) : gsm_put(code, pair);
        if (octets < 0) return PUT_NOT_GSM;
        if (end - w < octets) return PUT_OVERFLOW;
        memcpy(w, pair, (size_t)octets);
        w += octets;
    }
    return w - first;
}

/* Octets that one part holds: 160 septets or 70 units alone, 153 or 67 behind a UDH of six. */
static inline uint32_t part_octets(int ucs2, int alone) { return ucs2 ? (alone ? 140 : 134) : (alone ? 160 : 153); }
/* Most octets that `max` parts could hold: a longer text is over the limit whatever its cuts. */
static inline uint32_t limit_octets(int ucs2, uint32_t max) {
    return max == 1 ? part_octets(ucs2, 1) : max * part_octets(ucs2, 0);
}
/* Where each part of an encoded text ends; how many there are, 0 for more than `max`. Never cuts a pair of
 * ESC and octet nor of surrogates, so a part may be one short. `ends` has room for `max`. */
static inline uint32_t cut_parts(const uint8_t *text, uint32_t octets, int ucs2, uint32_t max, uint32_t *ends) {
    if (octets <= part_octets(ucs2, 1)) { ends[0] = octets; return max ? 1 : 0; }
    uint32_t step = part_octets(ucs2, 0), parts = 0, at = 0;
    while (at < octets) {
        if (parts == max) return 0;
        if (octets - at > step) {
            at += step;
            if (ucs2) { if ((text[at - 2] & 0xFC) == 0xD8) at -= 2; }
            else if (text[at - 1] == 0x1B) at--;
        } else at = octets;
        ends[parts++] = at;
    }
    return parts;
}
static inline void put_udh(uint8_t *w, uint8_t reference, uint8_t parts, uint8_t part) {
    w[0] = 5; w[1] = 0; w[2] = 3; w[3] = reference; w[4] = parts; w[5] = part;
}
#endif
