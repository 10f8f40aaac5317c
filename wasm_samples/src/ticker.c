// SPDX-License-Identifier: Apache-2.0
// A periodic task to be judged from outside: prints `tick N` at each release, N from 1, and nothing else.
#include "release.h"

void _start(void) {
  static char line[sizeof "tick 99999999\n"] = "tick ";
  read_releases(99999999);
  uint64_t release = now();
  for (uint32_t n = 1; n <= releases; n++) {
    char digits[20], *end = digits + sizeof digits, *from = digits_before(end, n), *to = line + 5;
    while (from < end)
      *to++ = *from++;
    *to++ = '\n';
    sleep_until(release += period);
    put(STDOUT, line, (size_t)(to - line));  // one write: one piece on the line
  }
}
