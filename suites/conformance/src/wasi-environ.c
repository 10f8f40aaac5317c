// SPDX-License-Identifier: Apache-2.0
// Environment: environ_sizes_get, environ_get. To be run with the environment of groups.toml.
#include "cases.h"

static const char *const expected[] = {"A=1", "EMPTY=", "EQUALS=a=b=c", "SPACES= two  words ", "UNICODE=\xc3\xbc\xe2\x82\xac"};

void _start(void) {
  static uint8_t *variable[64], bytes[4096];
  size_t count = 0, size = 0, sum = 0;
  EXPECT("environ_sizes_get", __wasi_environ_sizes_get(&count, &size), OK);
  EXPECT("environ_sizes_get.count", count, COUNT(expected));
  for (size_t i = 0; i < COUNT(expected); i++)
    sum += strlen(expected[i]) + 1;
  EXPECT("environ_sizes_get.size", size, (long long)sum);
  if (count > COUNT(variable) - 1 || size > sizeof bytes)
    __wasi_proc_exit(71);
  memset(bytes, 0xff, sizeof bytes);
  EXPECT("environ_get", __wasi_environ_get(variable, bytes), OK);
  size_t found = 0;
  for (size_t i = 0; i < COUNT(expected); i++)
    for (size_t k = 0; k < count; k++)
      found += !strcmp((char *)variable[k], expected[i]);
  EXPECT("environ_get.text", found, COUNT(expected));
  HOLDS("environ_get.no-more-than-announced", bytes[size] == 0xff);
  EXPECT("environ_get.bad-pointer", __wasi_environ_get(BAD_POINTER, bytes), FAULT);
}
