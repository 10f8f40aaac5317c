// SPDX-License-Identifier: Apache-2.0
// Reads its standard input to the end and tells how many bytes there were, or the error's number.
#include "tiny.h"

void _start(void) {
  static char bytes[4096];
  struct piece piece = { bytes, sizeof bytes };
  uint64_t count = 0;
  for (;;) {
    size_t got = 0;
    int error = fd_read(STDIN, &piece, 1, &got);
    if (error) {
      say("stdin error ");
      say_number((uint64_t)error);
      say("\n");
      return;
    }
    if (!got)
      break;
    count += got;
  }
  say("stdin bytes ");
  say_number(count);
  say("\n");
}
