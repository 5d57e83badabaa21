/* A flood of messages from phones: which of them may be refused without anybody having looked at it. What might opt out,
 * is a receipt or cannot be read may not: that is Python's to decide (outcomes/flood.py). Never wrong to the other side;
 * meaning: tests/reference/mo.py. */
#ifndef VOLLEY_MO_H
#define VOLLEY_MO_H
#include <stdint.h>
#include <string.h>
enum { MO_WORDS = 128, MO_LETTERS = 16 };
static uint16_t mo_words[MO_WORDS][MO_LETTERS]; /* first words of opt-outs, lower case, NUL behind */
static uint32_t mo_word_count;

static int mo_word_add(const uint16_t *word, uint32_t letters) {
    if (mo_word_count == MO_WORDS || letters >= MO_LETTERS) return -1;
    memset(mo_words[mo_word_count], 0, sizeof mo_words[0]);
    memcpy(mo_words[mo_word_count++], word, 2 * letters);
    return 0;
}
/* Between words: blanks and what ends a word in outcomes/inbound.py. */
static inline int mo_ends(uint32_t c) { return c == 32 || (c >= 9 && c <= 13) || c == ',' || c == '.' || c == ';' || c == ':' || c == '!'; }
/* Around a text: what market.plain() takes away, as far as it is ASCII. */
static inline int mo_strips(uint32_t c) { return mo_ends(c) || c == '?' || c == '\'' || c == '"' || c == '(' || c == ')' || c == '[' || c == ']'; }
/* 0: it might begin with an opt-out word. */
static int mo_other_word(const uint8_t *text, uint32_t octets, int wide) {
    uint16_t word[MO_LETTERS];
    uint32_t letters = 0, at = 0, step = wide ? 2 : 1;
    for (; at + step <= octets; at += step) {
        uint32_t c = wide ? (uint32_t)text[at] << 8 | text[at + 1] : text[at];
        if (c >= 'A' && c <= 'Z') c += 32;
        if (!letters && mo_strips(c)) continue;
        if (letters && mo_ends(c)) break;
        /* what is neither plain ASCII nor an ideograph may be another way to write a letter or a blank */
        if (c < 32 || (c >= 127 && !(c >= 0x4E00 && c <= 0x9FFF && wide))) return 0;
        if (letters == MO_LETTERS) return 1; /* longer than any */
        word[letters++] = (uint16_t)c;
    }
    while (letters && mo_strips(word[letters - 1])) letters--;
    if (!letters) return 0;
    for (uint32_t i = 0; i < mo_word_count; i++) {
        uint32_t k = 0;
        while (k < letters && k < MO_LETTERS && mo_words[i][k] == word[k]) k++;
        if (k == letters && (k == MO_LETTERS || !mo_words[i][k])) return 0;
    }
    return 1;
}
/* 1: this deliver_sm is a message from a phone and no opt-out. */
static int mo_may_be_refused(const uint8_t *p, uint32_t n) {
    static const uint8_t longest[] = {6, 21, 21};
    const uint8_t *q = p + 16, *e = p + n;
    if (!mo_word_count) return 0; /* nobody said what opts out */
    for (int i = 0; i < 3; i++) { /* service_type; source_addr and destination_addr behind ton and npi */
        if (i) q += 2;
        if (q >= e) return 0;
        const uint8_t *nul = memchr(q, 0, (size_t)(e - q) < longest[i] ? (size_t)(e - q) : longest[i]);
        if (!nul) return 0;
        q = nul + 1;
    }
    if (e - q < 10 || q[3] || q[4]) return 0; /* a time: not the common form */
    uint8_t esm_class = q[0], data_coding = q[7], octets = q[9];
    const uint8_t *text = q + 10;
    if ((esm_class & 0x3C) || !octets || e - text < octets) return 0;
    if (esm_class & 0x40) { /* a part of a long one: what stands behind its header */
        if (text[0] + 1u >= octets) return 0;
        octets = (uint8_t)(octets - text[0] - 1);
        text += text[0] + 1;
    }
    int wide = data_coding == 8 || (data_coding & 0xEC) == 0x08 || data_coding >> 4 == 0xE;
    if (!wide && data_coding > 3 && data_coding < 0xF0) return 0; /* an alphabet that is not ASCII's */
    return mo_other_word(text, octets, wide);
}
#endif
