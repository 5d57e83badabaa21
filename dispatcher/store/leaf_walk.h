/* A table of an LMDB store read in key order from its root, without a call a row: for immutable snapshots only.
 *
 * Rests on: LMDB 0.9, data format 1 (mdb.c MDB_page, MDB_node, MDB_db, MDB_meta), which no 0.9 may change. A page is
 * number u64, pad u16, flags u16 (1 branch, 2 leaf), end of the node table u16, two more octets, the table of u16 from 16.
 * A node is low u16, high u16, flags u16, key octets u16, key, value: in a leaf low and high are the value's octets and
 * flag 1 says that the value is a page number u64, behind whose header of 16 octets it lies; in a branch low, high, flags
 * are the child's number and the first key counts as less than all. A table's record in the main table is pad u32,
 * flags u16, depth u16, three counts u64, entries u64, root u64. Page 0 has 0xBEEFC0DE at 16.
 * What does not look so ends the walk with LW_BAD, and the caller reads through a cursor.
 */
#ifndef VOLLEY_LEAF_WALK_H
#define VOLLEY_LEAF_WALK_H

#include <stdint.h>
#include <string.h>

enum { LW_DEPTH = 32, LW_HEAD = 16, LW_BRANCH = 1, LW_LEAF = 2, LW_RECORD = 48, LW_BAD = -1 };

typedef struct {
    const uint8_t *base;
    uint64_t page_octets;
    int depth;                     /* pages from the root to the leaf at hand; 0: the walk is over */
    const uint8_t *page[LW_DEPTH];
    uint32_t at[LW_DEPTH];         /* the node at hand in each */
} leaf_walk;

typedef struct {
    const uint8_t *key, *value;
    uint32_t key_octets, octets;
} leaf_row;

static inline uint32_t lw_u16(const uint8_t *p) { uint16_t n; memcpy(&n, p, 2); return n; }
static inline uint32_t lw_u32(const uint8_t *p) { uint32_t n; memcpy(&n, p, 4); return n; }
static inline uint64_t lw_u64(const uint8_t *p) { uint64_t n; memcpy(&n, p, 8); return n; }
static inline uint32_t lw_nodes(const uint8_t *page) { return (lw_u16(page + 12) - LW_HEAD) / 2; }
static inline const uint8_t *lw_node(const uint8_t *page, uint32_t at) { return page + lw_u16(page + LW_HEAD + 2 * at); }

static inline uint64_t lw_child(const uint8_t *page, uint32_t at) {
    const uint8_t *node = lw_node(page, at);
    return lw_u32(node) | (uint64_t)lw_u16(node + 4) << 32;
}

static inline void lw_fetch(const leaf_walk *w, uint64_t number) { /* all of a page is read soon */
    const uint8_t *page = w->base + number * w->page_octets;
    for (uint64_t i = 0; i < w->page_octets; i += 64) __builtin_prefetch(page + i);
}

/* one page further down, at its first node */
static int lw_enter(leaf_walk *w, uint64_t number) {
    const uint8_t *page = w->base + number * w->page_octets;
    if (w->depth == LW_DEPTH || lw_u64(page) != number) return LW_BAD;
    const uint32_t kind = lw_u16(page + 10) & 0xFF, end = lw_u16(page + 12);
    if ((kind != LW_BRANCH && kind != LW_LEAF) || end < LW_HEAD + 2 || end > w->page_octets || end & 1) return LW_BAD;
    for (uint32_t n = 0; n < lw_nodes(page); n++)
        if (lw_u16(page + LW_HEAD + 2 * n) > w->page_octets - 8) return LW_BAD;
    w->page[w->depth] = page;
    w->at[w->depth++] = 0;
    return kind;
}

static int lw_below(const uint8_t *node, const uint8_t *key, uint32_t octets) {
    const uint32_t have = lw_u16(node + 6), both = have < octets ? have : octets;
    const int order = memcmp(node + 8, key, both);
    return order < 0 || (order == 0 && have < octets);
}

/* from the page at hand down to its first leaf; the leaves after it are asked for */
static int lw_down(leaf_walk *w) {
    for (;;) {
        const uint8_t *page = w->page[w->depth - 1];
        const uint32_t at = w->at[w->depth - 1];
        if ((lw_u16(page + 10) & 0xFF) == LW_LEAF) return LW_LEAF;
        if (at + 1 < lw_nodes(page)) lw_fetch(w, lw_child(page, at + 1));
        if (lw_enter(w, lw_child(page, at)) < 0) return LW_BAD;
    }
}

/* Begins at the first row whose key is not below `key`. record: the table's, in the snapshot's own main table, where it
 * lies in the map. 0, or LW_BAD. */
static int lw_seek(leaf_walk *w, const uint8_t *record, uint64_t page_octets, const uint8_t *key, uint32_t octets) {
    const uint8_t *main_page = record - ((uintptr_t)record & (page_octets - 1));
    memset(w, 0, sizeof *w);
    w->page_octets = page_octets;
    w->base = main_page - lw_u64(main_page) * page_octets;
    if ((lw_u16(main_page + 10) & 0xFF) != LW_LEAF || lw_u32(w->base + LW_HEAD) != 0xBEEFC0DE) return LW_BAD;
    const uint64_t root = lw_u64(record + 40);
    if (root == UINT64_MAX) return 0; /* an empty table */
    for (uint64_t number = root;;) {
        const int kind = lw_enter(w, number);
        if (kind < 0) return LW_BAD;
        const uint8_t *page = w->page[w->depth - 1];
        uint32_t low = kind == LW_BRANCH, high = lw_nodes(page); /* the first that is not below */
        while (low < high) {
            const uint32_t middle = (low + high) / 2;
            if (lw_below(lw_node(page, middle), key, octets)) low = middle + 1;
            else high = middle;
        }
        if (kind == LW_LEAF) {
            w->at[w->depth - 1] = low;
            return 0;
        }
        const uint8_t *found = low < lw_nodes(page) ? lw_node(page, low) : NULL;
        const int same = found && lw_u16(found + 6) == octets && !memcmp(found + 8, key, octets);
        w->at[w->depth - 1] = same ? low : low - 1;
        number = lw_child(page, w->at[w->depth - 1]);
    }
}

/* 1 and the next row, 0 at the table's end, or LW_BAD */
static int lw_next(leaf_walk *w, leaf_row *row) {
    while (w->depth) {
        const int top = w->depth - 1;
        const uint8_t *page = w->page[top];
        if (w->at[top] == lw_nodes(page)) { /* up to a branch that has more, and down again */
            w->depth--;
            if (w->depth && ++w->at[w->depth - 1] < lw_nodes(w->page[w->depth - 1]) && lw_down(w) < 0) return LW_BAD;
            continue;
        }
        const uint8_t *node = lw_node(page, w->at[top]++);
        row->key = node + 8;
        row->key_octets = lw_u16(node + 6);
        row->octets = lw_u32(node);
        row->value = row->key + row->key_octets;
        const int64_t left = page + w->page_octets - row->value;
        if (lw_u16(node + 4) & 1) {
            if (left < 8) return LW_BAD;
            row->value = w->base + lw_u64(row->value) * w->page_octets + LW_HEAD;
        } else if (left < (int64_t)row->octets) return LW_BAD;
        return 1;
    }
    return 0;
}

#endif
