// SPDX-License-Identifier: Apache-2.0
// Clocks: clock_res_get, clock_time_get.
#include "cases.h"

#define YEAR (365 * 86400 * 1000000000ULL)

void _start(void) {
  __wasi_timestamp_t resolution = 0, before = 0, now = 0;
  EXPECT("clock_res_get.realtime", __wasi_clock_res_get(__WASI_CLOCKID_REALTIME, &resolution), OK);
  HOLDS("clock_res_get.realtime-plausible", resolution > 0 && resolution <= 1000000000);
  resolution = 0;
  EXPECT("clock_res_get.monotonic", __wasi_clock_res_get(__WASI_CLOCKID_MONOTONIC, &resolution), OK);
  HOLDS("clock_res_get.monotonic-plausible", resolution > 0 && resolution <= 1000000000);
  EXPECT("clock_time_get.realtime", __wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 0, &now), OK);
  HOLDS("clock_time_get.realtime-plausible", now > 54 * YEAR && now < 130 * YEAR);
  EXPECT("clock_time_get.monotonic", __wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &before), OK);
  int errors = 0, backwards = 0, steps = 0;
  for (int i = 0; i < 1000; i++) {
    errors += __wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &now) != 0;
    backwards += now < before;
    steps += now > before;
    before = now;
  }
  EXPECT("clock_time_get.always-answers", errors, 0);
  EXPECT("clock_time_get.never-goes-back", backwards, 0);
  HOLDS("clock_time_get.goes-on", steps > 0);
  EXPECT("clock_time_get.precision", __wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1000000000, &now), OK);
  EXPECT("clock_time_get.process-cputime", __wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 0, &now), OK, INVAL, NOTSUP, BADF);
  EXPECT("clock_time_get.thread-cputime", __wasi_clock_time_get(__WASI_CLOCKID_THREAD_CPUTIME_ID, 0, &now), OK, INVAL, NOTSUP, BADF);
  EXPECT("clock_res_get.bad-clock", __wasi_clock_res_get(99, &resolution), INVAL);
  EXPECT("clock_time_get.bad-clock", __wasi_clock_time_get(99, 0, &now), INVAL);
}
