// Preloaded into a program that a sandbox breaks: says on stderr which calls by name or path were refused, and how.
//
// A GPU's driver hides the failing call behind one error number; it goes through the C library, so these wrappers see it.
// One line a refusal: "@denied CALL WHAT: ERROR".  Calls that fail because something is absent (ENOENT) are left out.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void refused(const char *call, const char *what) {
  int code = errno;
  if (code != ENOENT && code != ENOTTY && code != EAGAIN && code != EINTR) dprintf(2, "@denied %s %.120s: %s\n", call, what ? what : "", strerror(code));
  errno = code;
}

#define REAL(name) static auto real = (decltype(&name))dlsym(RTLD_NEXT, #name)
#define OPENS(name)                                             \
  extern "C" int name(const char *path, int flags, ...) {       \
    REAL(name);                                                 \
    va_list more;                                               \
    va_start(more, flags);                                      \
    int fd = real(path, flags, va_arg(more, int));              \
    va_end(more);                                               \
    if (fd < 0) refused(flags & (O_WRONLY | O_RDWR) ? "open for writing" : "open", path); \
    return fd;                                                  \
  }
OPENS(open)
OPENS(open64)

extern "C" int openat(int folder, const char *path, int flags, ...) {
  REAL(openat);
  va_list more;
  va_start(more, flags);
  int fd = real(folder, path, flags, va_arg(more, int));
  va_end(more);
  if (fd < 0) refused("openat", path);
  return fd;
}

#define STREAMS(name)                                           \
  extern "C" FILE *name(const char *path, const char *mode) {   \
    REAL(name);                                                 \
    FILE *file = real(path, mode);                              \
    if (!file) refused(*mode == 'r' ? "fopen" : "fopen for writing", path); \
    return file;                                                \
  }
STREAMS(fopen)
STREAMS(fopen64)

extern "C" int socket(int family, int kind, int protocol) noexcept {
  REAL(socket);
  char what[64];
  snprintf(what, sizeof what, "family %d, kind %d", family, kind & 15);
  int fd = real(family, kind, protocol);
  if (fd < 0) refused("socket", what);
  return fd;
}

#define ADDRESSES(name, ...)                                                    \
  extern "C" int name(int fd, const struct sockaddr *to, socklen_t size) __VA_ARGS__ { \
    REAL(name);                                                                 \
    int done = real(fd, to, size);                                              \
    const char *path = to->sa_data;                                             \
    if (done < 0) refused(#name, to->sa_family != AF_UNIX ? "another family" : *path ? path : path + 1); \
    return done;                                                                \
  }
ADDRESSES(bind, noexcept)
ADDRESSES(connect)

extern "C" int memfd_create(const char *name, unsigned flags) noexcept {
  REAL(memfd_create);
  int fd = real(name, flags);
  if (fd < 0) refused("memfd_create", name);
  return fd;
}

extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  REAL(ioctl);
  va_list more;
  va_start(more, request);
  int done = real(fd, request, va_arg(more, void *));
  va_end(more);
  char what[48];
  snprintf(what, sizeof what, "request %#lx", request);
  if (done < 0) refused("ioctl", what);
  return done;
}

extern "C" long syscall(long number, ...) noexcept {
  REAL(syscall);
  va_list more;
  va_start(more, number);
  long a[6];
  for (long &each : a) each = va_arg(more, long);
  va_end(more);
  long done = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  char what[32];
  snprintf(what, sizeof what, "number %ld", number);
  if (done < 0) refused("syscall", what);
  return done;
}
