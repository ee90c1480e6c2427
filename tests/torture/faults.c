/* Makes calls of the system fail on purpose, for LD_PRELOAD: on files whose path holds FAULT_PATH, call number FAULT_AT (from 1)
 * ends with the error FAULT_ERRNO, or writes half of what it should where that is 0; with FAULT_ON=1 all calls after it fail as
 * well, as on a disk that stays full. The number of calls goes to the file FAULT_COUNT when the process ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int meant(const char *path) {
    const char *part = getenv("FAULT_PATH");
    return part && path && strstr(path, part) != NULL;
}

static int meant_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return meant(path);
}

/* 0: go on. 1: fail; errno is set. 2: write half. */
static int fault(void) {
    long at = number("FAULT_AT", 0), now = atomic_fetch_add(&calls, 1) + 1;
    if (at <= 0 || !(now == at || (now > at && number("FAULT_ON", 0)))) return 0;
    int error = (int)number("FAULT_ERRNO", EIO);
    if (error == 0) return 2;
    errno = error;
    return 1;
}

__attribute__((destructor)) static void count(void) {
    const char *path = getenv("FAULT_COUNT");
    if (!path) return;
    FILE *file = fopen(path, "w");
    if (file) {
        fprintf(file, "%ld\n", atomic_load(&calls));
        fclose(file);
    }
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int what = meant_fd(fd) ? fault() : 0;
    return what == 1 ? -1 : real(fd, data, what == 2 && size > 1 ? size / 2 : size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    int what = meant_fd(fd) ? fault() : 0;
    return what == 1 ? -1 : real(fd, data, what == 2 && size > 1 ? size / 2 : size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    int what = meant_fd(fd) ? fault() : 0;
    return what == 1 ? -1 : real(fd, data, what == 2 && size > 1 ? size / 2 : size, at);
}

#define ON_FD(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        return meant_fd(fd) && fault() == 1 ? -1 : real(fd); \
    }

ON_FD(fsync)
ON_FD(fdatasync)

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    return meant_fd(fd) && fault() == 1 ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    return meant_fd(fd) && fault() == 1 ? -1 : real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return meant(to) && fault() == 1 ? -1 : real(from, to);
}

/* Only what may make a file: reading is no part of this. */
#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & O_CREAT) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
            if (meant(path) && fault() == 1) return -1; \
        } \
        return real(path, flags, mode); \
    }

OPENS(open)
OPENS(open64)
