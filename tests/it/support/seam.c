/*
 * Stands between larder and the file system (LD_PRELOAD, Linux): numbers and logs every call that
 * changes something below one folder, or opens something there, and makes one of them fail, stop
 * short, or be the last that the process does.
 *
 * Never a model of a disk: what a power cut takes away is decided by who reads the log, after the
 * process is dead.
 *
 * One call at a time: a mutex is held from before a call until its line is in the log, so the log is
 * the order in which things happened, also when the process dies. Calls are done by syscall(2), so
 * nothing here calls itself.
 *
 *   SEAM_ROOT     the folder, as realpath(3) names it
 *   SEAM_LOG      where lines go; outside of the folder
 *   SEAM_WHAT     fail, short, kill-before, kill-after; nothing happens without it
 *   SEAM_STEP     at which step: "<call> <path below the folder>", eight random characters in a
 *                 name written as '#'; "*": it has happened before the first
 *   SEAM_NTH      at the how manieth such step, from 1
 *   SEAM_ERRNO    the error of a step that fails
 *   SEAM_ONWARDS  calls that fail in the same way from then on: "write,create"
 *   SEAM_KEEP     a folder of the same file system that gets a name of every file that loses its last
 *
 * A line: number, call, step's path, path, other path, inode, offset, length, length before, what
 * was there before or the name under which it is kept, outcome; separated by tabs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_STEPS 8192

struct step {
    const char *call;
    char path[PATH_MAX];  /* absolute; the new name of what gets another */
    char other[PATH_MAX]; /* absolute; the old name, or empty */
    int fd;               /* -1: the step is about names */
    long offset;          /* of a write; -1: where the file ends or its position is */
    size_t length;
    long number[5];       /* arguments of the call itself */
    const void *pointer[2];
    long (*act)(struct step *);
    /* found out on the way */
    unsigned long inode;
    long before;
    char kept[64];
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX], keep[PATH_MAX], onwards[256], wanted[PATH_MAX];
static const char *what = "";
static long nth = 1, wanted_errno = EIO;
static int has_happened;
static long steps;
static struct { uint64_t hash; long count; } counts[MOST_STEPS];

__attribute__((constructor)) static void make_ready(void) {
    const char *value = getenv("SEAM_ROOT");
    if (!value || !*value) return;
    snprintf(root, sizeof root, "%s", value);
    if ((value = getenv("SEAM_KEEP"))) snprintf(keep, sizeof keep, "%s", value);
    if ((value = getenv("SEAM_ONWARDS"))) snprintf(onwards, sizeof onwards, ",%s,", value);
    if ((value = getenv("SEAM_STEP"))) snprintf(wanted, sizeof wanted, "%s", value);
    if (!strcmp(wanted, "*")) has_happened = 1;
    if ((value = getenv("SEAM_WHAT"))) what = value;
    if ((value = getenv("SEAM_NTH"))) nth = atol(value);
    if ((value = getenv("SEAM_ERRNO"))) wanted_errno = atol(value);
    if ((value = getenv("SEAM_LOG")))
        log_fd = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

static int is_inside(const char *path) {
    size_t length = strlen(root);
    return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* What lies below the folder; "." for itself. */
static const char *below(const char *path) {
    size_t length = strlen(root);
    if (!*path) return "-";
    if (!is_inside(path)) return path;
    return path[length] ? path + length + 1 : ".";
}

static void path_of_fd(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    out[length < 0 ? 0 : length] = 0;
    char *gone = strstr(out, " (deleted)");
    if (gone) *gone = 0;
}

static void absolute(int folder, const char *path, char *out) {
    if (!strncmp(path, "/proc/self/fd/", 14)) {
        path_of_fd(atoi(path + 14), out);
        return;
    }
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0) base[0] = 0;
    } else {
        path_of_fd(folder, base);
    }
    if ((size_t)snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) out[0] = 0;
}

static int is_letter(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The path of a step: what is random in it is '#', so that it is the same in the next run. */
static void name_of(const struct step *step, char *out, size_t room) {
    const char *from = below(step->path);
    size_t at = 0;
    while (*from && at + 2 < room) {
        size_t run = 0;
        int is_hex = 1;
        while (is_letter(from[run])) {
            is_hex &= strchr("0123456789abcdef", from[run]) != NULL;
            run++;
        }
        int is_probe = !strncmp(from, "probe-a", 7);
        if (!is_probe && !strncmp(from, "probe", 5)) run = 5;
        if ((run == 8 && is_hex) || is_probe) {
            out[at++] = '#';
            from += is_probe ? strcspn(from, "/") : run;
            continue;
        }
        if (!run) run = 1;
        while (run-- && at + 2 < room) out[at++] = *from++;
    }
    out[at] = 0;
}

static long count_of(const char *text) {
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    if (!hash) hash = 1;
    for (size_t at = hash % MOST_STEPS, tries = 0; tries < MOST_STEPS; at = (at + 1) % MOST_STEPS, tries++) {
        if (!counts[at].hash) counts[at].hash = hash;
        if (counts[at].hash == hash) return ++counts[at].count;
    }
    return 0;
}

static void say(const struct step *step, const char *name, const char *outcome) {
    static char line[4 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\t%s\t%lu\t%ld\t%zu\t%ld\t%s\t%s\n", steps,
                          step->call, name, below(step->path), below(step->other), step->inode,
                          step->offset, step->length, step->before,
                          step->kept[0] ? step->kept : "-", outcome);
    if (log_fd >= 0 && syscall(SYS_write, log_fd, line, (size_t)length) != length) abort();
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

static int goes_on(const char *call) {
    char word[64];
    snprintf(word, sizeof word, ",%s,", call);
    return strstr(onwards, word) != NULL;
}

/* What has to be known of the time before the call. */
static void look_before(struct step *step) {
    struct stat found;
    step->before = -1;
    if (step->fd >= 0) {
        if (!fstat(step->fd, &found)) {
            step->inode = found.st_ino;
            step->before = found.st_size;
            if (step->offset == -1 && !strcmp(step->call, "write")) {
                int flags = syscall(SYS_fcntl, step->fd, F_GETFL);
                step->offset = flags & O_APPEND ? found.st_size
                                                : syscall(SYS_lseek, step->fd, 0L, SEEK_CUR);
            }
        }
        return;
    }
    int is_there = !lstat(step->path, &found);
    if (is_there) {
        step->inode = found.st_ino;
        step->before = found.st_size;
        snprintf(step->kept, sizeof step->kept, "there");
    }
    int loses_a_name = !strcmp(step->call, "unlink") || !strcmp(step->call, "rename");
    if (keep[0] && is_there && loses_a_name && !S_ISDIR(found.st_mode)) {
        char to[PATH_MAX + 64];
        snprintf(step->kept, sizeof step->kept, "%ld", steps);
        snprintf(to, sizeof to, "%s/%ld", keep, steps);
        if (syscall(SYS_linkat, AT_FDCWD, step->path, AT_FDCWD, to, 0) < 0) abort();
    }
    if (!strcmp(step->call, "rename") && !lstat(step->other, &found)) step->inode = found.st_ino;
}

static void look_after(struct step *step) {
    struct stat found;
    if (step->fd < 0 && strcmp(step->call, "unlink") && strcmp(step->call, "rmdir") &&
        !lstat(step->path, &found))
        step->inode = found.st_ino;
}

static long run(struct step *step) {
    char name[PATH_MAX], text[PATH_MAX + 64];
    int is_short = 0;
    pthread_mutex_lock(&turn);
    steps++;
    name_of(step, name, sizeof name);
    snprintf(text, sizeof text, "%s %s", step->call, name);
    long count = count_of(text);
    look_before(step);
    int is_it = !has_happened && what[0] && !strcmp(text, wanted) && count == nth;
    if (is_it) has_happened = 1;
    if (is_it && !strcmp(what, "kill-before")) {
        say(step, name, "killed-before");
        die();
    }
    if ((is_it && !strcmp(what, "fail")) || (has_happened && !is_it && goes_on(step->call))) {
        say(step, name, is_it ? "failed" : "failed-too");
        pthread_mutex_unlock(&turn);
        /* What is there is told before what is forbidden. */
        int is_there = step->kept[0] && !strcmp(step->call, "mkdir");
        errno = is_there && wanted_errno == EROFS ? EEXIST : wanted_errno;
        return -1;
    }
    int kills = is_it && !strcmp(what, "kill-after");
    if (is_it && !strcmp(what, "short") && step->length > 1) {
        is_short = 1;
        step->length /= 2;
    }
    long result = step->act(step);
    int error = errno;
    if (result >= 0) {
        look_after(step);
        if (step->fd >= 0 && !strcmp(step->call, "write")) step->length = result;
    }
    const char *outcome = is_short ? "short" : is_it ? "killed-after" : "ok";
    if (result < 0) outcome = kills ? "killed-after-error" : "error";
    say(step, name, outcome);
    if (kills) die();
    pthread_mutex_unlock(&turn);
    errno = error;
    return result;
}

#define NAMES(kind) struct step step = {.call = kind, .fd = -1, .offset = -1}
#define FILE_(kind, file) struct step step = {.call = kind, .fd = file, .offset = -1}

/* ---- names ---- */

static long act_open(struct step *s) {
    return syscall(SYS_openat, (int)s->number[0], s->pointer[0], (int)s->number[1], (mode_t)s->number[2]);
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    /* Then larder syncs file by file, by calls that are seen here (host/sync.rs). */
    if (root[0] && !strcmp(path, "/proc/meminfo")) {
        errno = ENOENT;
        return -1;
    }
    int is_creating = (flags & O_CREAT) != 0, is_writing = (flags & O_ACCMODE) != O_RDONLY;
    NAMES(is_creating ? "create" : is_writing ? "openw" : "open");
    step.number[0] = folder, step.number[1] = flags, step.number[2] = mode;
    step.pointer[0] = path;
    step.act = act_open;
    absolute(folder, path, step.path);
    if (!is_inside(step.path)) return act_open(&step);
    /* A length given up, told as one. */
    step.length = flags & O_TRUNC ? 1 : 0;
    return run(&step);
}

#define OPEN(name, first, folder)                                                                  \
    {                                                                                              \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                     \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        return open_at(folder, path, flags, mode);                                                 \
    }
int open(const char *path, int flags, ...) OPEN(open, flags, AT_FDCWD)
int open64(const char *path, int flags, ...) OPEN(open64, flags, AT_FDCWD)
int openat(int folder, const char *path, int flags, ...) OPEN(openat, flags, folder)
int openat64(int folder, const char *path, int flags, ...) OPEN(openat64, flags, folder)
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static long act_rename(struct step *s) {
    return syscall(SYS_renameat2, (int)s->number[0], s->pointer[0], (int)s->number[1], s->pointer[1],
                   (unsigned)s->number[2]);
}
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    NAMES("rename");
    step.number[0] = from_at, step.number[1] = to_at, step.number[2] = flags;
    step.pointer[0] = from, step.pointer[1] = to;
    step.act = act_rename;
    absolute(from_at, from, step.other);
    absolute(to_at, to, step.path);
    return is_inside(step.path) || is_inside(step.other) ? run(&step) : act_rename(&step);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renameat2(a, from, b, to, 0); }

static long act_link(struct step *s) {
    return syscall(SYS_linkat, (int)s->number[0], s->pointer[0], (int)s->number[1], s->pointer[1],
                   (int)s->number[2]);
}
int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    NAMES("link");
    step.number[0] = from_at, step.number[1] = to_at, step.number[2] = flags;
    step.pointer[0] = from, step.pointer[1] = to;
    step.act = act_link;
    absolute(from_at, from, step.other);
    absolute(to_at, to, step.path);
    return is_inside(step.path) ? run(&step) : act_link(&step);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

static long act_symlink(struct step *s) {
    return syscall(SYS_symlinkat, s->pointer[0], (int)s->number[0], s->pointer[1]);
}
int symlinkat(const char *text, int folder, const char *path) {
    NAMES("symlink");
    step.number[0] = folder;
    step.pointer[0] = text, step.pointer[1] = path;
    step.act = act_symlink;
    absolute(folder, path, step.path);
    return is_inside(step.path) ? run(&step) : act_symlink(&step);
}
int symlink(const char *text, const char *path) { return symlinkat(text, AT_FDCWD, path); }

static long act_unlink(struct step *s) {
    return syscall(SYS_unlinkat, (int)s->number[0], s->pointer[0], (int)s->number[1]);
}
int unlinkat(int folder, const char *path, int flags) {
    NAMES(flags & AT_REMOVEDIR ? "rmdir" : "unlink");
    step.number[0] = folder, step.number[1] = flags;
    step.pointer[0] = path;
    step.act = act_unlink;
    absolute(folder, path, step.path);
    return is_inside(step.path) ? run(&step) : act_unlink(&step);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

static long act_mkdir(struct step *s) {
    return syscall(SYS_mkdirat, (int)s->number[0], s->pointer[0], (mode_t)s->number[1]);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    NAMES("mkdir");
    step.number[0] = folder, step.number[1] = mode;
    step.pointer[0] = path;
    step.act = act_mkdir;
    absolute(folder, path, step.path);
    return is_inside(step.path) ? run(&step) : act_mkdir(&step);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

static long act_chmod(struct step *s) {
    return syscall(SYS_fchmodat, (int)s->number[0], s->pointer[0], (mode_t)s->number[1]);
}
int chmod(const char *path, mode_t mode) {
    NAMES("chmod");
    step.number[0] = AT_FDCWD, step.number[1] = mode;
    step.pointer[0] = path;
    step.act = act_chmod;
    absolute(AT_FDCWD, path, step.path);
    return is_inside(step.path) ? run(&step) : act_chmod(&step);
}

/* ---- open files ---- */

static long on_file(struct step *step) {
    int error = errno;
    path_of_fd(step->fd, step->path);
    errno = error;
    return is_inside(step->path) ? run(step) : step->act(step);
}

static long act_write(struct step *s) { return syscall(SYS_write, s->fd, s->pointer[0], s->length); }
ssize_t write(int fd, const void *bytes, size_t length) {
    FILE_("write", fd);
    step.pointer[0] = bytes, step.length = length, step.act = act_write;
    return on_file(&step);
}

static long act_pwrite(struct step *s) {
    return syscall(SYS_pwrite64, s->fd, s->pointer[0], s->length, s->offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    FILE_("write", fd);
    step.pointer[0] = bytes, step.length = length, step.offset = offset, step.act = act_pwrite;
    return on_file(&step);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

static long act_writev(struct step *s) {
    return syscall(SYS_writev, s->fd, s->pointer[0], (int)s->number[0]);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    FILE_("write", fd);
    step.pointer[0] = parts, step.number[0] = count, step.act = act_writev;
    for (int at = 0; at < count; at++) step.length += parts[at].iov_len;
    return on_file(&step);
}

static long act_pwritev(struct step *s) {
    return syscall(SYS_pwritev, s->fd, s->pointer[0], (int)s->number[0], s->offset, 0L);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    FILE_("write", fd);
    step.pointer[0] = parts, step.number[0] = count, step.offset = offset, step.act = act_pwritev;
    for (int at = 0; at < count; at++) step.length += parts[at].iov_len;
    return on_file(&step);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }

static long act_copy(struct step *s) {
    return syscall(SYS_copy_file_range, (int)s->number[0], s->pointer[0], s->fd, s->pointer[1], s->length,
                   (unsigned)s->number[1]);
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    FILE_("write", to);
    step.number[0] = from, step.number[1] = flags, step.length = length, step.act = act_copy;
    step.pointer[0] = from_at, step.pointer[1] = to_at;
    if (to_at) step.offset = *to_at;
    return on_file(&step);
}

static long act_sendfile(struct step *s) {
    return syscall(SYS_sendfile, s->fd, (int)s->number[0], s->pointer[0], s->length);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t length) {
    FILE_("write", to);
    step.number[0] = from, step.length = length, step.act = act_sendfile, step.pointer[0] = at;
    return on_file(&step);
}
ssize_t sendfile(int to, int from, off_t *at, size_t length) { return sendfile64(to, from, at, length); }

static long act_sync(struct step *s) { return syscall(SYS_fsync, s->fd); }
int fsync(int fd) {
    FILE_("sync", fd);
    step.act = act_sync;
    return on_file(&step);
}
int fdatasync(int fd) { return fsync(fd); }

static long act_truncate(struct step *s) { return syscall(SYS_ftruncate, s->fd, s->offset); }
int ftruncate64(int fd, off64_t length) {
    FILE_("truncate", fd);
    step.offset = length, step.act = act_truncate;
    return on_file(&step);
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static long act_allocate(struct step *s) {
    return syscall(SYS_fallocate, s->fd, (int)s->number[0], s->offset, (long)s->length);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    FILE_("allocate", fd);
    step.number[0] = mode, step.offset = offset, step.length = length, step.act = act_allocate;
    return on_file(&step);
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

static long act_fchmod(struct step *s) { return syscall(SYS_fchmod, s->fd, (mode_t)s->number[0]); }
int fchmod(int fd, mode_t mode) {
    FILE_("chmod", fd);
    step.number[0] = mode, step.act = act_fchmod;
    return on_file(&step);
}
