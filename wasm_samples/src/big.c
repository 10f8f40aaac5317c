// SPDX-License-Identifier: Apache-2.0
// Much output: as many numbered lines as the first argument says (default 2000), each of 64 bytes with
// its newline; or, with the argument "line", a single line of 4200 characters.
#include "tiny.h"

static const char pattern[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
enum { LINE = 64, LONG_LINE = 4200 };

static void lines(uint32_t count) {
  static char line[LINE] = "line 00000000 ";  // arguments have at most 8 digits
  for (uint32_t i = 0; i < count; i++) {
    digits_before(line + 13, i);
    for (size_t at = 14; at < LINE - 1; at++)
      line[at] = pattern[(i + at) % (sizeof pattern - 1)];
    line[LINE - 1] = '\n';
    put(STDOUT, line, LINE);
  }
}

static void long_line(void) {
  static char line[LONG_LINE + 1];
  for (size_t at = 0; at < LONG_LINE; at++)
    line[at] = pattern[at % (sizeof pattern - 1)];
  line[LONG_LINE] = '\n';
  put(STDOUT, line, sizeof line);
}

void _start(void) {
  read_arguments();
  if (same(text_argument(1, ""), "line"))
    long_line();
  else
    lines(number_argument(1, 2000));
}
