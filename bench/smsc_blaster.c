/* An ESME that does nothing but submit: fills the window of each bind from one block of PDUs built beforehand, counts
 * answers, answers receipts. Usage: smsc_blaster HOST PORT BINDS WINDOW MESSAGES REGISTERED; one JSON line.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#define IN_OCTETS (1 << 20)
#define OUT_OCTETS (1 << 21)
typedef struct { int fd; uint32_t sequence, in_flight, in_end, out_at, out_end; uint8_t in[IN_OCTETS], out[OUT_OCTETS]; } bind_state;
static uint8_t submit[256];
static uint32_t submit_octets, number_at;
static uint64_t left, answered, refused, receipts;
static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static void put32(uint8_t *p, uint32_t v) { p[0] = v >> 24; p[1] = v >> 16; p[2] = v >> 8; p[3] = v; }
static void stop(const char *why) { perror(why); exit(1); }

static void build(int registered) {
    static const char text[] = "Hello Anna, you have 1234 points. Come to the shop this week and choose a gift.";
    uint8_t *p = submit + 16;
    *p++ = 0; *p++ = 5; *p++ = 0;
    p += sprintf((char *)p, "VOLLEY") + 1;
    *p++ = 1; *p++ = 1;
    number_at = (uint32_t)(p - submit) + 4;
    p += sprintf((char *)p, "491500000000") + 1;
    memset(p, 0, 10); p[5] = (uint8_t)registered; p += 9;
    *p++ = sizeof text - 1;
    memcpy(p, text, sizeof text - 1);
    submit_octets = (uint32_t)(p - submit) + sizeof text - 1;
    put32(submit, submit_octets); put32(submit + 4, 4); put32(submit + 8, 0);
}
static void fill(bind_state *b, uint32_t window) {
    while (left && b->in_flight < window && b->out_end + submit_octets < OUT_OCTETS) {
        uint8_t *p = b->out + b->out_end;
        memcpy(p, submit, submit_octets);
        put32(p + 12, ++b->sequence);
        uint64_t n = left--;
        for (int i = 7; i >= 0; i--, n /= 10) p[number_at + i] = '0' + n % 10;
        b->out_end += submit_octets;
        b->in_flight++;
    }
}
static void take(bind_state *b) {
    uint32_t at = 0;
    while (b->in_end - at >= 16) {
        uint8_t *p = b->in + at;
        uint32_t octets = be32(p), id = be32(p + 4);
        if (b->in_end - at < octets) break;
        if (id == 5) {
            if (b->out_end + 17 > OUT_OCTETS) break;
            uint8_t *o = b->out + b->out_end;
            put32(o, 17); put32(o + 4, 0x80000005); put32(o + 8, 0); memcpy(o + 12, p + 12, 4); o[16] = 0;
            b->out_end += 17;
            receipts++;
        } else if (id == 0x80000004) {
            b->in_flight--;
            if (be32(p + 8)) refused++; else answered++;
        }
        at += octets;
    }
    memmove(b->in, b->in + at, b->in_end - at);
    b->in_end -= at;
}
static void drain(bind_state *b) {
    while (b->out_at < b->out_end) {
        ssize_t n = send(b->fd, b->out + b->out_at, b->out_end - b->out_at, MSG_DONTWAIT);
        if (n <= 0) break;
        b->out_at += (uint32_t)n;
    }
    memmove(b->out, b->out + b->out_at, b->out_end - b->out_at);
    b->out_end -= b->out_at;
    b->out_at = 0;
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

int main(int argc, char **argv) {
    if (argc != 7) return fprintf(stderr, "smsc_blaster HOST PORT BINDS WINDOW MESSAGES REGISTERED\n"), 2;
    int binds = atoi(argv[3]), registered = atoi(argv[6]);
    uint32_t window = (uint32_t)atoi(argv[4]);
    uint64_t messages = left = strtoull(argv[5], NULL, 10);
    bind_state *all = calloc(binds, sizeof *all);
    struct pollfd *polled = calloc(binds, sizeof *polled);
    build(registered);
    for (int i = 0; i < binds; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
        inet_pton(AF_INET, argv[1], &to.sin_addr);
        int fd = all[i].fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (connect(fd, (struct sockaddr *)&to, sizeof to)) stop("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        uint8_t request[16 + 12] = {0};
        put32(request, 28); put32(request + 4, 9); put32(request + 12, 1);
        memcpy(request + 16, "bench\0\0\0\x34\0\0", 12);
        if (send(fd, request, 28, 0) != 28 || recv(fd, request, 4, MSG_WAITALL) != 4) stop("bind");
        uint32_t rest = be32(request) - 4;
        if (recv(fd, all[i].in, rest, MSG_WAITALL) != (ssize_t)rest || be32(all[i].in + 4)) stop("bind refused");
        all[i].sequence = 1;
        polled[i].fd = fd;
    }
    double began = now(), submitted_s = 0;
    while (answered + refused < messages || (registered && receipts < answered)) {
        for (int i = 0; i < binds; i++) {
            fill(&all[i], window);
            drain(&all[i]);
            polled[i].events = POLLIN | (all[i].out_end ? POLLOUT : 0);
        }
        if (poll(polled, binds, 10000) <= 0) stop("nothing came for 10 s");
        for (int i = 0; i < binds; i++) {
            if (!(polled[i].revents & (POLLIN | POLLHUP))) continue;
            ssize_t n = recv(all[i].fd, all[i].in + all[i].in_end, IN_OCTETS - all[i].in_end, MSG_DONTWAIT);
            if (n == 0) stop("the SMSC closed");
            if (n > 0) { all[i].in_end += (uint32_t)n; take(&all[i]); }
        }
        if (!submitted_s && answered + refused >= messages) submitted_s = now() - began;
    }
    printf("{\"answered\": %llu, \"refused\": %llu, \"receipts\": %llu, \"submit_s\": %.4f, \"total_s\": %.4f}\n",
           (unsigned long long)answered, (unsigned long long)refused, (unsigned long long)receipts, submitted_s, now() - began);
    return 0;
}
