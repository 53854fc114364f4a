/* Preloaded into the server of a test: a disk that is full, and a clock that is set.
   What holds at this moment is in a file that the test writes; tests/support/src/faults.rs knows its layout. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t full; /* 0: nothing, 1: all but the write-ahead log, 2: all */
    volatile int64_t clock; /* microseconds that are added to it */
};

static const struct control none;
static const struct control *control = &none;

__attribute__((constructor)) static void find_control(void) {
    const char *path = getenv("REFRESH_TOKENS_FAULTS");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED)
        control = found;
    close(fd);
}

/* Whether a file would have to grow, for which there is no room. */
static int lacks_room(int fd, int64_t end) {
    struct stat found;
    if (!control->full || fstat(fd, &found) || !S_ISREG(found.st_mode) || end <= found.st_size)
        return 0;
    if (control->full == 1) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        if (strstr(path, "/pg_wal/"))
            return 0;
    }
    errno = ENOSPC;
    return 1;
}

static int64_t bytes(const struct iovec *parts, int count) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += parts[i].iov_len;
    return sum;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITES(pwrite, pwritev, fallocate, off_t)                                                                      \
    ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {                                                \
        return lacks_room(fd, at + length) ? -1 : REAL(pwrite)(fd, data, length, at);                                  \
    }                                                                                                                  \
    ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {                                          \
        return lacks_room(fd, at + bytes(parts, count)) ? -1 : REAL(pwritev)(fd, parts, count, at);                    \
    }                                                                                                                  \
    int fallocate(int fd, off_t at, off_t length) {                                                                    \
        return lacks_room(fd, at + length) ? ENOSPC : REAL(fallocate)(fd, at, length);                                 \
    }

WRITES(pwrite, pwritev, posix_fallocate, off_t)
#ifdef __GLIBC__
WRITES(pwrite64, pwritev64, posix_fallocate64, off64_t)
#endif

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec real;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &real);
    int64_t micros = (int64_t)real.tv_sec * 1000000 + real.tv_nsec / 1000 + control->clock;
    now->tv_sec = micros / 1000000;
    now->tv_usec = micros % 1000000;
    return 0;
}
