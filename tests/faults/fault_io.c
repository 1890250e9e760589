/* Preloaded into the program by tests/faults: counts what it does to files under one folder, and at one of those calls
 * kills it, or makes this and every later one fail.
 *
 * FAULT_DIR   only files whose path begins with this
 * FAULT_AT    number of the call, from 0; past the last one nothing happens
 * FAULT_MODE  before | after: SIGKILL there.  A number: errno from there on.
 * FAULT_COUNT file that gets one byte for each call
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static long calls = 0;

static int is_ours(const char* path) {
  const char* folder = getenv("FAULT_DIR");
  return folder != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_our_file(int fd) {
  char link[64], path[PATH_MAX + 1];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, PATH_MAX);
  if (size <= 0) return 0;
  path[size] = 0;
  return is_ours(path);
}

static void die(void) { kill(getpid(), SIGKILL); }

/* 1: the call is to fail, errno is set. */
static int begin(void) {
  const char* at = getenv("FAULT_AT");
  const char* mode = getenv("FAULT_MODE");
  const char* count = getenv("FAULT_COUNT");
  const long number = calls++;
  if (count != NULL) {
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, count, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_write, fd, ".", 1);
    syscall(SYS_close, fd);
  }
  if (at == NULL || mode == NULL || number < atol(at)) return 0;
  if (strcmp(mode, "before") == 0 && number == atol(at)) die();
  if (mode[0] < '0' || mode[0] > '9') return 0;
  errno = atoi(mode);
  return 1;
}

static void end(void) {
  const char* at = getenv("FAULT_AT");
  const char* mode = getenv("FAULT_MODE");
  if (at != NULL && mode != NULL && strcmp(mode, "after") == 0 && calls - 1 == atol(at)) die();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FILE(type, name, parameters, arguments) \
  type name parameters {                           \
    if (!is_our_file(fd)) return REAL(name) arguments; \
    if (begin()) return -1;                        \
    const type result = REAL(name) arguments;      \
    const int kept = errno;                        \
    end();                                         \
    errno = kept;                                  \
    return result;                                 \
  }

#define ON_PATH(name, path, parameters, arguments)     \
  int name parameters {                                \
    if (!is_ours(path)) return REAL(name) arguments;   \
    if (begin()) return -1;                            \
    const int result = REAL(name) arguments;           \
    const int kept = errno;                            \
    end();                                             \
    errno = kept;                                      \
    return result;                                     \
  }

ON_FILE(ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size))
ON_FILE(ssize_t, pwrite, (int fd, const void* data, size_t size, off_t at), (fd, data, size, at))
ON_FILE(ssize_t, pwrite64, (int fd, const void* data, size_t size, off64_t at), (fd, data, size, at))
ON_FILE(int, fsync, (int fd), (fd))
ON_FILE(int, fdatasync, (int fd), (fd))
ON_FILE(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FILE(int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_PATH(rename, to, (const char* from, const char* to), (from, to))
ON_PATH(unlink, path, (const char* path), (path))
ON_PATH(mkdir, path, (const char* path, mode_t mode), (path, mode))
