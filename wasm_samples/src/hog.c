// SPDX-License-Identifier: Apache-2.0
// Takes memory until the runner refuses, or up to as many pages of 64 KiB as the first argument says,
// writes to each of them, and tells how many pages it got.
#include "tiny.h"

void _start(void) {
  read_arguments();
  uint32_t cap = number_argument(1, 65535), got = 0;
  for (; got < cap; got++) {
    size_t page = __builtin_wasm_memory_grow(0, 1);
    if (page == SIZE_MAX)
      break;
    for (size_t at = 0; at < PAGE; at += 4096)
      *(volatile uint32_t *)(page * PAGE + at) = got;
  }
  say("pages ");
  say_number(got);
  say("\n");
}
