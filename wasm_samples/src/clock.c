// SPDX-License-Identifier: Apache-2.0
// Tells the real-time and the monotonic clock, in nanoseconds, twice; or the error's number.
#include "tiny.h"

static void tell(const char *name, int clock) {
  uint64_t now = 0;
  int error = clock_time_get(clock, 1, &now);
  say(name);
  say(error ? " error " : " ");
  say_number(error ? (uint64_t)error : now);
  say("\n");
}

void _start(void) {
  for (int turn = 0; turn < 2; turn++) {
    tell("realtime", REALTIME);
    tell("monotonic", MONOTONIC);
  }
}
