// SPDX-License-Identifier: Apache-2.0
// What the WASI modules share. Each case prints one line, as those of the scripts do:
//   ok NAME
//   not ok NAME: got 0, expected 8
// `build` reads the names of the cases from the calls of the macros: each NAME is a literal and appears once in a file.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wasi/api.h>

enum { STDIN, STDOUT, STDERR };
enum { MEMORY_END = 0x7fffff00 };  // far outside of the memory
#define BAD_POINTER ((void *)MEMORY_END)
#define ERRNO(name) __WASI_ERRNO_##name
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void put(const void *bytes, size_t size) {
  const uint8_t *at = bytes;
  while (size) {
    __wasi_ciovec_t piece = {at, size};
    size_t written = 0;
    if (__wasi_fd_write(STDOUT, &piece, 1, &written) || !written)
      __wasi_proc_exit(70);
    at += written;
    size -= written;
  }
}

static void say_text(char **end, const char *text) {
  while (*text)
    *(*end)++ = *text++;
}

static void say_number(char **end, long long number) {
  char digits[20];
  int count = 0;
  unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
  if (number < 0)
    *(*end)++ = '-';
  do
    digits[count++] = (char)('0' + rest % 10);
  while (rest /= 10);
  while (count)
    *(*end)++ = digits[--count];
}

static void report(const char *name, bool good, long long got, const char *expected) {
  char line[256], *end = line;
  say_text(&end, good ? "ok " : "not ok ");
  say_text(&end, name);
  if (!good) {
    say_text(&end, ": got ");
    say_number(&end, got);
    say_text(&end, ", expected ");
    say_text(&end, expected);
  }
  say_text(&end, "\n");
  put(line, (size_t)(end - line));
}

static bool among(long long got, const long long *allowed, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (allowed[i] == got)
      return true;
  return false;
}

static void one_of(const char *name, long long got, const long long *allowed, size_t count) {
  char text[128], *end = text;
  for (size_t i = 0; i < count; i++) {
    if (i)
      say_text(&end, " or ");
    say_number(&end, allowed[i]);
  }
  *end = 0;
  report(name, among(got, allowed, count), got, text);
}

// The value is the expected one, or one of the expected ones.
#define EXPECT(name, value, ...) \
  one_of(name, (long long)(value), (const long long[]){__VA_ARGS__}, COUNT(((const long long[]){__VA_ARGS__})))
// The condition holds.
#define HOLDS(name, condition) report(name, (condition), 0, "1")
// The module prints the line of this case by other means.
#define PRINTED(name) (void)name

// The names of WASI's numbers are long: those that the cases expect.
enum {
  OK = 0, ACCES = 2, BADF = 8, EXIST = 20, FAULT = 21, ILSEQ = 25, INVAL = 28, ISDIR = 31, LOOP = 32, NAMETOOLONG = 37, NOENT = 44,
  NOSYS = 52, NOTDIR = 54, NOTEMPTY = 55, NOTSOCK = 57, NOTSUP = 58, OVERFLOW = 61, PERM = 63, ROFS = 69, SPIPE = 70,
  NOTCAPABLE = 76,
};
// What a runtime may answer to a request that leaves the preopened directories.
#define REFUSED PERM, NOTCAPABLE
