// SPDX-License-Identifier: Apache-2.0
// Random numbers and the process: random_get, sched_yield, proc_raise.
#include "cases.h"

// wasi-libc has no name for it
__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_raise"))) int raise_signal(int signal);

static size_t zeros(const uint8_t *bytes, size_t size) {
  size_t count = 0;
  for (size_t i = 0; i < size; i++)
    count += !bytes[i];
  return count;
}

void _start(void) {
  static uint8_t first[32], second[32], large[4096];
  EXPECT("random_get", __wasi_random_get(first, sizeof first), OK);
  EXPECT("random_get.again", __wasi_random_get(second, sizeof second), OK);
  HOLDS("random_get.not-twice-the-same", memcmp(first, second, sizeof first) != 0);
  EXPECT("random_get.large", __wasi_random_get(large, sizeof large), OK);
  HOLDS("random_get.large-is-filled", zeros(large, sizeof large) < 100 && zeros(large + sizeof large - 32, 32) < 16);
  memcpy(second, first, sizeof first);
  EXPECT("random_get.nothing", __wasi_random_get(second, 0), OK);
  HOLDS("random_get.nothing-is-written", !memcmp(first, second, sizeof first));
  EXPECT("sched_yield", __wasi_sched_yield(), OK);
  enum { NONE = 0, WINCH = 27 };  // the second is ignored by default
  EXPECT("proc_raise.none", raise_signal(NONE), OK, NOSYS, NOTSUP);
  EXPECT("proc_raise.ignored", raise_signal(WINCH), OK, NOSYS, NOTSUP);
  EXPECT("proc_raise.bad-signal", raise_signal(200), INVAL, NOSYS, NOTSUP);
}
