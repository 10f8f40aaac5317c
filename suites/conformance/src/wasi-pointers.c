// SPDX-License-Identifier: Apache-2.0
// Pointers outside of the memory: EFAULT. A runtime may trap instead: then the first case ends the module.
#include "cases.h"

void _start(void) {
  static uint8_t *argument[64], bytes[4096], first[32];
  size_t size = 0, count = 0;
  __wasi_iovec_t room = {bytes, sizeof bytes};
  const __wasi_ciovec_t piece = {(const uint8_t *)"", 0};
  const __wasi_ciovec_t nowhere = {BAD_POINTER, 4};
  const __wasi_subscription_t in[1] = {{.u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC}}}};
  __wasi_event_t out[1];
  EXPECT("args_sizes_get.bad-pointer", __wasi_args_sizes_get(BAD_POINTER, &size), FAULT);
  EXPECT("args_get.bad-pointer", __wasi_args_get(BAD_POINTER, bytes), FAULT);
  EXPECT("args_get.bad-buffer", __wasi_args_get(argument, BAD_POINTER), FAULT);
  EXPECT("environ_sizes_get.bad-pointer", __wasi_environ_sizes_get(BAD_POINTER, &size), FAULT);
  EXPECT("clock_res_get.bad-pointer", __wasi_clock_res_get(__WASI_CLOCKID_MONOTONIC, BAD_POINTER), FAULT);
  EXPECT("clock_time_get.bad-pointer", __wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 0, BAD_POINTER), FAULT);
  EXPECT("random_get.bad-pointer", __wasi_random_get(BAD_POINTER, 16), FAULT);
  EXPECT("random_get.bad-length", __wasi_random_get(first, 0x7fffffff), FAULT);
  EXPECT("fd_write.bad-pointer", __wasi_fd_write(STDOUT, &nowhere, 1, &count), FAULT);
  EXPECT("fd_write.bad-pieces", __wasi_fd_write(STDOUT, BAD_POINTER, 1, &count), FAULT);
  EXPECT("fd_write.bad-result", __wasi_fd_write(STDOUT, &piece, 0, BAD_POINTER), FAULT);
  EXPECT("fd_read.bad-pieces", __wasi_fd_read(STDIN, BAD_POINTER, 1, &count), FAULT);
  EXPECT("fd_read.bad-result", __wasi_fd_read(STDIN, &room, 1, BAD_POINTER), FAULT);
  EXPECT("fd_fdstat_get.bad-pointer", __wasi_fd_fdstat_get(STDOUT, BAD_POINTER), FAULT);
  EXPECT("fd_filestat_get.bad-pointer", __wasi_fd_filestat_get(STDOUT, BAD_POINTER), FAULT);
  EXPECT("poll_oneoff.bad-subscriptions", __wasi_poll_oneoff(BAD_POINTER, out, 1, &count), FAULT);
  EXPECT("poll_oneoff.bad-events", __wasi_poll_oneoff(in, BAD_POINTER, 1, &count), FAULT);
  EXPECT("poll_oneoff.bad-result", __wasi_poll_oneoff(in, out, 1, BAD_POINTER), FAULT);
}
