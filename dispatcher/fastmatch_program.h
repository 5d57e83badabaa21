/* A matching program: its octets, how they are read, and what is checked before any of it runs.
 *
 * program       header:32  instructions:16 each  constants
 * header        magic:4 "VFM1"  instructions:4  depth:4  columns:4  tallies:4  zero:12
 * instruction   op:1  kind:1  column:2  count:4  at:4  arg:4        (little-endian; `at` counts from the program's start)
 * arg           planes: a mask in bits 0..7; const: bit 0; column tests: bit 8, FM_WITHIN: only slots set in the bitmap
 *               on top are asked, the others answer no. Where few are left this costs little, however dear the test.
 * live          plane 0 of its column, without the slots that the caller says have changed
 * buckets       constants seed:8 low:8 span:8: the hash of seed + member_no lies in low .. low + span
 * skip          where the top is empty, the next `count` instructions are passed over; they leave the stack's height as it is
 */
#ifndef VOLLEY_FASTMATCH_PROGRAM_H
#define VOLLEY_FASTMATCH_PROGRAM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fastmatch_plain.h"

enum { FM_SLOTS_MAX = 16320, FM_WORDS_MAX = FM_SLOTS_MAX / 64, FM_HEADER = 32, FM_INSTRUCTION = 16, FM_DEPTH_MAX = 1024 };
enum { FM_FEW = 8 };        /* up to here ranges are compared one by one; above, a table or a binary search */
enum { FM_SPARSE = 512 };    /* below (octets read densely) / 512, one set bit in 8 cache lines, asking each is sooner (measured) */
enum { FM_WITHIN = 0x100 };
enum { FM_U8 = 1, FM_U16, FM_I32, FM_I64, FM_U64, FM_PLANES, FM_TEXT };
enum {
    FM_CONST = 0, FM_RANGES, FM_TABLE, FM_PLANES_ANY, FM_PLANES_ALL,
    FM_TEXT_IN, FM_TEXT_CONTAINS, FM_TEXT_STARTS, FM_TEXT_ENDS, FM_TEXT_KNOWN, FM_BUCKETS, FM_LIVE,
    FM_AND = 16, FM_OR, FM_AND_NOT, FM_NOT, FM_DROP, FM_TALLY, FM_TALLY_CUT, FM_SKIP
};
enum { FM_OK = 0, FM_BAD_PROGRAM = -1, FM_BAD_ARRAY = -2, FM_BAD_TEXT = -3, FM_NO_MEMORY = -4, FM_BAD_CHANGE = -5 };

static const uint8_t fm_width[8] = {0, 1, 2, 4, 8, 8, 1, 4};

/* slots: what the array holds; the planes of a PLANES array are slots / 8 octets apart */
typedef struct { const uint8_t *data; int64_t octets; uint32_t slots, zoned; uint64_t low, high; const uint8_t *derived; } fm_array;
typedef struct { uint32_t op, kind, column, count, at, arg; } fm_step;
typedef struct { uint8_t kind, planes; } fm_use; /* how a program uses a column */
typedef struct {
    const uint8_t *octets;
    fm_step *steps;
    fm_use *uses;
    int64_t count, depth, columns, tallies, live; /* live: the column of FM_LIVE, or -1 */
} fm_program;

/* What a step of ranges asks of codes instead of numbers: `sure` codes hold only numbers inside, `maybe` ones some.
 * As pairs of octets-wide ranges, so that the loop for 8 bits answers them. count 0 of both: nobody. */
typedef struct { uint8_t sure[16 * FM_FEW], maybe[16 * FM_FEW]; uint32_t sures, maybes, use; } fm_coded;

/* what one run is given beside the program */
typedef struct {
    const fm_loops *loops;
    const fm_array *arrays;
    int words;
    const uint64_t *changed;   /* slots that FM_LIVE leaves out, or NULL */
    const uint8_t *numbers;    /* member_no u32 a slot, or NULL: counted from `first` */
    uint32_t first;
    uint64_t *stack;           /* depth x FM_WORDS_MAX; the answer is its first bitmap */
    uint64_t *tallies, *zoned; /* zoned: by step, the blocks that a zone map answered; or NULL */
    const fm_coded *coded;     /* by step, or NULL */
} fm_input;

/* ---- reading and checking a program ---- */

static int fm_check_step(const uint8_t *program, int64_t octets, const fm_step *s, fm_program *p) {
    int64_t constants = 0, count = s->count;
    switch (s->op) {
    case FM_RANGES:
        if (s->kind < FM_U8 || s->kind > FM_U64 || !count) return FM_BAD_PROGRAM;
        constants = 16 * count;
        break;
    case FM_TABLE:
        if ((s->kind != FM_U8 && s->kind != FM_U16) || !count || (s->kind == FM_U8 && count > 256)) return FM_BAD_PROGRAM;
        constants = (count + 511) / 512 * 64;
        break;
    case FM_PLANES_ANY: case FM_PLANES_ALL: case FM_LIVE:
        if (s->kind != FM_PLANES) return FM_BAD_PROGRAM;
        break;
    case FM_TEXT_IN: case FM_TEXT_CONTAINS: case FM_TEXT_STARTS: case FM_TEXT_ENDS: case FM_TEXT_KNOWN:
        if (s->kind != FM_TEXT || (!count && s->op != FM_TEXT_KNOWN)) return FM_BAD_PROGRAM;
        constants = s->op == FM_TEXT_KNOWN ? 0 : s->op == FM_TEXT_IN ? 8 * count : count;
        break;
    case FM_BUCKETS: constants = 24; break;
    default: return s->op == FM_CONST ? FM_OK : FM_BAD_PROGRAM;
    }
    if ((int64_t)s->at + constants > octets) return FM_BAD_PROGRAM;
    if (s->op == FM_TEXT_IN)
        for (int64_t i = 0; i < count; i++) {
            const uint8_t *needle = program + s->at + 8 * i;
            if ((int64_t)fm_u32(needle) + fm_u32(needle + 4) > octets) return FM_BAD_PROGRAM;
        }
    if (s->op == FM_BUCKETS) return FM_OK;
    if ((int64_t)s->column + (s->kind == FM_TEXT ? 2 : 0) >= p->columns) return FM_BAD_PROGRAM;
    fm_use *use = p->uses + s->column;
    if (use->kind && use->kind != s->kind) return FM_BAD_PROGRAM;
    use->kind = (uint8_t)s->kind;
    if (s->kind == FM_PLANES) use->planes |= s->op == FM_LIVE ? 1 : (uint8_t)s->arg;
    if (s->op == FM_LIVE) {
        if (p->live >= 0 && p->live != s->column) return FM_BAD_PROGRAM;
        p->live = s->column;
    }
    return FM_OK;
}

/* the stack's height after each instruction is known before any runs: none underflows, skips land level, one is left */
static int fm_check_heights(const fm_program *p) {
    uint32_t *due = calloc((size_t)p->count + 1, sizeof *due); /* height + 1 that a skip expects there */
    int64_t top = 0;
    int result = due ? FM_OK : FM_NO_MEMORY;
    for (int64_t n = 0; n < p->count && result == FM_OK; n++) {
        const fm_step *s = p->steps + n;
        if (due[n] && due[n] != top + 1) { result = FM_BAD_PROGRAM; break; }
        int64_t needs = 0, change = 0;
        switch (s->op) {
        case FM_AND: case FM_OR: case FM_AND_NOT: case FM_TALLY_CUT: needs = 2; change = -1; break;
        case FM_NOT: case FM_TALLY: needs = 1; break;
        case FM_DROP: needs = 1; change = -1; break;
        case FM_SKIP:
            needs = 1;
            if (n + 1 + (int64_t)s->count > p->count || (due[n + 1 + s->count] && due[n + 1 + s->count] != top + 1)) result = FM_BAD_PROGRAM;
            else due[n + 1 + s->count] = (uint32_t)top + 1;
            break;
        default: needs = s->arg & FM_WITHIN ? 1 : 0; change = 1;
        }
        if ((s->op == FM_TALLY || s->op == FM_TALLY_CUT) && s->count >= p->tallies) result = FM_BAD_PROGRAM;
        if (top < needs || top + change > p->depth) result = FM_BAD_PROGRAM;
        top += change;
    }
    if (result == FM_OK && (top != 1 || (due[p->count] && due[p->count] != 2))) result = FM_BAD_PROGRAM;
    free(due);
    return result;
}

static void fm_close(fm_program *p) {
    free(p->steps);
    free(p->uses);
}

/* after FM_OK or not: fm_close */
static int fm_open(const uint8_t *octets, int64_t length, fm_program *p) {
    memset(p, 0, sizeof *p);
    if (length < FM_HEADER || memcmp(octets, "VFM1", 4)) return FM_BAD_PROGRAM;
    p->octets = octets;
    p->count = fm_u32(octets + 4);
    p->depth = fm_u32(octets + 8);
    p->columns = fm_u32(octets + 12);
    p->tallies = fm_u32(octets + 16);
    p->live = -1;
    if (FM_HEADER + p->count * FM_INSTRUCTION > length || p->depth < 1 || p->depth > FM_DEPTH_MAX) return FM_BAD_PROGRAM;
    if (p->columns > 65538 || p->tallies > 65536) return FM_BAD_PROGRAM;
    p->steps = malloc((size_t)(p->count + 1) * sizeof *p->steps);
    p->uses = calloc((size_t)p->columns + 1, sizeof *p->uses);
    if (!p->steps || !p->uses) return FM_NO_MEMORY;
    for (int64_t n = 0; n < p->count; n++) {
        const uint8_t *at = octets + FM_HEADER + n * FM_INSTRUCTION;
        const fm_step s = {at[0], at[1], fm_u16(at + 2), fm_u32(at + 4), fm_u32(at + 8), fm_u32(at + 12)};
        p->steps[n] = s;
        const int result = s.op >= FM_AND ? (s.op <= FM_SKIP ? FM_OK : FM_BAD_PROGRAM) : fm_check_step(octets, length, &s, p);
        if (result != FM_OK) return result;
    }
    return fm_check_heights(p);
}

/* whether every array is as long as `slots` ask for */
static int fm_check_arrays(const fm_program *p, const fm_array *arrays, int64_t count, int slots) {
    if (count < p->columns) return FM_BAD_ARRAY;
    for (int64_t c = 0; c < p->columns; c++) {
        const int kind = p->uses[c].kind;
        const int64_t needed = (int64_t)fm_width[kind] * slots;
        if (arrays[c].octets < needed || (kind == FM_TEXT && arrays[c + 1].octets < needed)) return FM_BAD_ARRAY;
    }
    return FM_OK;
}

#endif
