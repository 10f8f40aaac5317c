// SPDX-License-Identifier: Apache-2.0
// What the small samples need of WASI and no more: no C library, no heap, no hidden calls, so that a
// module does exactly what its source says and stays near a kilobyte.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STDIN = 0, STDOUT = 1, STDERR = 2, PAGE = 65536 };
enum { REALTIME = 0, MONOTONIC = 1 };

struct piece { void *at; size_t size; };  // an iovec

// WASI's subscription to a clock, and the event that answers it.
struct subscription {
  uint64_t user;
  uint64_t kind;  // 0: a clock
  uint32_t clock;
  uint64_t instant, precision;  // in nanoseconds
  uint16_t flags;  // 1: the instant is absolute
};
struct event {
  uint64_t user;
  uint16_t error, kind;
  uint64_t size, flags;
};

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) name

int WASI(fd_write)(int fd, const struct piece *pieces, size_t count, size_t *written);
int WASI(fd_read)(int fd, const struct piece *pieces, size_t count, size_t *got);
int WASI(args_sizes_get)(size_t *count, size_t *bytes);
int WASI(args_get)(char **argument, char *bytes);
int WASI(clock_time_get)(int clock, uint64_t precision, uint64_t *nanoseconds);
int WASI(poll_oneoff)(const struct subscription *in, struct event *out, size_t count, size_t *events);
_Noreturn void WASI(proc_exit)(int code);

// Writes all bytes; ends the module with 70 when the runner refuses.
static void put(int fd, const void *bytes, size_t size) {
  while (size) {
    struct piece piece = { (void *)bytes, size };
    size_t written = 0;
    if (fd_write(fd, &piece, 1, &written) || !written)
      proc_exit(70);
    bytes = (const char *)bytes + written;
    size -= written;
  }
}

static inline size_t length(const char *text) {
  size_t n = 0;
  while (text[n])
    n++;
  return n;
}

static inline bool same(const char *a, const char *b) {
  while (*a && *a == *b)
    a++, b++;
  return *a == *b;
}

static inline void say(const char *text) { put(STDOUT, text, length(text)); }

// Puts the decimal digits of value before end and returns where they begin.
static inline char *digits_before(char *end, uint64_t value) {
  do
    *--end = (char)('0' + value % 10);
  while (value /= 10);
  return end;
}

static inline void say_number(uint64_t value) {
  char text[20], *end = text + sizeof text, *start = digits_before(end, value);
  put(STDOUT, start, (size_t)(end - start));
}

// The arguments, argv[0] included; what does not fit here ends the module with 71.
enum { ARGUMENTS = 256, ARGUMENT_BYTES = 32768 };
static char *argument[ARGUMENTS];
static size_t arguments;

static inline void read_arguments(void) {
  static char bytes[ARGUMENT_BYTES];
  size_t size;
  if (args_sizes_get(&arguments, &size) || arguments > ARGUMENTS || size > sizeof bytes ||
      args_get(argument, bytes))
    proc_exit(71);
}

// The n-th argument as text, or what stands in for it.
static inline const char *text_argument(size_t n, const char *otherwise) {
  return n < arguments ? argument[n] : otherwise;
}

// The n-th argument as a whole number of up to 8 digits, or what stands in for it; anything else ends
// the module with 64.
static inline uint32_t number_argument(size_t n, uint32_t otherwise) {
  if (n >= arguments)
    return otherwise;
  uint32_t value = 0;
  const char *at = argument[n];
  do {
    if (*at < '0' || *at > '9' || value > 9999999) {
      say("not a whole number: ");
      say(argument[n]);
      say("\n");
      proc_exit(64);
    }
    value = value * 10 + (uint32_t)(*at - '0');
  } while (*++at);
  return value;
}
