/* Characters to short_message octets, and where a long text is cut: shared by text/_octets and campaigns/_render.
 *
 * An alphabet is a table filled by text/coding.py (GSM 7-bit, its national ones, Latin-1, ASCII, with or without
 * look-alikes) or UCS-2. A character's code there: one octet; 0x1B00 | octet, a pair; EXPANDED | index into what stands
 * for it; or NONE_OF_IT. NUL, ESC and surrogates are spaces. Meaning: tests/reference/coding.py.
 */
#ifndef VOLLEY_OCTETS_H
#define VOLLEY_OCTETS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define NONE_OF_IT 0xFFFF
#define EXPANDED 0xE000
#define EXPANSIONS 1024    /* at most; 543 in text/transliterate.py */
#define MET_WORDS (EXPANSIONS / 64)
#define CODES 0x2300       /* every character of a table but U+FEFF lies below */
#define MAX_PARTS 255      /* the UDH counts in one octet */
#define BREAKS 0x20000     /* characters whose break class is tabled; above: tags and variation selectors only */
enum { PUT_NOT_IN_IT = -1, PUT_OVERFLOW = -2 };
/* text/graphemes.py: what may stand on both sides of a cut */
enum { B_OTHER, B_EXTEND, B_ZWJ, B_SYMBOL, B_FLAG, B_CR, B_LF, B_L, B_V, B_T, B_LV, B_LVT };
enum { TOLD_UDH8, TOLD_UDH16, TOLD_SAR, TOLD_PAYLOAD }; /* how the parts of a long text are told */

typedef struct { uint8_t octets, text[7]; } expansion;
typedef struct {
    uint16_t codes[CODES], feff;
    uint8_t plain[256];            /* an octet of UTF-8 to its one septet; 0x80 where it takes more than that */
    uint8_t classes[2][256];       /* break class of a single octet, and of one behind ESC */
    const expansion *expansions;
    const uint8_t *breaks;
    uint32_t alone, each;          /* octets of text that one part holds, alone and among others */
    uint8_t ucs2, data_coding, elements, element[8]; /* elements of a UDH that name national tables, their octets */
    uint8_t packed;                /* its parts carry eight septets in seven octets */
} alphabet;
/* Tried in order; the last is UCS-2 where the endpoint takes that. `plain`: the one with look-alikes as it is without, for web addresses. */
typedef struct { const alphabet *of, *plain; uint32_t count; uint8_t told; } coder;

static inline uint16_t code_of(const alphabet *a, uint32_t code) {
    if (code < CODES) return a->codes[code];
    if (code >= 0xD800 && code <= 0xDFFF) return a->codes[0];
    return code == 0xFEFF ? a->feff : NONE_OF_IT;
}
/* `met`: a bit an expansion used, or NULL; w has room for 7 */
static inline int table_put(const alphabet *a, uint32_t code, uint8_t *w, uint64_t *met) {
    uint16_t g = code_of(a, code);
    if (g < 0x100) { w[0] = (uint8_t)g; return 1; }
    if (g < EXPANDED) { w[0] = 0x1B; w[1] = (uint8_t)g; return 2; }
    if (g == NONE_OF_IT) return PUT_NOT_IN_IT;
    const expansion *x = a->expansions + (g & 0xFFF);
    memcpy(w, x->text, sizeof x->text);
    if (met) met[(g & 0xFFF) >> 6] |= (uint64_t)1 << (g & 63);
    return x->octets;
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
/* Valid UTF-8, at most `max` characters of it (0: all), into w..end: octets written or PUT_NOT_IN_IT, PUT_OVERFLOW. */
static inline long put_utf8(const alphabet *a, const uint8_t *s, size_t n, uint32_t max, uint8_t *w, const uint8_t *end,
                            uint64_t *met) {
    const uint8_t *stop = s + n;
    uint8_t *first = w, seen = 0;
    if (!a->ucs2 && n <= (size_t)(end - w) && (!max || n <= max)) { /* nearly always: one septet an octet */
        for (size_t i = 0; i < n; i++) seen |= w[i] = a->plain[s[i]];
        if (seen < 0x80) return (long)n;
    }
    for (uint32_t taken = 0; s < stop && (!max || taken < max); taken++) {
        uint8_t put[8];
        uint32_t code = utf8_next(&s);
        int octets = a->ucs2 ? ucs2_put(code, put) : table_put(a, code, put, met);
        if (octets < 0) return PUT_NOT_IN_IT;
        if (end - w < octets) return PUT_OVERFLOW;
        memcpy(w, put, (size_t)octets);
        w += octets;
    }
    return w - first;
}
/* Whether the alphabet has all of it. */
static inline int fits_utf8(const alphabet *a, const uint8_t *s, size_t n, uint32_t max) {
    const uint8_t *stop = s + n;
    for (uint32_t taken = 0; !a->ucs2 && s < stop && (!max || taken < max); taken++)
        if (code_of(a, utf8_next(&s)) == NONE_OF_IT) return 0;
    return 1;
}

/* Most octets that `max` parts could hold: a longer text is over the limit whatever its cuts. */
static inline uint32_t limit_octets(const alphabet *a, uint32_t max) { return max == 1 ? a->alone : max * a->each; }

static inline uint32_t unit_at(const uint8_t *text, uint32_t at) { return (uint32_t)text[at] << 8 | text[at + 1]; }
static inline uint8_t break_class(const alphabet *a, uint32_t code) {
    if (code < BREAKS) {
        if (code >= 0xAC00 && code <= 0xD7A3) return (code - 0xAC00) % 28 ? B_LVT : B_LV;
        return a->breaks[code];
    }
    return (code >= 0xE0020 && code <= 0xE007F) || (code >= 0xE0100 && code <= 0xE01EF) ? B_EXTEND : B_OTHER;
}
/* Octets of the character that ends before `at` (> from), and its class. */
static inline uint32_t char_before(const alphabet *a, const uint8_t *text, uint32_t from, uint32_t at, uint8_t *class_) {
    if (!a->ucs2) {
        uint32_t pair = at - from > 1 && text[at - 2] == 0x1B;
        *class_ = a->classes[pair][text[at - 1]];
        return 1 + pair;
    }
    uint32_t code = unit_at(text, at - 2);
    if ((code & 0xFC00) == 0xDC00 && at - from > 3) {
        *class_ = break_class(a, 0x10000 + ((unit_at(text, at - 4) & 0x3FF) << 10 | (code & 0x3FF)));
        return 4;
    }
    *class_ = break_class(a, code);
    return 2;
}
static inline uint8_t class_after(const alphabet *a, const uint8_t *text, uint32_t octets, uint32_t at) {
    if (!a->ucs2) return text[at] == 0x1B && at + 1 < octets ? a->classes[1][text[at + 1]] : a->classes[0][text[at]];
    uint32_t code = unit_at(text, at);
    if ((code & 0xFC00) == 0xD800 && at + 4 <= octets) code = 0x10000 + ((code & 0x3FF) << 10 | (unit_at(text, at + 2) & 0x3FF));
    return break_class(a, code);
}
/* Whether a character of class `after` belongs to what stands before `at`. */
static inline int joined(const alphabet *a, const uint8_t *text, uint32_t at, uint8_t before, uint8_t after) {
    if (after == B_OTHER) return 0;
    if (before == B_CR) return after == B_LF;
    if (before == B_LF || after == B_CR || after == B_LF) return 0;
    if (after == B_EXTEND || after == B_ZWJ) return 1;
    if (before == B_ZWJ) return after == B_SYMBOL || after == B_FLAG;
    if (before == B_FLAG && after == B_FLAG) { /* two are a flag */
        uint32_t flags = 0;
        for (uint8_t class_; at && (at -= char_before(a, text, 0, at, &class_), class_ == B_FLAG);) flags++;
        return flags & 1;
    }
    if (before == B_L) return after == B_L || after == B_V || after == B_LV || after == B_LVT;
    if (before == B_V || before == B_LV) return after == B_V || after == B_T;
    return (before == B_T || before == B_LVT) && after == B_T;
}
/* Where a part that begins at `from` and could go on to `at` ends: before a character that has no room, nor within a
 * pair, nor within what people take for one character, unless that is longer than a part. */
static inline uint32_t cut_before(const alphabet *a, const uint8_t *text, uint32_t octets, uint32_t from, uint32_t at) {
    if (a->ucs2) { if ((text[at - 2] & 0xFC) == 0xD8) at -= 2; }
    else if (text[at - 1] == 0x1B) at--;
    uint8_t after = class_after(a, text, octets, at), before;
    for (uint32_t cut = at; cut > from; after = before) {
        uint32_t n = char_before(a, text, from, cut, &before);
        if (!joined(a, text, cut, before, after)) return cut;
        cut -= n;
    }
    return at;
}
/* Where each part of an encoded text ends; how many there are, 0 for more than `max`. `ends` has room for `max`. */
static inline uint32_t cut_parts(const alphabet *a, const uint8_t *text, uint32_t octets, uint32_t max, uint32_t *ends) {
    if (octets <= a->alone) { ends[0] = octets; return max ? 1 : 0; }
    uint32_t parts = 0, at = 0;
    while (at < octets) {
        if (parts == max) return 0;
        at = octets - at > a->each ? cut_before(a, text, octets, at, at + a->each) : octets;
        ends[parts++] = at;
    }
    return parts;
}
/* Characters of an encoded text as UTF-16 units: what some markets bill. */
static inline uint32_t units_of(const alphabet *a, const uint8_t *text, uint32_t octets) {
    if (a->ucs2) return octets / 2;
    uint32_t units = octets;
    for (const uint8_t *end = text + octets; (text = memchr(text, 0x1B, (size_t)(end - text))); text++) units--;
    return units;
}

/* The user data header of one of `parts`: its octets, 0 for none. w has room for 16. */
static inline uint32_t put_udh(const alphabet *a, int told, uint8_t *w, uint16_t reference, uint32_t parts, uint32_t part) {
    uint8_t *q = w + 1;
    if (parts > 1 && told != TOLD_SAR) {
        if (told == TOLD_UDH16) { *q++ = 8; *q++ = 4; *q++ = (uint8_t)(reference >> 8); }
        else { *q++ = 0; *q++ = 3; }
        *q++ = (uint8_t)reference; *q++ = (uint8_t)parts; *q++ = (uint8_t)part;
    }
    memcpy(q, a->element, sizeof a->element);
    q += a->elements;
    w[0] = (uint8_t)(q - w - 1);
    return w[0] ? (uint32_t)(q - w) : 0;
}

/* Bits between a header and the first septet, so that it begins at a multiple of seven (TS 23.040 9.2.3.24). */
static inline uint32_t fill_bits(uint32_t udh_octets) { return (7 - 8 * udh_octets % 7) % 7; }
/* Eight septets, the first in the lowest octet, as 56 bits. */
static inline uint64_t pack_eight(uint64_t s) {
    s = (s & 0x007F007F007F007F) | (s & 0x7F007F007F007F00) >> 1;
    s = (s & 0x00003FFF00003FFF) | (s & 0x3FFF00003FFF0000) >> 2;
    return (s & 0x0FFFFFFF) | (s & 0x0FFFFFFF00000000) >> 4;
}
/* n septets behind `bits` that are 0, packed; returns the octets. Seven bits left over are a CR, for 0 would be an @ (TS
 * 23.038 6.1.2.3.1). w has room for n + 8. */
static inline uint32_t pack_septets(uint8_t *w, const uint8_t *septets, uint32_t n, uint32_t bits) {
    const uint8_t *begin = w;
    uint64_t held = 0, eight;
    for (; n >= 8; n -= 8, septets += 8, w += 7) {
        memcpy(&eight, septets, 8);
        held |= pack_eight(eight) << bits;
        memcpy(w, &held, 8);
        held >>= 56;
    }
    for (; n; n--) {
        held |= (uint64_t)*septets++ << bits;
        bits += 7;
    }
    if (bits % 8 == 1) { held |= (uint64_t)'\r' << bits; bits += 7; }
    memcpy(w, &held, 8);
    return (uint32_t)(w - begin) + (bits + 7) / 8;
}
#endif
