/* LD_PRELOAD: faults of a machine, told by the two int64 in the file that FAULTY_LIBC names (faulty_libc.py).
 *  0 the wall clock is off by so many nanoseconds; the monotonic clock is as it is (PITFALLS F12)
 *  8 not 0: fdatasync fails with EIO (F11) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none[2], *faults = none;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTY_LIBC");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) faults = mapped;
    if (fd >= 0) close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (failed || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
    int64_t shift = faults[0], ns = now->tv_nsec + shift % 1000000000, s = now->tv_sec + shift / 1000000000;
    if (ns >= 1000000000) ns -= 1000000000, s++;
    if (ns < 0) ns += 1000000000, s--;
    now->tv_sec = s, now->tv_nsec = ns;
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    now->tv_sec = t.tv_sec, now->tv_usec = t.tv_nsec / 1000;
    return 0;
}

int fdatasync(int fd) {
    if (!faults[1]) return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}
