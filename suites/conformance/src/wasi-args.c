// SPDX-License-Identifier: Apache-2.0
// Arguments: args_sizes_get, args_get. To be run with the arguments of groups.toml.
#include "cases.h"

static const char *const expected[] = {"wasm.wasm", "one", "two words", "", "$HOME;\"'\\", "\xc3\xbc\xe2\x82\xac"};

void _start(void) {
  static uint8_t *argument[64], bytes[4096];
  size_t count = 0, size = 0, sum = 0;
  EXPECT("args_sizes_get", __wasi_args_sizes_get(&count, &size), OK);
  EXPECT("args_sizes_get.count", count, COUNT(expected));
  for (size_t i = 0; i < COUNT(expected); i++)
    sum += strlen(expected[i]) + 1;
  EXPECT("args_sizes_get.size", size, (long long)sum);
  if (count > COUNT(argument) - 1 || size > sizeof bytes)
    __wasi_proc_exit(71);
  memset(argument, 0xff, sizeof argument);
  memset(bytes, 0xff, sizeof bytes);
  EXPECT("args_get", __wasi_args_get(argument, bytes), OK);
  size_t same = 0;
  while (same < COUNT(expected) && same < count && !strcmp((char *)argument[same], expected[same]))
    same++;
  EXPECT("args_get.text", same, COUNT(expected));
  HOLDS("args_get.within-the-buffer", argument[0] == bytes && argument[count - 1] < bytes + size);
  HOLDS("args_get.no-more-than-announced", argument[count] == (void *)-1 && bytes[size] == 0xff);
}
