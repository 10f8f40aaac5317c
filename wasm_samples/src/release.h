// SPDX-License-Identifier: Apache-2.0
// What a periodic module needs: the monotonic clock, and to sleep until an instant of it. Where the runner
// refuses either, the module says so in one line and ends with 69.
#pragma once
#include "tiny.h"

static void must(const char *call, int error) {
  if (!error)
    return;
  say(call);
  say(" refused: error ");
  say_number((uint64_t)error);
  say("\n");
  proc_exit(69);
}

static inline uint64_t now(void) {
  uint64_t instant = 0;
  must("clock", clock_time_get(MONOTONIC, 1, &instant));
  return instant;
}

static inline void sleep_until(uint64_t instant) {
  static struct subscription until = { .clock = MONOTONIC, .precision = 1, .flags = 1 };
  static struct event event;
  size_t events = 0;
  until.instant = instant;
  must("poll", poll_oneoff(&until, &event, 1, &events));
  must("poll", event.error);
}

// The first two arguments: the period in nanoseconds, given in microseconds, and how many releases. What is
// out of range ends the module with 64.
static uint64_t period;
static uint32_t releases;

static inline void read_releases(uint32_t most) {
  read_arguments();
  uint32_t microseconds = number_argument(1, 1000);
  releases = number_argument(2, 100);
  if (!microseconds || microseconds > 10000000 || !releases || releases > most) {
    say("arguments: PERIOD_US (1 to 10000000) COUNT (1 to ");
    say_number(most);
    say(")\n");
    proc_exit(64);
  }
  period = microseconds * 1000ull;
}
