/* Counts what a process does to files and, at a chosen point, kills it, tears the write, or lets the call fail.
 *
 * Built by the tests: gcc -shared -fPIC -o shim.so shim.c -ldl; loaded with LD_PRELOAD, armed through ctypes.
 * Only regular files and folders count. The page cache outlives a SIGKILL: this shows nothing about a missing fsync.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, TORN, SHORT, ENOSPC_ONCE, FULL, EIO_ONCE };

static int mode = OFF;
static long point, count;

void crash_arm(int new_mode, long new_point) { mode = new_mode; point = new_point; count = 0; }
long crash_count(void) { return count; }

static void die(void) { kill(getpid(), SIGKILL); pause(); }

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
}

/* Whether the call must fail, errno set. `writes`: it needs room on the disk. */
static int fails(int writes) {
    if (mode == OFF) return 0;
    long here = ++count;
    if (mode == KILL && here == point) die();
    if (mode == EIO_ONCE && here == point) { errno = EIO; return 1; }
    if (writes && ((mode == ENOSPC_ONCE && here == point) || (mode == FULL && here >= point))) { errno = ENOSPC; return 1; }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ENDS_HERE (mode == TORN && count == point)

ssize_t write(int fd, const void *data, size_t size) {
    if (mode == OFF || !is_file(fd)) return REAL(write)(fd, data, size);
    if (fails(1)) return -1;
    if (ENDS_HERE) { REAL(write)(fd, data, size / 2); die(); }
    if (mode == SHORT && count == point && size > 1) size /= 2;
    return REAL(write)(fd, data, size);
}

#define PWRITE(name, offset_type)                                                       \
    ssize_t name(int fd, const void *data, size_t size, offset_type at) {               \
        if (mode == OFF || !is_file(fd)) return REAL(name)(fd, data, size, at);         \
        if (fails(1)) return -1;                                                        \
        if (ENDS_HERE) { REAL(name)(fd, data, size / 2, at); die(); }                   \
        if (mode == SHORT && count == point && size > 1) size /= 2;                     \
        return REAL(name)(fd, data, size, at);                                          \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define CALL(name, parameters, arguments, writes)                                       \
    int name parameters {                                                               \
        if (fails(writes)) return -1;                                                   \
        int done = REAL(name) arguments;                                                \
        if (ENDS_HERE) die();                                                           \
        return done;                                                                    \
    }
CALL(fsync, (int fd), (fd), 0)
CALL(fdatasync, (int fd), (fd), 0)
CALL(rename, (const char *from, const char *to), (from, to), 1)
CALL(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), 1)
CALL(link, (const char *from, const char *to), (from, to), 1)
CALL(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), 1)
CALL(unlink, (const char *name), (name), 0)
CALL(unlinkat, (int at, const char *name, int flags), (at, name, flags), 0)
