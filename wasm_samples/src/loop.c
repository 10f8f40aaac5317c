// SPDX-License-Identifier: Apache-2.0
// Never ends. With the argument "print" it writes numbered lines for ever, else it only computes.
#include "tiny.h"

static volatile uint64_t turns;

void _start(void) {
  read_arguments();
  bool print = same(text_argument(1, ""), "print");
  say("looping\n");
  for (;; turns++)
    if (print) {
      char line[26], *end = line + sizeof line;
      *--end = '\n';
      char *start = digits_before(end, turns);
      *--start = ' ', *--start = 'l';
      put(STDOUT, start, (size_t)(line + sizeof line - start));
    }
}
