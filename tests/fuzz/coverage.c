/* Where gcc's -fsanitize-coverage=trace-pc reports to: a map of edges, and how many of an input nobody had met before.
 * Preloaded, so that every kernel of the process finds it. One thread runs the inputs; others are not told apart.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define EDGES (1u << 18)
static uint8_t now[EDGES], met[EDGES];
static uintptr_t before;

void __sanitizer_cov_trace_pc(void) {
    uintptr_t at = (uintptr_t)__builtin_return_address(0);
    uint32_t edge = (uint32_t)((at ^ before ^ at >> 18) & (EDGES - 1));
    before = at << 1;
    if (now[edge] < 255) now[edge]++;
}
void coverage_begin(void) { memset(now, 0, EDGES); before = 0; }
/* counts in buckets 1, 2, 3-7, 8-31, 32 and up, as bits */
uint32_t coverage_fresh(void) {
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < EDGES; i++) {
        if (!now[i]) continue;
        uint8_t bucket = now[i] == 1 ? 1 : now[i] == 2 ? 2 : now[i] < 8 ? 4 : now[i] < 32 ? 8 : 16;
        if (bucket & ~met[i]) { fresh++; met[i] |= bucket; }
    }
    return fresh;
}
uint32_t coverage_edges(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < EDGES; i++) n += met[i] != 0;
    return n;
}
/* one octet behind a buffer, for the test that the sanitizers are awake */
int coverage_break(void) {
    volatile char *p = malloc(8);
    int c = memcmp((const void *)p, (const void *)(p + 1), 8);
    free((void *)p);
    return c;
}
